"""Two operators that both act, with no Lease between them: the same tenants end in the same state as with one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from nbhd_crds.api import Tenant
from nbhd_local.services import Service
from nbhd_local.waiting import eventually
from nbhd_local.world import World
from tests.e2e.conftest import StartWorld
from tests.e2e.operators import metric, put, replica

NUMBERS = range(4)


@pytest.mark.timeout(400)
async def test_two_operators_at_once_end_as_one_does(start_world: StartWorld) -> None:
    async with start_world(only=("router",)) as world:
        one = await story(world, "one", [replica(world, "alone")])
        both = [replica(world, "first"), replica(world, "second")]
        two = await story(world, "two", both)
        assert two == one


async def story(world: World, label: str, operators: Sequence[Service]) -> list[Any]:
    """A few lives under ``operators``; what there is after each of three acts."""
    try:
        await asyncio.gather(*(operator.start() for operator in operators))
        acts = []
        for number in NUMBERS:
            await put(world, f"{label}-{number}", **spec(label, number))
        await all_are(world, label, "Ready")
        acts.append(await state(world, label))
        await put(world, f"{label}-0", **spec(label, 0), suspended=True)
        await put(world, f"{label}-1", **spec(label, 1) | {"planRef": {"name": "plus"}})
        await put(world, f"{label}-2", **spec(label, 2), credentials={"version": 2})
        await world.kubectl_wait("delete", f"tenant/{label}-3", "--timeout=60s")
        await all_are(world, label, "Ready", "Suspended")
        acts.append(await state(world, label))
        looks = [await metric(operator, "nbhd_operator_reconciles_total", outcome="settled") for operator in operators]
        assert all(looks), "each of them worked"
        names = [f"tenant/{label}-{number}" for number in NUMBERS[:3]]
        await world.kubectl_wait("delete", *names, "--timeout=60s", timeout=90)
        acts.append(await state(world, label))
        assert "Traceback" not in "".join(operator.log.read_text() for operator in operators)
    finally:
        await asyncio.gather(*(operator.stop() for operator in operators))
    return acts


def spec(label: str, number: int) -> dict[str, Any]:
    chat = {"one": 1000, "two": 2000}[label] + number
    return {
        "id": f"{label}tenant{number}",
        "complimentary": True,
        "planRef": {"name": "basic"},
        "telegram": {"chatId": chat, "userId": chat, "generation": 1},
    }


async def all_are(world: World, label: str, *phases: str) -> None:
    """Waits until every Tenant of the story has settled in one of ``phases``."""
    there: list[Tenant] = []

    async def settled() -> bool:
        there[:] = [one for one in await world.tenants.list(world.namespace) if one.metadata.name.startswith(label)]
        return all(
            one.status.phase in phases
            and one.status.observed_generation == one.metadata.generation
            and (moving := one.condition("Reconciling")) is not None
            and moving.status == "False"
            for one in there
        )

    await eventually(settled, lambda: f"{phases}: {[one.status.phase for one in there]}", 90)


async def state(world: World, label: str) -> dict[str, Any]:
    """What there is of the story in Kubernetes and Azure, without times, and without ids that Azure makes up."""
    found = world.azure.inventory()
    mine = f"nbhd-{label}tenant"
    statuses, consistent = {}, []
    apps = world.azure.subscription.apps.values()
    for tenant in await world.tenants.list(world.namespace):
        if not tenant.metadata.name.startswith(label):
            continue
        status = tenant.status
        statuses[tenant.metadata.name] = {
            "phase": status.phase,
            "conditions": {c.type: (c.status, c.reason, c.message) for c in status.conditions},
            "plan": status.plan,
            "cell": status.cell,
            "chat": status.chat_id is not None,
            "credentials": status.credentials,
            "previous": status.previous_credentials,
            "finalizers": tenant.metadata.finalizers,
        }
        if status.revision:
            (app,) = [app for app in apps if app.name == f"nbhd-{tenant.spec.id}"]
            assert app.latest_revision == app.latest_ready_revision == status.revision
            assert status.endpoint == f"https://{app.fqdn}"
            (secret,) = app.body["properties"]["configuration"]["secrets"]
            assert secret["keyVaultUrl"] == status.secret_id
            consistent.append(tenant.metadata.name)
    scopes = [role["scope"] for role in found["roleAssignments"].values() if f"/{mine}" in role["scope"]]
    everything = {
        "statuses": statuses,
        "consistent": sorted(consistent),
        "apps": {name: app["tags"].keys() for name, app in found["apps"].items() if name.startswith(mine)},
        "identities": sorted(name for name in found["identities"] if name.startswith(mine)),
        "secrets": sorted(name for name in found["secrets"] if name.startswith(mine)),
        "roles": sorted(scope.rpartition("/")[2] for scope in scopes),
    }
    text = json.dumps(everything, default=_plain, sort_keys=True)
    normal: dict[str, Any] = json.loads(text.replace(label, "LABEL"))
    return normal


def _plain(value: Any) -> Any:
    return value.wire() if hasattr(value, "wire") else list(value)
