"""One operator of one platform, whose tenants live through what a row of the fault table needs, all side by side."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from kubernetes.aio import client
from kubernetes.aio.watch import Watch

from nbhd_crds.api import Cell, CellStatus, Tenant
from nbhd_crds.api.meta import API_VERSION, GROUP, VERSION
from nbhd_crds.api.policies import BREAK_GLASS_GROUP
from nbhd_crds.client import Tenants, connect
from nbhd_local import world as worlds
from nbhd_local.azure import Delays
from nbhd_local.azure.state import ContainerApp
from nbhd_local.azure.vault_store import Secret
from nbhd_local.cluster import Cluster
from nbhd_local.services import Service
from nbhd_local.world import World
from tests.e2e.operators import replica
from tests.faults.azure_calls import Stage

DELAYS = Delays(app=0.3, role_propagation=0.3, secret_transition=0.3, revision_timeout=0.3)
_SCAN = 3.0  # seconds between two scans of the cell
_PATIENCE = 200.0


class Life:
    """One tenant."""

    def __init__(self, platform: Platform, number: int) -> None:
        self.platform, self.id = platform, f"row{number:05d}"
        self.azure_name = f"nbhd-{self.id}"
        self.cell: str | None = None
        """The Cell where it must live."""
        self._chat = 5000 + number
        self._first_version = ""

    async def pass_through(self, stage: Stage) -> None:
        """Lets the stage begin, and waits until it ended as it should."""
        platform = self.platform
        if stage in ("make", "return"):
            await self.begin()
        elif stage == "change":
            await platform.edit(self.id, {"credentials": {"version": 2}})
        elif stage in ("stop", "start"):
            await platform.edit(self.id, {"suspended": stage == "stop"})
        else:
            await platform.delete(self.id)
        if stage == "remove":
            await platform.until(self.id, lambda tenant: tenant is None)
        else:
            await platform.until(self.id, settled("Suspended" if stage == "stop" else "Ready"))
        self._check(stage)

    async def begin(self) -> None:
        """A Tenant that is due all there is."""
        chat = {"chatId": self._chat, "userId": self._chat, "generation": 1}
        spec = {"id": self.id, "planRef": {"name": "basic"}, "complimentary": True, "telegram": chat}
        await self.platform.create(self.id, spec | ({"cellRef": {"name": self.cell}} if self.cell else {}))

    async def end(self) -> None:
        """Deletes the tenant, if it is there, and checks that nothing is left."""
        if await self.platform.tenant(self.id) is not None:
            await self.pass_through("remove")
        self._check("remove")

    @property
    def app(self) -> ContainerApp | None:
        """The tenant's app as Azure has it."""
        apps = self.platform.world.azure.subscription.apps.values()
        return next((app for app in apps if app.name == self.azure_name), None)

    @property
    def secret(self) -> Secret:
        """The tenant's secret, deleted or not, or on the way."""
        stores = [vault.store for vault in self.platform.world.azure.vaults]
        (found,) = [one for store in stores for one in store._all() if one.name == self.azure_name]
        return found

    @property
    def owned(self) -> dict[str, int]:
        """How many things of each kind are the tenant's."""
        world = self.platform.world.azure
        held, identities = world.subscription.assignments.values(), world.subscription.identities.values()
        mine = [identity for identity in identities if identity.name == self.azure_name]
        return {
            "apps": int(self.app is not None),
            "identities": len(mine),
            "roles": sum(role.scope.endswith(f"/secrets/{self.azure_name}") for role in held),
            "roles that count": sum(role.principal_id in {one.principal_id for one in mine} for role in held),
            "secrets": sum(one.name == self.azure_name for vault in world.vaults for one in vault.store.active()),
        }

    def _check(self, stage: Stage) -> None:
        expected = dict.fromkeys(self.owned, int(stage != "remove"))
        if self.owned != expected:
            raise AssertionError(f"there is {self.owned} of {self.azure_name} after {stage}")
        app, versions = self.app, self.secret.versions
        if stage == "make":
            self._first_version = next(iter(versions))
        if self._first_version not in versions:
            raise AssertionError("the secret was lost")
        if app is not None and app.stopped is not (stage == "stop"):
            raise AssertionError(f"stopped is {app.stopped} after {stage}")
        if app is not None and len(app.revisions) != (2 if stage == "change" else 1):
            raise AssertionError(f"{len(app.revisions)} revisions after {stage}")


