"""Runs container apps: an ingress per app, replicas as processes, scaled between zero and one by requests.

``container_apps.py`` hands over revisions; ``ingress.py`` carries requests and ``replica.py`` runs the processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import random
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from nbhd_crds.clock import Clock
from nbhd_local import web as listeners
from nbhd_local.azure import cores, ingress
from nbhd_local.azure.app_view import cooldown_seconds
from nbhd_local.azure.container_apps import RevisionFailed, SecretReader
from nbhd_local.azure.errors import injected
from nbhd_local.azure.replica import EventKind, Launch, Replica, ReplicaDown, ReplicaLog, State
from nbhd_local.azure.role_assignments import ACR_PULL, Access
from nbhd_local.azure.state import JSON, ContainerApp, Delays, Revision, Subscription
from nbhd_local.ca import Authority
from nbhd_local.traffic import Traffic

STAND_IN = (sys.executable, "-m", "nbhd_local.openclaw")
_DEFAULT_GRACE = 30.0
_LOOK_AGAIN = 0.01  # seconds
_LAST_GRACE = 2.0  # seconds for replicas when the whole world ends
_STOPPED = "Error 404 - This Container App is stopped or does not exist."


@dataclass(frozen=True)
class ReplicaEvent:
    """Something that happened to a replica."""

    app: str
    replica: str
    kind: EventKind
    at: datetime.datetime
    detail: str


@dataclass(frozen=True)
class ReplicaStatus:
    """The replica that serves an app now."""

    name: str
    state: State
    address: str
    pid: int | None
    restarts: int


@dataclass
class _Host:
    """One app's ingress and replica."""

    app: ContainerApp
    log: ReplicaLog
    last_activity: datetime.datetime
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    fqdn: str | None = None
    revision: Revision | None = None
    replica: Replica | None = None
    stopped: bool = False
    in_flight: int = 0


