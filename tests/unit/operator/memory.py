"""A subscription and a cluster in memory, for thousands of looks in seconds: no sockets, no time that passes by itself.

Azure here is small but not simple-minded: an app is at work until it was looked at once more, a changed template makes
a revision, an image may be bad, a deleted secret comes back with its versions. What the real SDKs and the emulator add
to that is tested elsewhere.
"""

# ruff: noqa: ARG002 - the signatures are those of nbhd_operator.azure.Azure

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Mapping
from typing import Any

from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api import Plan, PlanStatus, Tenant
from nbhd_crds.api.meta import RECONCILE_POLICY_ANNOTATION, KubernetesObject
from nbhd_crds.identity import azure_name
from nbhd_operator.cache import Cache, Key, key_of
from nbhd_operator.controller import Controller
from nbhd_operator.errors import NotFound, SoftDeleted
from nbhd_operator.events import Change
from nbhd_operator.metrics import Metrics
from nbhd_operator.policy import ruling
from nbhd_operator.queue import WorkQueue
from nbhd_operator.resources.base import Body, Place
from nbhd_operator.turns import Turns
from tests.unit.operator import make
from tests.unit.operator.conftest import Store

BAD_IMAGE = "registry.local/openclaw/openclaw@sha256:" + "b" * 64
KINDS = ("apps", "identities", "roles", "secrets")
_QUIET = 3
"""Rounds without a write after which nothing moves any more."""


class MemoryAzure:
    """The calls of ``nbhd_operator.azure.Azure`` on dictionaries. Every change is in ``writes``, every look counted."""

    def __init__(self) -> None:
        self.apps: dict[str, dict[str, Any]] = {}
        self.identities: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, list[dict[str, Any]]] = {}
        self.deleted: dict[str, list[dict[str, Any]]] = {}
        self.roles: dict[str, dict[str, Any]] = {}
        self.writes: list[tuple[str, str]] = []
        self.reads = 0
        self._number = itertools.count(1)

    def names(self) -> dict[str, set[str]]:
        """What is there, by kind."""
        roles = {role["properties"]["scope"].rpartition("/")[2] for role in self.roles.values()}
        return {
            "apps": set(self.apps),
            "identities": set(self.identities),
            "roles": roles,
            "secrets": set(self.secrets),
        }

    def state(self) -> object:
        """All of it, to be compared."""
        return copy.deepcopy((self.apps, self.identities, self.secrets, self.roles))

    def _wrote(self, what: str, name: str) -> None:
        self.writes.append((what, name))

    async def get_app(self, place: Place, name: str) -> Body:
        app: dict[str, Any] = self._found(self.apps, name)
        shown = copy.deepcopy(app)
        properties = app["properties"]
        if properties["provisioningState"] == "Deleting":
            del self.apps[name]
        elif properties["provisioningState"] == "InProgress":
            image = properties["template"]["containers"][0]["image"]
            properties["provisioningState"] = "Failed" if image == BAD_IMAGE else "Succeeded"
            if image != BAD_IMAGE:
                properties["latestReadyRevisionName"] = properties["latestRevisionName"]
        return shown

    async def put_app(self, place: Place, name: str, body: Body) -> Body:
        self._wrote("put app", name)
        before = self.apps.get(name, {"properties": {}})["properties"]
        app = copy.deepcopy(dict(body))
        app |= {"name": name}
        changed = app["properties"]["template"] != before.get("template")
        revision = f"{name}--{next(self._number)}" if changed else before["latestRevisionName"]
        app["properties"] |= {
            "provisioningState": "InProgress",
            "runningStatus": before.get("runningStatus", "Running"),
            "latestRevisionName": revision,
            "latestReadyRevisionName": before.get("latestReadyRevisionName"),
        }
        app["properties"]["configuration"]["ingress"]["fqdn"] = f"{name}.test"
        self.apps[name] = app
        return copy.deepcopy(app)

    async def delete_app(self, place: Place, name: str) -> None:
        self._wrote("delete app", name)
        self.apps[name]["properties"]["provisioningState"] = "Deleting"

    async def stop_app(self, place: Place, name: str) -> None:
        self._wrote("stop app", name)
        self.apps[name]["properties"]["runningStatus"] = "Stopped"

    async def start_app(self, place: Place, name: str) -> None:
        self._wrote("start app", name)
        self.apps[name]["properties"]["runningStatus"] = "Running"

    async def answers(self, endpoint: str) -> bool:
        self.reads += 1
        return True

    async def get_identity(self, place: Place, name: str) -> Body:
        return copy.deepcopy(self._found(self.identities, name))

    async def put_identity(self, place: Place, name: str, body: Body) -> Body:
        self._wrote("put identity", name)
        made = {
            "id": place.resource_id(f"Microsoft.ManagedIdentity/userAssignedIdentities/{name}"),
            "properties": {"principalId": f"principal-{next(self._number)}", "clientId": "client"},
        }
        self.identities[name] = {**self.identities.get(name, made), **body}
        return copy.deepcopy(self.identities[name])

    async def delete_identity(self, place: Place, name: str) -> None:
        self._wrote("delete identity", name)
        self.identities.pop(name, None)

    async def list_role_assignments(self, place: Place, scope: str) -> list[Body]:
        self.reads += 1
        return [copy.deepcopy(role) for role in self.roles.values() if role["properties"]["scope"] == scope]

    async def put_role_assignment(self, place: Place, scope: str, name: str, properties: Body) -> Body:
        self._wrote("put role", scope.rpartition("/")[2])
        self.roles[name] = {"name": name, "properties": {**properties, "scope": scope}}
        return copy.deepcopy(self.roles[name])

    async def delete_role_assignment(self, place: Place, scope: str, name: str) -> None:
        self._wrote("delete role", scope.rpartition("/")[2])
        self.roles.pop(name, None)

    async def get_secret(self, place: Place, name: str) -> Body:
        return copy.deepcopy(self._found(self.secrets, name)[-1])

    async def set_secret(self, place: Place, name: str, value: str, tags: Body) -> Body:
        self._wrote("set secret", name)
        if name in self.deleted:
            raise SoftDeleted("ObjectIsDeletedButRecoverable", "")
        version = {
            "id": f"{place.vault_url}/secrets/{name}/v{next(self._number)}",
            "value": value,
            "tags": dict(tags),
            "enabled": True,
        }
        self.secrets.setdefault(name, []).append(version)
        return copy.deepcopy(version)

    async def delete_secret(self, place: Place, name: str) -> None:
        self._wrote("delete secret", name)
        if name in self.secrets:
            self.deleted[name] = self.secrets.pop(name)

    async def recover_secret(self, place: Place, name: str) -> None:
        self._wrote("recover secret", name)
        self.secrets[name] = self.deleted.pop(name)

    def _found(self, kind: Mapping[str, Any], name: str) -> Any:
        self.reads += 1
        if name not in kind:
            raise NotFound("ResourceNotFound", name)
        return kind[name]


