"""Cells against an emulated subscription: claimed, listed, kept apart, adopted, swept on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nbhd_crds.api import Cell, TenantStatus
from nbhd_crds.api.meta import FINALIZER, RECONCILE_POLICY_ANNOTATION
from nbhd_local.waiting import eventually
from nbhd_operator.cache import Key
from tests.unit.operator import make
from tests.unit.operator.conftest import CellStore, Operator, Stage, Store
from tests.unit.operator.make import at
from tests.unit.operator.memory import said
from tests.unit.operator.test_controller import ALL, NAME

CELL = Key("ns", "cell-1")
OURS = "nbhd:uid-ns"
LOOKS = "nbhd_operator_reconciles_total"


def cells(stage: Stage, **spec: Any) -> CellStore:
    return CellStore(make.cell(**stage.world.cell.spec(), **spec))


def served(name: str = "anna", chat: int = 42, **spec: Any) -> Any:
    return make.tenant(
        name, **{"complimentary": True, "planRef": {"name": "basic"}, "telegram": make.telegram(chat)} | spec
    )


def claim(stage: Stage) -> str | None:
    return stage.world.subscription.groups[stage.world.resource_group].tags.get("nbhd-claim")


def conditions(cell: Cell) -> dict[str, tuple[str, str]]:
    return {one.type: (one.status, one.reason) for one in cell.status.conditions}


def problem(stage: Stage, name: str = "anna") -> str | None:
    tenant = stage.tenant(name)
    stalled = tenant.condition("Stalled") if tenant else None
    return stalled.reason if stalled and stalled.status == "True" else None


def app_writes(stage: Stage) -> list[str]:
    return [
        f"{one.method} {one.path}"
        for one in stage.world.traffic.log
        if one.is_write and "containerapps" in one.path.lower()
    ]


async def listed(operator: Operator, key: Key = CELL) -> Cell:
    """The Cell, once its status says that it was listed."""
    there = operator.cells.cells
    await eventually(lambda: conditions(there[key]).get("Ready") == ("True", "Claimed"), lambda: str(there[key].status))
    return there[key]


async def test_a_cell_is_claimed_before_anything_is_made_in_it(stage: Stage) -> None:
    stage.store.put(served())
    operator = stage.operator(cells(stage))
    await stage.phase("Ready")
    assert claim(stage) == OURS
    writes = [(one.method, one.path.rpartition("/providers/")[2]) for one in stage.world.traffic.log if one.is_write]
    arm = [what for what in writes if "oauth2" not in what[1]]
    assert arm[0] == ("PATCH", "Microsoft.Resources/tags/default")
    cell = await listed(operator)
    assert conditions(cell) == {
        "Ready": ("True", "Claimed"),
        "Reconciling": ("False", "Claimed"),
        "Stalled": ("False", "NotStalled"),
        "Schedulable": ("True", "Room"),
    }


async def test_a_round_in_which_nothing_changed_writes_nothing(stage: Stage) -> None:
    stage.store.put(served())
    operator = stage.operator(cells(stage))
    await stage.phase("Ready")
    await operator.look_at_cells()
    status = operator.cells.cells[CELL].status
    assert (status.tenants, status.orphan_count) == (1, 0)
    assert status.role_assignments is not None
    assert (status.role_assignments.used, status.role_assignments.limit) == (2, 4000)
    assert status.cores is not None
    assert (status.cores.used, status.cores.limit) == (0, 100)
    before = operator.cells.writes, stage.store.writes, stage.world.writes
    for _ in range(3):
        await operator.look_at_cells()
    assert (operator.cells.writes, stage.store.writes, stage.world.writes) == before


async def test_a_start_with_everything_settled_reads_the_claim_and_nothing_else(stage: Stage) -> None:
    first = await drifting(stage)
    await first.kill()
    before, writes = len(stage.world.traffic.log), (first.cells.writes, stage.store.writes, stage.world.writes)
    again = stage.operator(first.cells)
    key = Key("ns", "anna")
    await eventually(lambda: again.metrics.registry.get_sample_value(LOOKS, {"outcome": "settled"}) == 1, "a look")
    await eventually(lambda: again.cache.candidates("ns")[0].standing.ours, "the claim")
    asked = [call.path.rpartition("/providers/")[2] for call in list(stage.world.traffic.log)[before:]]
    assert [path for path in asked if "token" not in path] == ["Microsoft.Resources/tags/default"]
    assert (again.cells.writes, stage.store.writes, stage.world.writes) == writes

    stage.store.put(served("bert", 43))  # and now one must be placed: where is asked of a complete list
    await stage.phase("Ready", "bert")
    assert again.cache.candidates("ns")[0].standing.residents == frozenset({stage.store.tenants[key].spec.id})


@pytest.mark.parametrize("owner", ["nbhd:uid-of-the-old-cluster", "another:uid"])
async def test_what_another_cluster_claims_is_not_touched(stage: Stage, owner: str) -> None:
    stage.world.subscription.groups[stage.world.resource_group].tags["nbhd-claim"] = owner
    stage.store.put(served(status={"cell": "cell-1"}))
    operator = stage.operator(cells(stage))
    await stage.until(lambda _: problem(stage) == "CellClaimed")
    cell = operator.cells.cells[CELL]
    assert conditions(cell)["Stalled"] == ("True", "CellClaimed")
    (message,) = [one.message for one in cell.status.conditions if one.type == "Stalled"]
    assert f"nbhd.united/take-over={owner}" in message
    assert stage.world.writes == 0
    assert [change.reason for _, change in operator.recorded if change.type == "Warning"].count("CellClaimed") >= 1

    operator.cells.annotate(take_over="something else")
    await operator.look_at_cells()
    assert claim(stage) == owner
    operator.cells.annotate(take_over=owner)
    await operator.look_at_cells()
    await stage.phase("Ready")
    assert claim(stage) == OURS


async def test_a_claim_that_is_lost_stops_everything(stage: Stage) -> None:
    stage.store.put(served())
    operator = stage.operator(cells(stage))
    await stage.phase("Ready")
    await listed(operator)
    stage.world.subscription.groups[stage.world.resource_group].tags["nbhd-claim"] = "nbhd:uid-of-another"
    await operator.look_at_cells()
    before = stage.world.writes
    stage.store.delete()
    await stage.until(lambda _: problem(stage) == "CellClaimed")
    assert (stage.owned, stage.world.writes) == (ALL, before)


@pytest.mark.parametrize("body", [b"{}", b'{"properties": null}', b"<html>busy</html>", b'{"properties": {"tags": 7}}'])
async def test_a_claim_that_cannot_be_read_is_not_taken_for_none(stage: Stage, body: bytes) -> None:
    stage.world.subscription.groups[stage.world.resource_group].tags["nbhd-claim"] = "another:uid"
    stage.world.traffic.garble_next("GET", "/tags/default$", body)
    operator = stage.operator(cells(stage))
    await eventually(
        lambda: conditions(operator.cells.cells[CELL]).get("Stalled") == ("True", "CellClaimed"), "CellClaimed"
    )
    assert claim(stage) == "another:uid"
    assert stage.world.writes == 0


async def test_of_two_cells_with_one_resource_group_the_younger_is_stalled(stage: Stage) -> None:
    spec = stage.world.cell.spec()
    old, young = make.cell("old", **spec), make.cell("young", **spec | {"resourceGroup": spec["resourceGroup"].upper()})
    young = young.model_copy(update={"metadata": young.metadata.model_copy(update={"creation_timestamp": at(0)})})
    old = old.model_copy(update={"metadata": old.metadata.model_copy(update={"creation_timestamp": at(-1)})})
    operator = stage.operator(CellStore(young, old))
    await listed(operator, Key("ns", "old"))
    await eventually(
        lambda: conditions(operator.cells.cells[Key("ns", "young")]).get("Stalled") == ("True", "CellShared"),
        "CellShared",
    )
    stage.store.put(served())
    assert (await stage.phase("Ready")).status.cell == "old"


async def test_a_cluster_that_was_built_anew_takes_over_and_adopts_without_touching_an_app(stage: Stage) -> None:
    other = await stage.world.add_cell("nbhd-cell-2")
    both = [make.cell(**stage.world.cell.spec()), make.cell("cell-2", **other.spec())]
    stage.store.put(served(cellRef={"name": "cell-1"}))
    stage.store.put(served("bert", 43, cellRef={"name": "cell-2"}))
    first = stage.operator(CellStore(*both))
    for name in ("anna", "bert"):
        await stage.phase("Ready", name)
    apps, owned, before = app_writes(stage), stage.owned, stage.world.inventory()
    await first.kill()

    # Only what is in Git comes back: no status, no finalizer, new uids; and both would be placed in the first cell.
    stage.store = Store()
    again = stage.operator(CellStore(*both, uid="uid-of-the-new-namespace"))
    for name, chat in (("anna", 42), ("bert", 43)):
        stage.store.put(served(name, chat, meta={"uid": f"new-{name}"}))
    await stage.until(lambda t: t and (c := t.condition("Reconciling")) and c.status == "True")
    again.cells.annotate("cell-1", take_over=OURS)
    await again.look_at_cells()
    await stage.phase("Ready")
    bert = stage.tenant("bert")
    assert bert is not None
    assert bert.status.cell is None, "he may live in the other cell"
    again.cells.annotate("cell-2", take_over=OURS)
    await again.look_at_cells()
    anna, bert = await stage.phase("Ready"), await stage.phase("Ready", "bert")
    assert (anna.status.cell, bert.status.cell) == ("cell-1", "cell-2")
    assert anna.metadata.finalizers == (FINALIZER,)
    assert (app_writes(stage), stage.owned, stage.world.inventory()) == (apps, owned, before)


async def test_two_platforms_in_one_subscription_leave_each_other_alone(stage: Stage) -> None:
    mine, theirs = stage.store, Store()
    other = await stage.world.add_cell("contoso-cell")
    mine.put(served())
    ours = stage.operator(cells(stage))
    await stage.phase("Ready")
    await listed(ours)
    before = stage.world.inventory()

    stage.store = theirs
    their_cells = CellStore(make.cell(**other.spec()), uid="uid-of-theirs")
    them = stage.operator(their_cells, platform_id="contoso")
    theirs.put(served("bert"))
    await stage.phase("Ready", "bert")
    ours.clock.now = them.clock.now = at(1)
    for operator in (ours, them):
        await operator.look_at_cells()
        assert operator.cells.cells[CELL].status.orphan_count == 0
    theirs.delete("bert")
    await stage.until(lambda t: t is None, "bert")
    assert stage.world.inventory() | {"deletedSecrets": {}} == before | {"deletedSecrets": {}}

    # Pointed at our resource group by mistake, theirs says so and touches nothing.
    their_cells.cells[CELL] = make.cell(**stage.world.cell.spec())
    theirs.put(served("carl", 44))
    await them.look_at_cells()
    await stage.until(lambda _: conditions(their_cells.cells[CELL]).get("Stalled") == ("True", "CellClaimed"), "carl")
    assert stage.world.inventory()["identities"] == before["identities"]
    stage.store = mine
    assert stage.tenant() == mine.tenants[Key("ns", "anna")]
    assert not problem(stage)


async def drifting(stage: Stage) -> Operator:
    stage.store.put(served())
    operator = stage.operator(cells(stage))
    await stage.phase("Ready")
    await listed(operator)
    return operator


async def test_drift_of_every_kind_is_found_by_listing_and_repaired(stage: Stage) -> None:
    operator = await drifting(stage)
    subscription, store = stage.world.subscription, stage.world.vault.store

    (identity,) = [one for one in subscription.identities.values() if one.name == NAME]
    (app,) = subscription.apps.values()
    found = operator.metrics.drifts._value.get

    async def rest() -> None:
        queue = operator.queue
        await eventually(lambda: not (queue.running or queue.planned or len(queue)), "the controller to come to rest")
        await stage.phase("Ready")

    async def repaired(right: Callable[[], bool]) -> None:
        assert not right()
        await operator.look_at_cells()
        await eventually(right, lambda: str(stage.world.inventory()))
        await rest()

    store.active()[0].latest.tags.clear()
    await repaired(lambda: store.active()[0].latest.tags.get("nbhd-tenant") == "anna00000000")
    identity.tags["nbhd-platform"] = "another"
    await repaired(lambda: identity.tags["nbhd-platform"] == "nbhd")
    grant = next(one for one in subscription.assignments.values() if "/secrets/" in one.scope)
    del subscription.assignments[grant.name]
    await repaired(lambda: bool(stage.owned["roles"]))
    app.body["properties"]["template"]["scale"]["maxReplicas"] = 5
    await repaired(lambda: app.body["properties"]["template"]["scale"]["maxReplicas"] == 1)
    assert found() == 4
    told = [change.note for _, change in operator.recorded if change.reason == "Drifted"]
    assert told == [
        "The secret was changed (tags.nbhd-platform, tags.nbhd-tenant) by somebody else and is put back.",
        "The identity was changed (tags.nbhd-platform) by somebody else and is put back.",
        "The role assignment was removed, started or stopped by somebody else and is put back.",
        "The container app was changed (properties.template.scale.maxReplicas) by somebody else and is put back.",
    ]
    await rest()
    await operator.look_at_cells()
    assert found() == 4


async def test_drift_that_is_only_shown_counts_once_and_is_over_when_it_is_undone(stage: Stage) -> None:
    operator = await drifting(stage)
    key = Key("ns", "anna")
    old = stage.store.tenants[key]
    annotations = {RECONCILE_POLICY_ANNOTATION: "plan"}
    stage.store.put(old.model_copy(update={"metadata": old.metadata.model_copy(update={"annotations": annotations})}))
    await stage.until(lambda t: t and t.status.inputs_hash != old.status.inputs_hash)
    (app,) = stage.world.subscription.apps.values()
    scale = app.body["properties"]["template"]["scale"]

    async def rounds(current: str) -> None:
        for _ in range(3):
            await operator.look_at_cells()
            await stage.until(lambda t: t and said(t, "UpToDate")[1] == current)

    scale["maxReplicas"] = 5
    await rounds("Drifted")
    scale["maxReplicas"] = 1
    await rounds("Applied")
    assert operator.metrics.drifts._value.get() == 1


async def test_a_list_that_fails_or_is_partial_says_nothing(stage: Stage) -> None:
    operator = await drifting(stage)
    before, status = stage.world.writes, operator.cells.cells[CELL].status
    stage.world.subscription.apps.clear()  # as a list that is not complete would show it
    stage.store.delete()
    for pattern in ("containerApps$", "userAssignedIdentities$", "/secrets$", "roleAssignments$", "usages$"):
        stage.world.traffic.fail_next("GET", pattern, 500, "InternalServerError", times=3)
        await operator.look_at_cells()
    assert operator.metrics.drifts._value.get() == 0
    assert operator.cells.cells[CELL].status.orphan_count == status.orphan_count
    assert stage.world.writes >= before


async def test_draining_touches_nobody(stage: Stage) -> None:
    operator = await drifting(stage)
    before = stage.store.writes, stage.world.writes
    cell = operator.cells.cells[CELL]
    drained = cell.model_copy(update={"spec": cell.spec.model_copy(update={"unschedulable": True})})
    operator.cells.cells[CELL] = operator.cache.cells[CELL] = drained
    await operator.look_at_cells()
    for key in operator.cache.tenants:
        await operator.controller.look(key)
    assert (stage.store.writes, stage.world.writes) == before
    assert conditions(operator.cells.cells[CELL])["Schedulable"] == ("False", "Unschedulable")
    stage.store.put(served("bert", 43))
    await stage.until(lambda _: problem(stage, "bert") == "NoCell", "bert")


async def test_a_cell_without_its_resource_group_says_so(stage: Stage) -> None:
    spec = stage.world.cell.spec()
    lost = make.cell("lost", **spec | {"resourceGroup": "nowhere"})
    operator = stage.operator(CellStore(make.cell(**spec), lost))
    stage.store.put(served())
    assert (await stage.phase("Ready")).status.cell == "cell-1", "nothing can live where there is no group"
    await eventually(
        lambda: conditions(operator.cells.cells[Key("ns", "lost")]).get("Stalled") == ("True", "ResourceGroupNotFound"),
        "ResourceGroupNotFound",
    )
    assert operator.cells.cells[Key("ns", "lost")].status.tenants is None
    assert TenantStatus().cell is None
