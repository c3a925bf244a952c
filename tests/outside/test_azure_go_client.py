"""The Azure emulator under a client that nobody here wrote: the Go SDK, with its own tokens, polling and paging."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from nbhd_local import tools
from nbhd_local.azure import AzureWorld, Delays
from nbhd_local.ca import Authority


async def test_the_go_sdk_finds_a_subscription_that_behaves(tmp_path: Path) -> None:
    program = await asyncio.to_thread(tools.azurecheck)
    authority = Authority.create(tmp_path / "tls")
    async with AzureWorld(authority, delays=Delays(app=0.5, ready_lag=0), run_containers=False) as world:
        world.subscription.page_size = 1
        arguments = {
            "-arm": world.arm_url,
            "-subscription": world.subscription_id,
            "-group": world.resource_group,
            "-location": world.location,
            "-environment": world.environment_id,
        }
        process = await asyncio.create_subprocess_exec(
            str(program),
            *(part for pair in arguments.items() for part in pair),
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "SSL_CERT_FILE": str(authority.bundle_path),
                **world.credentials_env(tmp_path),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        report = json.loads(output or b"null")
        assert process.returncode == 0, (report, errors.decode())
        assert [check["name"] for check in report["checks"] if not check["ok"]] == []
        assert len(report["checks"]) == 10
        assert "2 apps on 2 pages" in {check.get("detail") for check in report["checks"]}
        assert world.inventory()["apps"] == {}
