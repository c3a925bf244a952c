"""What lies in an emulated cell and belongs to nobody: shown, never taken for what it is not, removed on request."""

from __future__ import annotations

from typing import Any

import pytest

from nbhd_local.azure import state
from nbhd_local.waiting import eventually
from nbhd_operator.cache import Key
from tests.unit.operator import make
from tests.unit.operator.conftest import Stage
from tests.unit.operator.make import at
from tests.unit.operator.test_controller import ALL
from tests.unit.operator.test_keeper import CELL, cells, drifting, listed, served


def stray(stage: Stage, spec_id: str = "zoe00000000", age: float = 1) -> None:
    """Something of a tenant that nobody knows: made ``age`` days ago."""
    subscription, tags = stage.world.subscription, {"nbhd-platform": "nbhd", "nbhd-tenant": spec_id}
    name, group, then = f"nbhd-{spec_id}", stage.world.resource_group, at(-age)
    identity = state.Identity(name, group, "eastus2", tags, then)
    subscription.identities[state.key(group, name)] = identity
    stage.world.vault.store.set(name, {"value": "x", "tags": tags})
    secret = next(one for one in stage.world.vault.store.active() if one.name == name)
    secret.latest.created = then
    scope = f"{stage.world.vault.resource_id}/secrets/{name}"
    role = "4633458b-17de-408a-b874-0445c86b69e6"
    grant = state.RoleAssignment(f"grant-{spec_id}", scope, role, identity.principal_id, "ServicePrincipal", then)
    subscription.assignments[grant.name] = grant
    template: dict[str, Any] = {"containers": [{"name": "openclaw", "image": make.IMAGE}]}
    body = {
        "location": "eastus2",
        "tags": tags,
        "properties": {"environmentId": stage.world.environment_id, "template": template},
    }
    app = state.ContainerApp(name, group, body, then, then, provisioning_state="Succeeded")
    subscription.apps[state.key(group, name)] = app


async def test_orphans_are_shown_and_removed_only_when_a_person_asks(stage: Stage) -> None:
    stray(stage)
    stray(stage, "young0000000", age=0.01)
    stage.store.put(served())
    operator = stage.operator(cells(stage))
    await stage.phase("Ready")
    cell = await listed(operator)
    assert cell.status.orphan_count == 4
    assert {(one.kind, one.name) for one in cell.status.orphans} == {
        (kind, "nbhd-zoe00000000") for kind in ("containerApp", "identity", "roleAssignment", "secret")
    }
    assert [change.reason for name, change in operator.recorded if name == "cell-1"] == ["OrphansFound"]
    there = stage.world.inventory()

    for request in ("2026-11-25T11:59:00Z nbhd-zoe00000000", "2026-11-25T13:00:00Z nbhd-anna00000000", "no time"):
        operator.cells.annotate(remove_orphans=request)
        await operator.look_at_cells()
    assert stage.world.inventory() == there

    operator.cells.annotate(remove_orphans="2026-11-25T13:00:00Z nbhd-zoe00000000 nbhd-young0000000")
    before = len(stage.world.traffic.log)
    await operator.look_at_cells()
    await eventually(lambda: not operator.cells.cells[CELL].status.orphan_count, "no orphan", 10)
    gone = [
        one.path.rsplit("/", 2)[-2].lower() for one in list(stage.world.traffic.log)[before:] if one.method == "DELETE"
    ]
    assert list(dict.fromkeys(gone)) == ["containerapps", "roleassignments", "secrets", "userassignedidentities"]
    assert stage.owned == {kind: sorted([*names, "nbhd-young0000000"]) for kind, names in ALL.items()}


LISTS = (
    "containerApps$",
    "userAssignedIdentities$",
    "/secrets$",
    "subscriptions/[^/]*/prov.*roleAssignments$",
    "usages$",
)


async def test_a_list_that_is_not_true_accuses_nobody(stage: Stage) -> None:
    operator = await drifting(stage)
    operator.clock.now = at(1)  # all that is the tenant's is old enough to be an orphan, if it were one
    stray(stage)

    async def orphans() -> set[tuple[str, str]]:
        await operator.look_at_cells()
        return {(one.kind, one.name) for one in operator.cells.cells[CELL].status.orphans}

    truth, before = await orphans(), (stage.world.writes, stage.store.writes)
    for pattern in LISTS:
        for body in (b'{"value": []}', b'{"value": [{}]}'):
            rule = stage.world.traffic.garble_next("GET", pattern, body)
            assert await orphans() <= truth
            assert rule.spent
    assert await orphans() == truth
    queue = operator.queue
    await eventually(lambda: not (queue.running or len(queue)), "the controller to come to rest")
    assert (stage.world.writes, stage.store.writes) == before
    assert operator.metrics.drifts._value.get() == 0


@pytest.mark.parametrize("failing", [None, "usages$"])
async def test_what_changes_while_the_cell_is_listed_is_not_lost(stage: Stage, failing: str | None) -> None:
    operator = await drifting(stage)
    held = stage.world.traffic.hold("GET", "usages$")
    operator.keeper.changed(CELL)
    await held.reached()
    stray(stage)
    operator.keeper.changed(CELL)
    if failing:
        stage.world.traffic.fail_next("GET", failing, 500, "InternalServerError")
    held.release()
    await eventually(lambda: operator.cells.cells[CELL].status.orphan_count == 4, "the orphans", 5)


async def test_a_status_that_was_not_written_is_written_later(stage: Stage) -> None:
    operator = await drifting(stage)
    stray(stage)
    operator.cells.conflicts = 1
    operator.keeper.changed(CELL)
    await eventually(lambda: operator.cells.cells[CELL].status.orphan_count == 4, "the orphans", 5)


async def test_what_a_tenant_comes_back_for_is_not_removed(stage: Stage) -> None:
    stray(stage)
    operator = stage.operator(cells(stage))
    await listed(operator)
    there = stage.world.inventory()
    operator.cells.annotate(remove_orphans="2026-11-25T13:00:00Z nbhd-zoe00000000")
    operator.cache.cells[CELL] = operator.cells.cells[CELL]
    stage.store.tenants[Key("ns", "zoe")] = served("zoe", telegram=None)  # and no watch has told us
    operator.keeper.changed(CELL)
    await eventually(lambda: Key("ns", "zoe") in operator.cache.tenants, "the list that a removal begins with")
    await stage.phase("AwaitingLink", "zoe")
    assert stage.world.inventory()["identities"] == there["identities"]
    assert stage.world.inventory()["secrets"].keys() == there["secrets"].keys()
    assert not [call for call in stage.world.traffic.log if call.method == "DELETE"]
