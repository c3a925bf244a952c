"""In which Cell a Tenant lives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from nbhd_operator.placement import cell_of
from nbhd_operator.plans import Unresolved
from tests.unit.operator import make

ONE, TWO, SHUT = make.cell("one"), make.cell("two"), make.cell("shut", unschedulable=True)


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
    count = Counter({"one": 3, "two": 1})
    found = cell_of(make.tenant(**spec), [ONE, TWO, SHUT], lambda cell: count[cell.metadata.name])
    assert found.metadata.name == name


def test_among_equals_the_name_decides() -> None:
    assert cell_of(make.tenant(), [TWO, ONE], lambda _: 0) is ONE


@pytest.mark.parametrize(
    ("spec", "reason"),
    [({}, "NoCell"), ({"cellRef": {"name": "x"}}, "CellNotFound"), ({"status": {"cell": "x"}}, "CellNotFound")],
)
def test_without_a_cell_a_person_is_needed(spec: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unresolved) as found:
        cell_of(make.tenant(**spec), [SHUT], lambda _: 0)
    assert found.value.reason == reason
