"""In which Cell a Tenant lives."""

from __future__ import annotations

from typing import Any

import pytest

from nbhd_crds.api import Cell
from nbhd_operator.finding import Finding
from nbhd_operator.placement import UNSEEN, Candidate, Standing, Undecided, barrier, cell_of, must_move
from nbhd_operator.plans import Unresolved
from tests.unit.operator import make

EMPTY = make.OPEN
HERS = Standing(ours=True, residents=frozenset({"anna00000000"}))
FULL = Standing(ours=True, residents=frozenset(), full=Finding("False", "RoleAssignmentsExhausted", "Full."))
THEIRS = Standing(problem=Finding("True", "CellClaimed", "Another cluster's."))
FOREIGN = Standing(problem=Finding("True", "CellClaimed", "Another platform's."), holds_none=True)


def at(name: str, tenants: int = 0, standing: Standing = EMPTY, **spec: Any) -> Candidate:
    return Candidate(make.cell(name, **spec), standing, tenants)


ONE, TWO, SHUT = at("one", 3), at("two", 1), at("shut", unschedulable=True)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({}, "two"),
        ({"cellRef": {"name": "one"}}, "one"),
        ({"cellRef": {"name": "shut"}}, "shut"),
        ({"cellRef": {"name": "one"}, "status": {"cell": "shut"}}, "shut"),
    ],
)
def test_placed_once_then_asked_for_then_the_emptiest(spec: dict[str, Any], name: str) -> None:
    assert cell_of(make.tenant(**spec), [ONE, TWO, SHUT]).name == name


def test_among_equals_the_name_decides() -> None:
    assert cell_of(make.tenant(), [at("b"), at("a")]).name == "a"


@pytest.mark.parametrize("spec", [{}, {"cellRef": {"name": "two"}}])
def test_who_lost_its_status_lives_where_it_has_something(spec: dict[str, Any]) -> None:
    assert cell_of(make.tenant(**spec), [at("one", 9, HERS, unschedulable=True), TWO]).name == "one"


@pytest.mark.parametrize(
    ("candidates", "spec", "reason"),
    [
        ([SHUT], {}, "NoCell"),
        ([], {}, "NoCell"),
        ([SHUT], {"cellRef": {"name": "x"}}, "CellNotFound"),
        ([SHUT], {"status": {"cell": "x"}}, "CellNotFound"),
        ([at("full", 0, FULL), SHUT], {}, "CellsFull"),
        ([at("foreign", 0, FOREIGN)], {}, "NoCell"),
    ],
)
def test_without_a_cell_a_person_is_needed(candidates: list[Candidate], spec: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unresolved) as found:
        cell_of(make.tenant(**spec), candidates)
    assert found.value.reason == reason


@pytest.mark.parametrize("standing", [FULL, Standing(ours=True, residents=frozenset(), room=2, counted=3)])
def test_nobody_is_placed_where_azure_has_no_room(standing: Standing) -> None:
    full = at("full", 5, standing)
    assert cell_of(make.tenant(), [full, at("other", 50)]).name == "other"
    assert cell_of(make.tenant(status={"cell": "full"}), [full, TWO]).name == "full"
    assert cell_of(make.tenant(cellRef={"name": "full"}), [full, TWO]).name == "full"


@pytest.mark.parametrize("doubtful", [UNSEEN, Standing(ours=True), THEIRS])
def test_nobody_is_placed_while_a_cell_may_hold_them(doubtful: Standing) -> None:
    with pytest.raises(Undecided) as found:
        cell_of(make.tenant(), [TWO, at("doubtful", 0, doubtful)])
    assert "doubtful" in str(found.value)
    assert cell_of(make.tenant(cellRef={"name": "two"}), [TWO, at("doubtful", 0, doubtful)]).name == "two"


def test_a_cell_that_this_cluster_has_listed_before_stops_nobody() -> None:
    cell = make.cell("known")
    known = Cell.parse(cell.model_dump() | {"status": {"tenants": 7}})
    broken = Standing(ours=True, unlistable=True)
    assert cell_of(make.tenant(), [TWO, Candidate(known, broken, 0)]).name == "two"
    for one, standing in ((cell, broken), (known, UNSEEN)):
        with pytest.raises(Undecided):
            cell_of(make.tenant(), [TWO, Candidate(one, standing, 0)])
    assert cell_of(make.tenant(), [TWO, at("foreign", 0, FOREIGN)]).name == "two"


def test_only_who_has_a_right_to_something_is_placed_anew() -> None:
    with pytest.raises(Unresolved):
        cell_of(make.tenant(), [TWO], new=False)
    assert cell_of(make.tenant(), [at("one", 9, HERS), TWO], new=False).name == "one"


def test_nothing_is_done_before_the_claim_was_seen() -> None:
    assert barrier(at("one")) == (None, None)
    problem, waiting = barrier(at("one", 0, UNSEEN))
    assert problem is None
    assert waiting is not None
    assert barrier(at("one", 0, THEIRS)) == (THEIRS.problem, None)


@pytest.mark.parametrize(
    ("spec", "beside", "moves"),
    [
        ({}, TWO, True),
        ({}, SHUT, False),
        ({}, at("full", 0, FULL), False),
        ({"cellRef": {"name": "one"}}, TWO, False),
        ({"status": {"revision": "r1"}}, TWO, False),
        ({"id": "somebodyelse1"}, TWO, False),
    ],
)
def test_whom_azure_refused_goes_elsewhere_if_there_is_another_place(
    spec: dict[str, Any], beside: Candidate, moves: bool
) -> None:
    tenant = make.tenant(**spec)
    refusing = at("one", 1, Standing(ours=True, residents=frozenset(), refused=frozenset({"anna00000000"})))
    assert must_move(tenant, refusing, [refusing, beside]) is moves


def test_whom_azure_refused_is_not_sent_back() -> None:
    left = Standing(ours=True, residents=HERS.residents, refused=frozenset({"anna00000000"}), full=FULL.full)
    assert cell_of(make.tenant(), [at("one", 0, left), TWO]).name == "two"
