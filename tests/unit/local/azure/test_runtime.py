"""Container apps that really run: a small HTTP server stands for the image."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nbhd_local.azure import AzureWorld, Delays
from nbhd_local.ca import Authority

SERVER = """
import http.server, json, os, signal, sys, threading, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({"env": dict(os.environ), "pid": os.getpid(), "cwd": os.getcwd(), "path": self.path,
                           "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("x-openclaw-delivery-accepted", "durable")
        self.send_header("Connection", "x-private")
        self.send_header("x-private", "hop")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        if self.path == "/crash":
            os._exit(3)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (body[:3], body[3:]):
            self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(part), part))
        self.wfile.write(b"0\\r\\n\\r\\n")

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer((os.environ["OPENCLAW_WEBHOOK_HOST"], 8787), Handler)
print("version", os.environ.get("VERSION"), flush=True)

def stop(*_):
    print("bye", flush=True)
    if os.environ.get("STUBBORN") != "yes":
        threading.Thread(target=server.shutdown).start()

signal.signal(signal.SIGTERM, stop)
server.serve_forever(poll_interval=0.01)
"""
IMAGE = "registry.local/openclaw:1"
DELAYS = Delays(
    app=0.01, role_propagation=0, container_start=0.01, ready_lag=0, revision_timeout=10, secret_transition=0
)


@pytest.fixture
async def azure(authority: Authority, connect: Any, tmp_path: Path) -> AsyncIterator[Any]:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    images = {IMAGE: (sys.executable, "-I", "-S", str(script)), "example.test/broken:1": ("false",)}
    world = AzureWorld(authority, delays=DELAYS, images=images, log_dir=tmp_path / "logs")
    async with world, connect(world) as clients:
        yield clients


def body(azure: Any, *, cooldown: int = 60, grace: int = 5, **env: str) -> dict[str, Any]:
    pull = azure.world.pull_identity_id
    wanted: dict[str, Any] = azure.body(
        configuration={
            "ingress": {"external": True, "targetPort": 8787, "transport": "auto"},
            "registries": [{"server": "registry.local", "identity": pull}],
        },
        template={
            "containers": [
                {"name": "a", "image": IMAGE, "env": [{"name": k, "value": v} for k, v in env.items()]},
            ],
            "scale": {"minReplicas": 0, "maxReplicas": 1, "cooldownPeriod": cooldown},
            "terminationGracePeriodSeconds": grace,
        },
    )
    wanted["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {pull: {}}}
    return wanted


async def get(azure: Any, fqdn: str, path: str = "/") -> tuple[int, Any]:
    async with azure.session.get(f"https://{fqdn}{path}") as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if answer.status == 200 else text


async def create(azure: Any, **options: Any) -> str:
    app = await azure.put("nbhd-abc", body(azure, **options))
    fqdn: str = app.properties.configuration.ingress.fqdn
    return fqdn


async def refused(azure: Any, fqdn: str) -> None:
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(azure, fqdn)


async def test_a_new_revision_runs_until_the_cooldown_and_requests_wake_it(azure: Any) -> None:
    runtime = azure.world.runtime
    fqdn = await create(azure, cooldown=0)
    assert fqdn.startswith("127.0.0.1:")
    assert (await azure.app("nbhd-abc")).properties.latest_ready_revision_name
    await runtime.wait_for("nbhd-abc", "stopped")
    assert runtime.replica_state("nbhd-abc") is None
    before = len(runtime.events)
    answers = await asyncio.gather(*(get(azure, fqdn) for _ in range(3)))  # held while one replica starts
    assert [status for status, _ in answers] == [200, 200, 200]
    assert len({found["pid"] for _, found in answers}) == 1
    await runtime.wait_for("nbhd-abc", "stopped", since=before)
    kinds = [event.kind for event in runtime.events[before:]]
    assert kinds == ["scheduled", "started", "ready", "stopping", "stopped"]
    assert "bye" in (runtime.log_dir / "nbhd-abc.log").read_text()


async def test_a_replica_sees_its_own_environment_only(azure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBHD_BOT_KEYS", "k1:leak")
    fqdn = await create(azure, VERSION="1", OPENCLAW_WEBHOOK_HOST="0.0.0.0")  # noqa: S104 - as production says it
    _, found = await get(azure, fqdn, "/a%2Fb?c=d")
    environment, status = found["env"], azure.world.runtime.replica_state("nbhd-abc")
    assert found["path"] == "/a%2Fb?c=d"
    assert set(environment) - {"LC_CTYPE"} == {
        *("PATH", "HOME", "LANG", "SSL_CERT_FILE", "VERSION", "OPENCLAW_WEBHOOK_HOST"),
        *("CONTAINER_APP_NAME", "CONTAINER_APP_REVISION", "CONTAINER_APP_REPLICA_NAME", "CONTAINER_APP_HOSTNAME"),
    }
    assert environment["OPENCLAW_WEBHOOK_HOST"] == status.address
    assert status.address.startswith("127.")
    assert (status.state, status.pid, found["cwd"]) == ("Running", found["pid"], environment["HOME"])


async def test_the_ingress_carries_bodies_and_end_to_end_headers(azure: Any) -> None:
    fqdn = await create(azure)
    async with azure.session.post(f"https://{fqdn}/", data=b"hello world") as answer:
        assert (answer.status, await answer.read()) == (201, b"hello world")
    async with azure.session.get(f"https://{fqdn}/", headers={"Connection": "x-mine", "x-mine": "hop"}) as answer:
        seen = {name.lower(): value for name, value in json.loads(await answer.text())["headers"].items()}
        assert answer.headers["x-openclaw-delivery-accepted"] == "durable"
        assert "x-private" not in answer.headers
    assert "x-mine" not in seen
    assert (seen["x-forwarded-proto"], seen["host"]) == ("https", fqdn)


async def test_a_crashed_replica_is_restarted_with_back_off(azure: Any) -> None:
    runtime = azure.world.runtime
    fqdn = await create(azure)
    first = runtime.replica_state("nbhd-abc")
    async with azure.session.post(f"https://{fqdn}/crash", data=b"now") as answer:
        assert answer.status == 502
    await runtime.wait_for("nbhd-abc", "crashed")
    assert (await get(azure, fqdn))[0] == 503
    events = len(runtime.events)
    await runtime.wait_for("nbhd-abc", "ready", since=events)
    status, found = await get(azure, fqdn)
    again = runtime.replica_state("nbhd-abc")
    assert (status, again.name, again.address, again.restarts) == (200, first.name, first.address, 1)
    assert found["pid"] != first.pid


async def test_a_new_template_replaces_the_replica_once_it_is_ready(azure: Any) -> None:
    runtime = azure.world.runtime
    fqdn = await create(azure, VERSION="1")
    first = runtime.replica_state("nbhd-abc")
    assert await create(azure, VERSION="2") == fqdn  # the address is the app's, not the revision's
    assert (await get(azure, fqdn))[1]["env"]["VERSION"] == "2"
    stopped = await runtime.wait_for("nbhd-abc", "stopped")
    assert stopped.replica == first.name
    assert runtime.replica_state("nbhd-abc").address != first.address


async def test_a_failing_revision_fails_the_change_and_leaves_the_old_one_serving(azure: Any) -> None:
    world = azure.world
    fqdn = await create(azure, VERSION="1")
    good = (await azure.app("nbhd-abc")).properties.latest_ready_revision_name
    broken = body(azure)
    broken["properties"]["template"]["containers"][0]["image"] = "example.test/broken:1"
    poller = await azure.apps.container_apps.begin_create_or_update(world.resource_group, "nbhd-abc", broken)
    with pytest.raises(Exception, match="exit code 1"):
        await poller.result()
    properties = (await azure.app("nbhd-abc")).properties
    assert (properties.provisioning_state, properties.latest_ready_revision_name) == ("Failed", good)
    revision = await azure.apps.container_apps_revisions.get_revision(
        world.resource_group, "nbhd-abc", properties.latest_revision_name
    )
    assert (revision.properties.provisioning_state, revision.properties.health_state) == ("Failed", "Unhealthy")
    assert (await get(azure, fqdn))[1]["env"]["VERSION"] == "1"


async def test_what_is_asleep_stays_so_while_its_environment_has_no_cores(azure: Any) -> None:
    (environment,) = azure.world.subscription.environments.values()
    fqdn = await create(azure, cooldown=0)
    await azure.world.runtime.wait_for("nbhd-abc", "stopped")
    environment.cores = 0
    assert (await get(azure, fqdn))[0] == 503
    environment.cores = 1
    assert (await get(azure, fqdn))[0] == 200


async def test_an_image_of_the_registry_needs_the_pull_identity(azure: Any) -> None:
    wanted = body(azure)
    wanted["properties"]["configuration"]["registries"] = []
    with pytest.raises(Exception, match="error status: 401"):
        await azure.put("nbhd-abc", wanted)


async def test_stopped_apps_answer_404_and_deleted_ones_refuse_connections(azure: Any) -> None:
    apps, group, runtime = azure.apps.container_apps, azure.world.resource_group, azure.world.runtime
    fqdn = await create(azure)
    await (await apps.begin_stop(group, "nbhd-abc")).result()
    status, text = await get(azure, fqdn)
    assert (status, "stopped or does not exist" in text) == (404, True)
    assert runtime.replica_state("nbhd-abc") is None
    await (await apps.begin_start(group, "nbhd-abc")).result()
    assert (await get(azure, fqdn))[0] == 200
    await (await apps.begin_delete(group, "nbhd-abc")).result()
    await refused(azure, fqdn)
    await runtime.wait_for("nbhd-abc", "stopped", since=len(runtime.events) - 1)


async def test_the_grace_period_ends_in_sigkill(azure: Any) -> None:
    runtime = azure.world.runtime
    await create(azure, cooldown=0, grace=0, STUBBORN="yes")
    pid = int((await runtime.wait_for("nbhd-abc", "started")).detail)
    await runtime.wait_for("nbhd-abc", "stopped")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_secrets_are_read_when_a_replica_starts_and_with_the_rights_of_that_moment(azure: Any) -> None:
    world, runtime = azure.world, azure.world.runtime
    identity, url = await azure.tenant("nbhd-abc", "the-value")
    wanted = body(azure, cooldown=0)
    wanted["identity"]["userAssignedIdentities"][identity.id] = {}
    wanted["properties"]["configuration"]["secrets"] = [{"name": "s", "keyVaultUrl": url, "identity": identity.id}]
    wanted["properties"]["template"]["containers"][0]["env"] = [{"name": "SECRET", "secretRef": "s"}]
    app = await azure.put("nbhd-abc", wanted)
    fqdn = app.properties.configuration.ingress.fqdn
    await runtime.wait_for("nbhd-abc", "stopped")
    assert (await get(azure, fqdn))[1]["env"]["SECRET"] == "the-value"
    await runtime.wait_for("nbhd-abc", "stopped", since=len(runtime.events) - 1)
    grants = azure.roles.role_assignments
    held = [item async for item in grants.list_for_scope(azure.secret_scope("nbhd-abc"), filter="atScope()")]
    await grants.delete(held[0].scope, held[0].name)
    assert (await get(azure, fqdn))[0] == 503
    crashed = await runtime.wait_for("nbhd-abc", "crashed")
    assert crashed.detail == "A secret could not be read: Forbidden."
    assert "the-value" not in repr(runtime.events) + repr(world.requests)


async def test_no_replica_outlives_a_killed_emulator() -> None:
    """The tie is made by ``nbhd_local.child``; a parent that is killed cannot clean up."""
    start = """
import subprocess, time
from nbhd_local import child
print(subprocess.Popen(child.command("sleep", "60")).pid, flush=True)
time.sleep(60)
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", start, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    process = Path("/proc") / (await parent.stdout.readline()).decode().strip()
    async with asyncio.timeout(10):
        await until(lambda: (process / "cmdline").read_text().startswith("sleep"))
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
        await until(lambda: not process.exists() or (process / "stat").read_text().split()[2] == "Z")


async def until(holds: Callable[[], bool]) -> None:
    """Looks at a process that has no other way to tell."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
