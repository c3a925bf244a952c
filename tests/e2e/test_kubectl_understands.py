"""What operators type works against a running world: get, wait, describe, explain, and our own plugin."""

from __future__ import annotations

import asyncio
import sysconfig

from nbhd_local.people import Subscriber
from tests.e2e.conftest import StartWorld


async def test_kubectl_understands(start_world: StartWorld) -> None:
    async with start_world() as world:
        alice = Subscriber.meet(world, "alice", 1001)
        await alice.subscribe()
        name = alice.tenant
        await world.kubectl_wait("wait", "--for=condition=Ready", f"tenant/{name}", "--timeout=60s")
        header, row = (await world.kubectl_wait("get", "nt")).splitlines()
        assert header.split() == ["NAME", "PHASE", "PLAN", "REASON", "AGE"]
        assert row.split()[:4] == [name, "Ready", "basic", "Serving"]
        assert "127.0.0.1" in await world.kubectl_wait("get", "tenants", "-o", "wide")
        described = await world.kubectl_wait("describe", "tenant", name)
        assert "Observed Generation" in described
        assert "AppReady" in described
        events = described.partition("Events:")[2]
        for reason in ("AwaitingLink", "Provisioning", "Ready"):
            assert f"Normal  {reason}" in events, events
        assert "nbhd.united/operator" in events
        explained = await world.kubectl_wait("explain", "tenant.spec")
        assert "Identity of the subscriber" in explained
        assert "What is wanted for one subscriber." in explained
        assert name in await world.kubectl_wait("get", "nbhd")

        plugin = f"{sysconfig.get_path('scripts')}/kubectl-nbhd"
        where = ["--namespace", world.namespace, "--kubeconfig", str(world.cluster.kubeconfig)]
        process = await asyncio.create_subprocess_exec(plugin, "check", name, "--wake", *where, stderr=-1)
        _, told = await process.communicate()
        assert (process.returncode, told.decode().splitlines()[0]) == (0, f"{name}: answered")
