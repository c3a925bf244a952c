"""A cell in which Azure has no room left: whom it refuses moves on, or is told; whoever is served stays."""

from __future__ import annotations

from nbhd_local.azure.state import Environment
from nbhd_operator.cache import Key
from tests.unit.operator import make
from tests.unit.operator.conftest import CellStore, Operator, Stage
from tests.unit.operator.memory import said
from tests.unit.operator.test_controller import ALL, NOTHING
from tests.unit.operator.test_keeper import CELL, cells, conditions, listed, problem, served


async def two_cells(stage: Stage) -> Operator:
    other = await stage.world.add_cell("nbhd-cell-2")
    operator = stage.operator(CellStore(make.cell(**stage.world.cell.spec()), make.cell("cell-2", **other.spec())))
    for key in operator.cells.cells:
        await listed(operator, key)
    return operator


def environment(stage: Stage) -> Environment:
    return next(
        one for one in stage.world.subscription.environments.values() if one.group == stage.world.resource_group
    )


def nothing_is_left_in_the_first(stage: Stage) -> bool:
    in_first = [one for one in stage.world.subscription.identities.values() if one.group == stage.world.resource_group]
    return [one.name for one in in_first] == ["nbhd-pull"] and stage.world.vault.store.active() == []


async def test_whom_a_full_subscription_refuses_moves_on_and_leaves_nothing(stage: Stage) -> None:
    stage.world.traffic.fail_next("PUT", "roleAssignments", 400, "RoleAssignmentLimitExceeded")
    operator = await two_cells(stage)
    stage.store.put(served())
    assert (await stage.phase("Ready")).status.cell == "cell-2"
    assert nothing_is_left_in_the_first(stage)
    assert stage.owned == ALL
    stage.store.put(served("bert", 43))
    assert (await stage.phase("Ready", "bert")).status.cell == "cell-2"
    await operator.look_at_cells()
    assert conditions(operator.cells.cells[CELL])["Schedulable"] == ("True", "Room"), "Azure counts, and there is room"


async def test_a_full_cell_with_no_other_is_said(stage: Stage) -> None:
    stage.world.subscription.assignment_limit = 1
    operator = stage.operator(cells(stage))
    await listed(operator)
    stage.store.put(served())
    await stage.until(lambda _: problem(stage) == "RoleAssignmentLimitExceeded")
    stage.store.put(served("bert", 43))
    await stage.until(lambda _: problem(stage, "bert") == "CellsFull", "bert")
    assert NOTHING["roles"] == stage.owned["roles"]


async def test_whom_an_environment_without_cores_cannot_start_moves_on(stage: Stage) -> None:
    operator = await two_cells(stage)
    environment(stage).cores = 0  # it was filled since it was listed
    stage.store.put(served())
    await stage.until(lambda _: problem(stage) == "ProvisioningFailed")
    await operator.look_at_cells()
    assert conditions(operator.cells.cells[CELL])["Schedulable"] == ("False", "CoresExhausted")
    assert (await stage.phase("Ready")).status.cell == "cell-2"
    assert nothing_is_left_in_the_first(stage)
    assert stage.owned == ALL
    stage.store.put(served("bert", 43))
    assert (await stage.phase("Ready", "bert")).status.cell == "cell-2"


async def test_with_no_other_cell_it_says_what_is_missing_and_starts_once_there_is_room(stage: Stage) -> None:
    operator = stage.operator(cells(stage))
    await listed(operator)
    environment(stage).cores = 0
    stage.store.put(served())
    await stage.until(lambda _: problem(stage) == "ProvisioningFailed")
    await operator.look_at_cells()
    await stage.until(lambda _: problem(stage) == "CoresExhausted")
    stage.store.put(served("bert", 43))
    await stage.until(lambda _: problem(stage, "bert") == "CellsFull", "bert")
    environment(stage).cores = 100
    await operator.look_at_cells()
    for name in ("anna", "bert"):
        await stage.phase("Ready", name)
    assert conditions(operator.cells.cells[CELL])["Schedulable"] == ("True", "Room")


async def test_who_is_served_in_a_full_cell_stays_there_and_serves_on(stage: Stage) -> None:
    operator = await two_cells(stage)
    stage.store.put(served())
    before = await stage.phase("Ready")
    environment(stage).cores = 0
    await operator.look_at_cells()
    stage.store.edit(preferences={"timeZone": "Europe/Berlin"})  # another revision, and it does not fit
    await stage.until(lambda _: problem(stage) == "CoresExhausted")
    after = stage.store.tenants[Key("ns", "anna")]
    assert said(after, "AppReady") == ("True", "Serving")
    assert (after.status.cell, after.status.revision) == ("cell-1", before.status.revision)
    environment(stage).cores = 100
    await operator.look_at_cells()
    assert (await stage.phase("Ready")).status.revision != before.status.revision