class GuardedAzure(MemoryAzure):
    """Notes whatever the reconcile policies do not allow."""

    def __init__(self, small: Small) -> None:
        super().__init__()
        self._small = small
        self.forbidden: list[str] = []

    def _wrote(self, what: str, name: str) -> None:
        super()._wrote(what, name)
        for tenant in self._small.store.tenants.values():
            if azure_name(tenant.spec.id) == name:
                plan = self._small.cache.plans.get(Key("ns", tenant.spec.plan_ref.name if tenant.spec.plan_ref else ""))
                if not ruling(tenant, plan).manages:
                    self.forbidden.append(f"{what} {name} under {ruling(tenant, plan)}")


class _Plans:
    """The API server's part of a Plan's status."""

    def __init__(self, small: Small) -> None:
        self._small = small
        self.writes = 0

    async def apply_status(self, seen: Plan, status: Mapping[str, Any], manager: str) -> Plan:
        assert manager == "nbhd-operator"
        await asyncio.sleep(0)
        if self._small.cache.plans.get(key_of(seen)) is not seen:
            raise ApiException(status=409)
        self.writes += 1
        return seen.model_copy(update={"status": PlanStatus.model_validate(status)})


class Small:
    """One operator, one namespace, and hands on everything. Nothing moves but in ``settle`` and ``looks``."""

    def __init__(self) -> None:
        self.store = Store()
        self.azure = GuardedAzure(self)
        self.metrics = Metrics()
        self.plans = _Plans(self)
        self.recorded: list[tuple[str, Change]] = []
        self.cache = Cache()
        self._seconds = 0.0
        self._uids = itertools.count(1)
        self.store.watchers.append(self._seen)
        self.cache.plans |= {key_of(plan): plan for plan in (make.plan(), make.plan("plus", cpu="2", memory="4Gi"))}
        self.cache.cells |= {key_of(cell): cell for cell in (make.cell(),)}
        self.cache.standings |= {key: make.opened(cell) for key, cell in self.cache.cells.items()}
        self.restart()

    def restart(self) -> None:
        """Another process: whatever was only in memory is gone."""
        before, self.cache = self.cache, Cache()
        tenants = map(self.cache.pack.of, self.store.tenants.values())
        self.cache.replace(tenants, before.plans.values(), before.cells.values(), self.cache.known())
        self.cache.standings = before.standings
        self.queue: WorkQueue[Key] = WorkQueue(lambda: self._seconds)

        def record(about: KubernetesObject, change: Change) -> None:
            self.recorded.append((about.metadata.name, change))

        self.controller = Controller(
            queue=self.queue,
            cache=self.cache,
            tenants=self.store,  # type: ignore[arg-type] # the same four calls, in memory
            azure=self.azure,  # type: ignore[arg-type] # the same calls, in memory
            platform=make.PLATFORM,
            rings=make.RINGS,
            clock=make.HandClock(),
            metrics=self.metrics,
            record=record,
        )
        self.turns = Turns(
            cache=self.cache,
            plans=self.plans,  # type: ignore[arg-type] # the one call, in memory
            wake=self.queue.add,
            clock=make.HandClock(),
            record=record,
        )
        for plan in self.cache.plans:
            self.cache.stir(plan)
        for key in self.cache.tenants:
            self.queue.add(key)

    def _seen(self, tenant: Tenant | None, key: Key) -> None:
        for concerned in self.cache.put_tenant(tenant) if tenant else self.cache.drop_tenant(key):
            self.queue.add(concerned)

    # -- what people do ---------------------------------------------------------------------------------------------

    def add(self, name: str, chat: int, plan: str = "basic", **spec: Any) -> None:
        """A new subscriber, who is served free of charge."""
        given = {"complimentary": True, "planRef": {"name": plan}, "telegram": make.telegram(chat), **spec}
        fields = {name: value for name, value in given.items() if value is not None}
        self.store.put(make.tenant(name, meta={"uid": f"uid-{next(self._uids)}"}, **fields))

    def tenant(self, name: str) -> Tenant:
        """As the API server has it."""
        return self.store.tenants[Key("ns", name)]

    def plan(self, name: str = "basic") -> Plan:
        """As last written."""
        return self.cache.plans[Key("ns", name)]

    def change_plan(self, name: str = "basic", *, policy: str | None = None, **spec: Any) -> None:
        """A person's change of a Plan; ``spec`` by wire names. The annotation is as given here."""
        old = self.plan(name)
        meta = old.metadata.model_copy(
            update={"annotations": _annotated(policy), "generation": old.metadata.generation + 1}
        )
        fresh = Plan.parse({"metadata": {}, "spec": {**old.spec.wire(), **spec}})
        self.cache.plans[key_of(old)] = old.model_copy(update={"spec": fresh.spec, "metadata": meta})
        self.cache.stir(key_of(old))
        for key in self.cache.tenants:
            self.queue.add(key)

    def annotate(self, name: str, policy: str | None) -> None:
        """A person's annotation of a Tenant."""
        old = self.tenant(name)
        self.store.put(
            old.model_copy(update={"metadata": old.metadata.model_copy(update={"annotations": _annotated(policy)})})
        )

    # -- what time does -----------------------------------------------------------------------------------------------

    async def looks(self, most: int) -> None:
        """At most so many looks at whatever is due."""
        for _ in range(most):
            self.queue.tick()
            if not len(self.queue):
                return
            key = await self.queue.get()
            await self.controller.look(key)
            self.queue.done(key)

    async def settle(self, rounds: int = 200) -> None:
        """Until nothing is written any more; fails if that does not come."""
        quiet = 0
        for _ in range(rounds):
            before = (self.store.writes, self.plans.writes)
            await self.looks(1000)
            assert not len(self.queue), "a tenant is looked at again and again"
            await self.turns.round()
            self._seconds += 1000.0
            quiet = quiet + 1 if (self.store.writes, self.plans.writes) == before and not len(self.queue) else 0
            if quiet == _QUIET:
                assert self.azure.forbidden == []
                assert not self.metrics.registry.get_sample_value(
                    "nbhd_operator_reconciles_total", {"outcome": "failed"}
                )
                return
        raise AssertionError(
            f"not settled: {[t.status.model_dump(exclude_none=True) for t in self.store.tenants.values()]}"
        )

    async def look_at_all(self) -> tuple[int, int, int]:
        """Writes to Kubernetes, writes to Azure and reads of Azure that one more look at everybody costs."""
        before = (self.store.writes + self.plans.writes, len(self.azure.writes), self.azure.reads)
        for key in list(self.cache.tenants):
            await self.controller.look(key)
        for plan in self.cache.plans:
            self.cache.stir(plan)
        await self.turns.round()
        after = (self.store.writes + self.plans.writes, len(self.azure.writes), self.azure.reads)
        return after[0] - before[0], after[1] - before[1], after[2] - before[2]


def _annotated(policy: str | None) -> dict[str, str]:
    return {RECONCILE_POLICY_ANNOTATION: policy} if policy is not None else {}


def said(tenant: Tenant, kind: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    found = tenant.condition(kind)
    return (found.status, found.reason) if found else ("", "")


def changed_image(letter: str) -> str:
    """Another image."""
    return make.IMAGE[:-64] + letter * 64