class Platform:
    """The running operator, and somebody who may write every part of a Tenant."""

    def __init__(self, world: World, operator: Service, api: client.ApiClient) -> None:
        self.world, self.operator = world, operator
        self._objects, self._tenants = client.CustomObjectsApi(api), Tenants(api)
        self._seen: dict[str, Tenant] = {}
        self._written: dict[str, Tenant] = {}
        self._deleted: set[str] = set()
        self.told: defaultdict[str, list[CellStatus]] = defaultdict(list)
        """All that each Cell's status has said, oldest first."""
        self.looked = asyncio.Condition()
        self._numbers = itertools.count(1)

    def lives(self) -> Iterator[Life]:
        """One new tenant after the other."""
        return (Life(self, number) for number in self._numbers)

    async def create(self, name: str, spec: dict[str, Any]) -> None:
        """A new Tenant."""
        self._deleted.discard(name)
        self._written[name] = Tenant.parse(await self._create(Tenant, name, spec))

    async def create_cell(self, name: str, spec: dict[str, Any]) -> None:
        """A new Cell."""
        await self._create(Cell, name, spec)

    async def _create(self, kind: type[Tenant | Cell], name: str, spec: dict[str, Any]) -> Any:
        body = {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}
        return await self._objects.create_namespaced_custom_object(
            GROUP, VERSION, self.world.namespace, kind.plural, body
        )

    async def annotate_cell(self, name: str, annotation: str, text: str) -> None:
        """As a person would."""
        await self._objects.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            self.world.namespace,
            "cells",
            name,
            {"metadata": {"annotations": {annotation: text}}},
            _content_type="application/merge-patch+json",
        )

    async def edit(self, name: str, spec: dict[str, Any]) -> None:
        """Changes parts of a spec."""
        changed = await self._objects.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            self.world.namespace,
            "tenants",
            name,
            {"spec": spec},
            _content_type="application/merge-patch+json",
        )
        self._written[name] = Tenant.parse(changed)

    async def delete(self, name: str) -> None:
        """Asks for the deletion."""
        self._deleted.add(name)
        await self._objects.delete_namespaced_custom_object(GROUP, VERSION, self.world.namespace, "tenants", name)

    async def tenant(self, name: str) -> Tenant | None:
        """The Tenant as the API server has it."""
        return await self._tenants.get(self.world.namespace, name)

    async def until(self, name: str, holds: Callable[[Tenant | None], bool]) -> None:
        """Waits for the Tenant. Raises ``AssertionError`` that shows what is there instead."""
        try:
            async with asyncio.timeout(_PATIENCE), self.looked:
                await self.looked.wait_for(lambda: self._is_new(name) and holds(self._seen.get(name)))
        except TimeoutError:
            found = self._seen.get(name)
            there = found.status.model_dump_json(exclude_none=True) if found else "no such Tenant"
            log = [line for line in self.operator.log.read_text(errors="replace").splitlines() if name in line]
            raise AssertionError(f"waited {_PATIENCE:.0f} s; there is {there}; {log[-12:]}") from None

    def _is_new(self, name: str) -> bool:
        """Whether what was seen has our own last write in it."""
        seen, written = self._seen.get(name), self._written.get(name)
        if seen is None or written is None:
            return name in self._deleted
        same = seen.metadata.uid == written.metadata.uid
        return same and seen.metadata.generation >= written.metadata.generation

    async def watch(self) -> None:
        """Reads all Tenants again and again, for all who wait."""
        while True:
            found = await self._tenants.list(self.world.namespace)
            async with self.looked:
                self._seen = {tenant.metadata.name: tenant for tenant in found}
                self.looked.notify_all()
            await asyncio.sleep(0.5)

    async def watch_cells(self) -> None:
        """Notes every status of every Cell."""
        async with Watch() as changes:  # type: ignore[no-untyped-call] # the library has no types
            listing = self._objects.list_namespaced_custom_object
            async for event in changes.stream(listing, GROUP, VERSION, self.world.namespace, "cells"):
                cell = Cell.parse(event["object"])
                async with self.looked:
                    self.told[cell.metadata.name].append(cell.status)
                    self.looked.notify_all()


def settled(phase: str) -> Callable[[Tenant | None], bool]:
    """True of a Tenant that came to rest in the phase."""

    def holds(tenant: Tenant | None) -> bool:
        moving = tenant.condition("Reconciling") if tenant else None
        return bool(
            tenant
            and moving
            and (tenant.status.phase, moving.status) == (phase, "False")
            and tenant.status.observed_generation == tenant.metadata.generation
        )

    return holds


def stalled(reason: str) -> Callable[[Tenant | None], bool]:
    """True of a Tenant that waits for a person, for this reason."""

    def holds(tenant: Tenant | None) -> bool:
        found = tenant.condition("Stalled") if tenant else None
        return bool(found and (found.status, found.reason) == ("True", reason))

    return holds


@contextlib.asynccontextmanager
async def platform(
    folder: Path, cluster: Cluster, namespace: str, *, gates: bool = False, scan: float = _SCAN
) -> AsyncIterator[Platform]:
    """Starts an operator that scans every ``scan`` seconds, in a world where nothing runs but everything is well.

    ``gates`` puts fault hooks on its way to the API server.
    """
    group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": BREAK_GLASS_GROUP}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "oncall"}}
    cluster.apply(binding | {"roleRef": role, "subjects": [group]}, namespace=namespace)
    azure = {"run_containers": False, "healthy": True}
    start = worlds.running(
        folder, cluster=cluster, namespace=namespace, delays=DELAYS, only=(), gates=gates, azure_options=azure
    )
    async with (
        start as world,
        await connect(cluster.kubeconfig) as api,
    ):
        api.set_default_header("Impersonate-User", "oncall")
        api.set_default_header("Impersonate-Group", BREAK_GLASS_GROUP)
        operator = replica(world, "operator", NBHD_DRIFT_SECONDS=str(scan))
        await operator.start()
        found = Platform(world, operator, api)
        watching = [asyncio.create_task(found.watch()), asyncio.create_task(found.watch_cells())]
        try:
            yield found
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await operator.stop()
