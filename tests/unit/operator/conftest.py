"""The controller against an emulated subscription over TLS with the real SDKs, and Tenants in memory.

The API server's part is small here: versions, conflicts, finalizers. Its real behaviour is tested in ``tests/cluster``
and ``tests/e2e``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api import Cell, CellStatus, Tenant, TenantStatus
from nbhd_crds.api.meta import FINALIZER
from nbhd_crds.client import GoneError
from nbhd_crds.settings import read
from nbhd_local.azure import AzureWorld, Delays
from nbhd_local.ca import Authority
from nbhd_local.waiting import eventually
from nbhd_operator.azure import Azure
from nbhd_operator.cache import Cache, Key, key_of
from nbhd_operator.controller import Controller
from nbhd_operator.errors import Fault
from nbhd_operator.events import Change
from nbhd_operator.keeper import Keeper
from nbhd_operator.metrics import Metrics
from nbhd_operator.pace import Pace
from nbhd_operator.queue import Backoff, WorkQueue
from nbhd_operator.resources.base import Place
from nbhd_operator.settings import OperatorSettings
from nbhd_operator.situation import Situation, assess
from tests.unit.operator import make

QUICK = Delays(
    app=0.02, role_propagation=0.0, container_start=0.01, ready_lag=0.01, revision_timeout=0.05, secret_transition=0.0
)


class Store:
    """Tenants with resource versions, as the API server keeps them."""

    def __init__(self) -> None:
        self.tenants: dict[Key, Tenant] = {}
        self.writes = 0
        self.down = False
        """True: nobody gets an answer."""
        self._version = 100
        self.watchers: list[Callable[[Tenant | None, Key], None]] = []

    def put(self, tenant: Tenant) -> Tenant:
        """A person's write: takes the spec and metadata as they are."""
        self._version += 1
        meta = tenant.metadata.model_copy(update={"resource_version": str(self._version)})
        tenant = tenant.model_copy(update={"metadata": meta})
        key = key_of(tenant)
        if tenant.deleting and FINALIZER not in tenant.metadata.finalizers:
            del self.tenants[key]
            self._tell(None, key)
        else:
            self.tenants[key] = tenant
            self._tell(tenant, key)
        return tenant

    def edit(self, name: str = "anna", **spec: Any) -> Tenant:
        """A person's change of the spec."""
        old = self.tenants[Key("ns", name)]
        meta = old.metadata.model_copy(update={"generation": old.metadata.generation + 1})
        wire = {**old.spec.wire(), **spec}
        fresh = Tenant.parse({"metadata": {}, "spec": {k: v for k, v in wire.items() if v is not None}})
        return self.put(old.model_copy(update={"spec": fresh.spec, "metadata": meta}))

    def delete(self, name: str = "anna") -> None:
        """A person's delete."""
        old = self.tenants[Key("ns", name)]
        self.put(old.model_copy(update={"metadata": old.metadata.model_copy(update={"deletion_timestamp": make.NOW})}))

    def _tell(self, tenant: Tenant | None, key: Key) -> None:
        for watcher in self.watchers:
            watcher(tenant, key)

    def _reach(self) -> None:
        if self.down:
            raise aiohttp.ClientConnectionError

    def _current(self, seen: Tenant) -> Tenant:
        self._reach()
        self.writes += 1
        found = self.tenants.get(key_of(seen))
        if found is None or found.metadata.uid != seen.metadata.uid:
            raise GoneError(seen.metadata.name)
        if found.metadata.resource_version != seen.metadata.resource_version:
            raise ApiException(status=409)
        return found

    async def get(self, namespace: str, name: str) -> Tenant | None:
        await asyncio.sleep(0)
        self._reach()
        return self.tenants.get(Key(namespace, name))

    async def apply_status(self, seen: Tenant, status: Mapping[str, Any], manager: str) -> Tenant:
        assert manager == "nbhd-operator"
        await asyncio.sleep(0)
        found = self._current(seen)
        return self.put(found.model_copy(update={"status": TenantStatus.model_validate(status)}))

    async def add_finalizer(self, seen: Tenant) -> Tenant:
        found = self._current(seen)
        return self.put(
            found.model_copy(update={"metadata": found.metadata.model_copy(update={"finalizers": (FINALIZER,)})})
        )

    async def remove_finalizer(self, seen: Tenant) -> None:
        found = self._current(seen)
        self.put(found.model_copy(update={"metadata": found.metadata.model_copy(update={"finalizers": ()})}))