class ContainerRuntime:
    """The environment's data plane. ``events`` tells all that happened, oldest first."""

    def __init__(
        self,
        subscription: Subscription,
        access: Access,
        read_secret: SecretReader,
        authority: Authority,
        log_dir: Path,
        *,
        host: str = listeners.LOOPBACK,
        clock: Clock,
        delays: Delays,
        registry: tuple[str, str],
        images: Mapping[str, Sequence[str]],
    ) -> None:
        self.events: list[ReplicaEvent] = []
        self.traffic = Traffic(clock, injected)
        """What comes through all ingresses; its own hooks, since it is no call to Azure."""
        self.log_dir = log_dir
        self._subscription, self._access, self._read_secret = subscription, access, read_secret
        self._authority, self._clock, self._delays = authority, clock, delays
        self._address = host
        self._registry_server, self._registry_id = registry
        self._images = images
        self._hosts: dict[str, _Host] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._replicas: set[Replica] = set()
        self._happened = asyncio.Condition()
        self._client: aiohttp.ClientSession | None = None

    def replica_state(self, app_name: str) -> ReplicaStatus | None:
        """The replica that serves the app, or None when it is scaled to zero."""
        host = self._hosts.get(app_name)
        if host is None or host.replica is None:
            return None
        replica = host.replica
        return ReplicaStatus(replica.name, replica.state, replica.address, replica.pid, replica.restarts)

    async def wait_for(self, app_name: str, kind: EventKind, *, since: int = 0, timeout: float = 30) -> ReplicaEvent:
        """The first event of a kind at or after position ``since`` of ``events``; raises ``TimeoutError``."""
        async with asyncio.timeout(timeout), self._happened:
            while True:
                found = next((e for e in self.events[since:] if e.app == app_name and e.kind == kind), None)
                if found is not None:
                    return found
                await self._happened.wait()

    def replicas(self, app_name: str) -> int:
        return int(self.replica_state(app_name) is not None)

    def running(self) -> list[ContainerApp]:
        return [host.app for host in self._hosts.values() if host.replica is not None]

    async def expose(self, app: ContainerApp) -> str | None:
        host = self._hosts.get(app.name)
        if host is None:
            host = self._hosts[app.name] = _Host(app, ReplicaLog(self.log_dir / f"{app.name}.log"), self._clock())
        wanted = _ingress(app) is not None
        if wanted and host.fqdn is None:
            proxy = ingress.application(lambda: self._admit(host), self._session(), self.traffic)
            listening = listeners.serve(proxy, tls=self._authority.server_context(), host=self._address)
            url = await host.stack.enter_async_context(listening)
            host.fqdn = url.removeprefix("https://")
        elif not wanted and host.fqdn is not None:
            await host.stack.aclose()
            host.fqdn = None
        return host.fqdn

    async def roll(self, app: ContainerApp, revision: Revision) -> None:
        host = self._hosts[app.name]
        if host.stopped:
            host.revision = revision
            return
        self._check_pull(app, revision)
        replica = self._launch(host, revision)
        try:
            await replica.wait_ready(self._delays.revision_timeout)
        except ReplicaDown as down:
            await self._end(replica, _LAST_GRACE)
            raise RevisionFailed(str(down)) from down
        old, old_revision = host.replica, host.revision
        host.revision = revision
        self._serve_with(host, replica)
        if old is not None and old_revision is not None:
            self._spawn(self._end(old, _grace(old_revision)))

    async def stop(self, app: ContainerApp) -> None:
        host = self._hosts[app.name]
        host.stopped = True
        self._retire(host)

    async def start(self, app: ContainerApp) -> None:
        self._hosts[app.name].stopped = False

    async def close(self, app: ContainerApp) -> None:
        host = self._hosts.pop(app.name)
        host.stopped = True
        self._retire(host)
        await host.stack.aclose()

    async def aclose(self) -> None:
        """Ends every ingress and replica."""
        for host in self._hosts.values():
            host.stopped = True
        await asyncio.gather(*(host.stack.aclose() for host in self._hosts.values()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._end(replica, _LAST_GRACE) for replica in list(self._replicas)))
        if self._client is not None:
            await self._client.close()

    @contextlib.asynccontextmanager
    async def _admit(self, host: _Host) -> AsyncIterator[str]:
        """Counts a request and finds it a ready replica, starting one if there is none."""
        if host.stopped:
            raise ingress.Refused(404, _STOPPED)
        if host.revision is None:
            raise ingress.Refused(503, "upstream connect error: no healthy upstream")
        if host.replica is None and not self._fits(host.app, host.revision):
            raise ingress.Refused(503, "upstream connect error: no healthy upstream")
        host.in_flight += 1
        try:
            replica = host.replica or self._serve_with(host, self._launch(host, host.revision))
            try:
                await replica.wait_ready(ingress.REQUEST_SECONDS)
            except ReplicaDown as down:
                raise ingress.Refused(503, "upstream connect error: no healthy upstream") from down
            yield f"http://{replica.address}:{replica.port}"
        finally:
            host.in_flight -= 1
            host.last_activity = self._clock()

    def _fits(self, app: ContainerApp, revision: Revision) -> bool:
        return cores.has_room(self._subscription, app, revision.template, self.running())

    def _serve_with(self, host: _Host, replica: Replica) -> Replica:
        host.replica, host.last_activity = replica, self._clock()
        if host.revision is not None and not _min_replicas(host.revision):
            cooldown = datetime.timedelta(seconds=cooldown_seconds(host.revision.template))
            self._spawn(self._scale_to_zero(host, replica, cooldown))
        return replica

    async def _scale_to_zero(self, host: _Host, replica: Replica, cooldown: datetime.timedelta) -> None:
        """The cooldown is time of the world's clock, which may run faster, and jump."""
        while host.replica is replica:
            now = self._clock()
            host.last_activity = min(host.last_activity, now)
            idle_since = now if host.in_flight else host.last_activity
            if idle_since + cooldown <= now and not host.in_flight:
                self._retire(host)
                return
            await asyncio.sleep(max(self._clock.pause_before(idle_since + cooldown), _LOOK_AGAIN))

    def _retire(self, host: _Host) -> None:
        """Takes the replica out of service and ends it in its own time."""
        replica, host.replica = host.replica, None
        if replica is not None and host.revision is not None:
            self._spawn(self._end(replica, _grace(host.revision)))

    def _launch(self, host: _Host, revision: Revision) -> Replica:
        app, name = host.app, f"{revision.name}-{secrets.token_hex(5)}"
        port = (_ingress(app) or {}).get("targetPort")
        address = _free_address(port)

        def notify(kind: EventKind, detail: str) -> None:
            self.events.append(ReplicaEvent(app.name, name, kind, self._clock(), detail))
            self._spawn(self._announce())

        replica = Replica(
            name,
            address,
            port,
            lambda: self._resolve(app, revision, name, address),
            host.log,
            start_delay=self._delays.container_start,
            notify=notify,
        )
        self._replicas.add(replica)
        return replica

    def _resolve(self, app: ContainerApp, revision: Revision, replica_name: str, address: str) -> Launch:
        """Command and environment of a container; secrets are read now, with the app's identity's rights."""
        container = revision.template["containers"][0]
        variables: dict[str, str] = {}
        values: dict[str, str] = {}
        for secret in app.body["properties"]["configuration"].get("secrets") or []:
            values[secret["name"]] = self._secret_value(secret)
        for variable in container.get("env") or []:
            reference = variable.get("secretRef")
            variables[variable["name"]] = values[reference] if reference else variable.get("value") or ""
        command = [*(container.get("command") or []), *(container.get("args") or [])]
        return Launch(
            command or self._images.get(container["image"], STAND_IN),
            {
                "CONTAINER_APP_NAME": app.name,
                "CONTAINER_APP_REVISION": revision.name,
                "CONTAINER_APP_REPLICA_NAME": replica_name,
                "CONTAINER_APP_HOSTNAME": app.fqdn or "",
                "SSL_CERT_FILE": str(self._authority.bundle_path),
                **variables,
                "OPENCLAW_WEBHOOK_HOST": address,  # here a replica's own address stands for a Pod's 0.0.0.0
            },
        )

    def _secret_value(self, secret: JSON) -> str:
        if not secret.get("keyVaultUrl"):
            return str(secret["value"])
        identity = self._subscription.identity_by_id(secret["identity"])
        return self._read_secret(identity.principal_id if identity else "", secret["keyVaultUrl"])

    def _check_pull(self, app: ContainerApp, revision: Revision) -> None:
        """An image of the cell's registry needs a registry entry whose identity holds AcrPull."""
        image = revision.template["containers"][0]["image"]
        if image.partition("/")[0] != self._registry_server:
            return
        registries = app.body["properties"]["configuration"].get("registries") or []
        entry: JSON = next((r for r in registries if r.get("server") == self._registry_server), {})
        identity = self._subscription.identity_by_id(entry.get("identity") or "")
        if identity is None or not self._access.allows(identity.principal_id, {ACR_PULL}, self._registry_id):
            raise RevisionFailed(f"Failed to pull '{image}': ACR token exchange endpoint returned error status: 401.")

    async def _end(self, replica: Replica, grace: float) -> None:
        await replica.stop(grace)
        self._replicas.discard(replica)

    async def _announce(self) -> None:
        async with self._happened:
            self._happened.notify_all()

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                timeout=aiohttp.ClientTimeout(total=ingress.REQUEST_SECONDS),
                auto_decompress=False,
            )
        return self._client

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _ingress(app: ContainerApp) -> JSON | None:
    found: JSON | None = (app.body["properties"].get("configuration") or {}).get("ingress")
    return found


def _grace(revision: Revision) -> float:
    given = revision.template.get("terminationGracePeriodSeconds")
    return _DEFAULT_GRACE if given is None else float(given)


def _min_replicas(revision: Revision) -> int:
    return int((revision.template.get("scale") or {}).get("minReplicas") or 0)


def _free_address(port: int | None) -> str:
    """A loopback address that nobody uses, as each replica of the real service has an address of its own."""
    while True:
        address = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(2, 254)}"  # noqa: S311
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((address, port or 0))
            return address