class CellStore:
    """Cells as the API server keeps them, and the uid of their namespace."""

    def __init__(self, *cells: Cell, uid: str = "uid-ns") -> None:
        self.cells = {key_of(cell): cell for cell in cells}
        self.uid, self.writes, self.conflicts = uid, 0, 0

    def annotate(self, name: str = "cell-1", **annotations: str) -> None:
        """A person's change; whoever watches is told by the test."""
        old = self.cells[Key("ns", name)]
        there = {f"nbhd.united/{word.replace('_', '-')}": text for word, text in annotations.items()}
        meta = old.metadata.model_copy(update={"annotations": there, "resource_version": f"a{self.writes}"})
        self.cells[key_of(old)] = old.model_copy(update={"metadata": meta})

    async def namespace_uid(self, name: str) -> str:
        assert name == "ns"
        await asyncio.sleep(0)
        return self.uid

    async def get(self, namespace: str, name: str) -> Cell | None:
        await asyncio.sleep(0)
        return self.cells.get(Key(namespace, name))

    async def apply_status(self, seen: Cell, status: Mapping[str, Any], manager: str) -> Cell:
        assert manager == "nbhd-operator"
        await asyncio.sleep(0)
        found = self.cells[key_of(seen)]
        if self.conflicts or found.metadata.resource_version != seen.metadata.resource_version:
            self.conflicts = max(self.conflicts - 1, 0)
            raise ApiException(status=409)
        self.writes += 1
        meta = found.metadata.model_copy(update={"resource_version": f"w{self.writes}"})
        written = found.model_copy(update={"metadata": meta, "status": CellStatus.model_validate(status)})
        self.cells[key_of(seen)] = written
        return written


class Operator:
    """One operator process: its own cache, queue and workers.

    With ``cells`` it has a keeper that finds out about them; without, there is one that is known to be ours.
    """

    def __init__(
        self,
        store: Store,
        azure: Azure,
        settings: OperatorSettings,
        world: AzureWorld,
        cells: CellStore | None = None,
    ) -> None:
        self.cache = Cache()
        self.queue: WorkQueue[Key] = WorkQueue()
        self.clock = make.HandClock()
        self.metrics = Metrics()
        self.recorded: list[tuple[str, Change]] = []
        self._store, self._tasks = store, list[asyncio.Task[None]]()
        self._plans = [make.plan(), make.plan("plus", cpu="2", memory="4Gi")]
        self.cells = cells or CellStore(cell_of(world))
        if cells is None:
            self.cache.standings = {key: make.opened(cell) for key, cell in self.cells.cells.items()}
        self._list()
        self.controller = Controller(
            queue=self.queue,
            cache=self.cache,
            tenants=store,  # type: ignore[arg-type] # the same four calls, in memory
            azure=azure,
            platform=settings.platform,
            rings=make.RINGS,
            clock=self.clock,
            metrics=self.metrics,
            record=lambda tenant, change: self.recorded.append((tenant.metadata.name, change)),
            refused=self._refused,
            cells_wanted=lambda namespace: self.keeper.wanted(namespace) if self._keeps else None,
            pace=Pace(*(Backoff(0.02, most) for most in (0.1, 0.1, 0.2, 0.2, 0.1, 0.1))),
        )
        self._keeps = cells is not None
        self.keeper = Keeper(
            cache=self.cache,
            azure=azure,
            objects=self.cells,  # type: ignore[arg-type] # the same two calls, in memory
            namespace_uid=self.cells.namespace_uid,
            platform=settings.platform,
            clock=self.clock,
            metrics=self.metrics,
            assess=lambda tenant: assess(tenant, self.cache, settings.platform, make.RINGS, self.clock()),
            suspect=self.controller.suspect,
            wake=self.queue.add,
            relist=self.relist,
            record=lambda about, change: self.recorded.append((about.metadata.name, change)),
            interval=3600,
            pace=Backoff(0.02, 0.1),
        )

    def start(self, workers: int = 4) -> None:
        self._store.watchers.append(self._seen)
        keeping = [self.keeper.run()] if self._keeps else []
        forever = [self.controller.deadlines.run(), *keeping, *(self.controller.work() for _ in range(workers))]
        self._tasks = [asyncio.create_task(work) for work in forever]

    async def relist(self) -> None:
        """All objects afresh."""
        await asyncio.sleep(0)
        self._list()

    def _list(self) -> None:
        cells, tenants = self.cells.cells.values(), map(self.cache.pack.of, self._store.tenants.values())
        for key in self.cache.replace(tenants, self._plans, cells, self.cache.known()):
            self.queue.add(key)

    def _refused(self, situation: Situation, fault: Fault) -> bool:
        return self.keeper.refused(situation, fault)

    async def look_at_cells(self) -> None:
        """One round."""
        self._list()
        for key in self.cells.cells:
            self.keeper.changed(key)
        queue = self.keeper.queue
        await eventually(lambda: not queue.running and not len(queue), "the keeper to come to rest")

    def _seen(self, tenant: Tenant | None, key: Key) -> None:
        for concerned in self.cache.put_tenant(tenant) if tenant else self.cache.drop_tenant(key):
            self.queue.add(concerned)

    async def kill(self) -> None:
        """As SIGKILL: whatever it was at is cut off."""
        if self._seen in self._store.watchers:
            self._store.watchers.remove(self._seen)
        self.queue.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Stage:
    """An Azure world, a store, and operators that come and go."""

    def __init__(self, world: AzureWorld, azure: Azure, settings: OperatorSettings, metrics: Metrics) -> None:
        self.world, self.azure, self.settings, self.metrics = world, azure, settings, metrics
        self.store = Store()
        self._operators: list[Operator] = []

    def operator(self, cells: CellStore | None = None, **settings: str) -> Operator:
        """Starts one more operator; ``settings`` make it another platform's."""
        platform = self.settings.model_copy(update=settings)
        operator = Operator(self.store, self.azure, platform, self.world, cells)
        self._operators.append(operator)
        operator.start()
        return operator

    async def close(self) -> None:
        for operator in self._operators:
            await operator.kill()

    def tenant(self, name: str = "anna") -> Tenant | None:
        return self.store.tenants.get(Key("ns", name))

    async def until(self, holds: Callable[[Tenant | None], object], name: str = "anna", seconds: float = 15) -> Tenant:
        """Waits until ``holds`` of the Tenant, or shows what is there instead."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not holds(self.tenant(name)):
            if asyncio.get_running_loop().time() > deadline:
                found = self.tenant(name)
                raise AssertionError(found.status.model_dump_json(indent=1, exclude_none=True) if found else "gone")
            await asyncio.sleep(0.01)
        found = self.tenant(name)
        return found or make.tenant(name)

    async def phase(self, phase: str, name: str = "anna") -> Tenant:
        """Waits for a settled phase."""

        def holds(tenant: Tenant | None) -> bool:
            moving = tenant.condition("Reconciling") if tenant else None
            return bool(
                tenant
                and tenant.status.phase == phase
                and moving
                and moving.status == "False"
                and tenant.status.observed_generation == tenant.metadata.generation
            )

        return await self.until(holds, name)

    @property
    def owned(self) -> dict[str, list[str]]:
        """Names of what tenants have in Azure, by kind."""
        found = self.world.inventory()
        scopes = [role["scope"] for role in found["roleAssignments"].values()]
        return {
            "apps": sorted(found["apps"]),
            "identities": sorted(name for name in found["identities"] if name != "nbhd-pull"),
            "roles": sorted(scope.rpartition("/")[2] for scope in scopes if "/secrets/" in scope),
            "secrets": sorted(found["secrets"]),
        }


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"))


@contextlib.asynccontextmanager
async def connected(
    world: AzureWorld, authority: Authority, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Azure, Place, Metrics]]:
    """The operator's own clients of a running world, the place of its one cell, and what is counted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle_path))
    settings = operator_settings(world, folder)
    async with Azure(settings, metrics := Metrics()) as azure:
        yield azure, Place.of(cell_of(world), settings.platform), metrics


def cell_of(world: AzureWorld) -> Cell:
    """The world's one cell."""
    return make.cell(**world.cell.spec())


def operator_settings(world: AzureWorld, folder: Path) -> OperatorSettings:
    """What an operator of this world is started with."""
    key = "k1:" + base64.urlsafe_b64encode(b"x" * 32).decode().rstrip("=")
    return read(
        OperatorSettings,
        {
            **{f"NBHD_{name}_KEYS": key for name in ("BOT", "WEBHOOK", "GATEWAY", "MODEL")},
            **world.credentials_env(folder),
            "NBHD_BOT_ID": "7000001",
            "NBHD_EGRESS_URL": "http://egress.test",
            "NBHD_MODEL_URL": "http://model.test/v1",
            "AZURE_SUBSCRIPTION_ID": world.subscription_id,
            "AZURE_ARM_URL": world.arm_url,
            "AZURE_MOCK": "true",
        },
    )


@pytest.fixture
async def stage(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A quick world in which nothing runs, and everything answers."""
    async with contextlib.AsyncExitStack() as stack:
        world = await stack.enter_async_context(AzureWorld(authority, delays=QUICK, run_containers=False))
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle_path))
        settings = operator_settings(world, tmp_path)
        azure = await stack.enter_async_context(Azure(settings, metrics := Metrics()))

        async def answers(endpoint: str) -> bool:
            assert endpoint.startswith("https://")
            return True

        monkeypatch.setattr(azure, "answers", answers)  # no container runs in this world
        found = Stage(world, azure, settings, metrics)
        stack.push_async_callback(found.close)
        yield found
