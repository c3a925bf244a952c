"""``kubectl nbhd orphans``: what is asked of the operator, and never more than a person has seen."""

from __future__ import annotations

import pytest

from nbhd_cli.errors import CommandError
from nbhd_cli.orphans import requested, requests, rows
from tests.unit.cli.make import NOW, ago, cell

ANNOTATION = "nbhd.united/remove-orphans"
ADA = [
    {"kind": "containerApp", "name": "nbhd-ada00000", "created": ago(hours=3)},
    {"kind": "identity", "name": "nbhd-ada00000"},
]
BOB = [{"kind": "secret", "name": "nbhd-bob00000"}]
LATER = "2026-03-01T13:00:00Z"


def test_each_cell_is_asked_for_its_own() -> None:
    east, west = cell("east", orphans=ADA), cell("west", orphans=BOB)
    found = requests([east, west, cell("empty")], ["nbhd-bob00000", "nbhd-ada00000", "nbhd-bob00000"], NOW)
    assert found == [(east, f"{LATER} nbhd-ada00000"), (west, f"{LATER} nbhd-bob00000")]


def test_a_name_that_is_no_orphan_stops_all() -> None:
    with pytest.raises(CommandError, match="no Cell shows an orphan of this name: nbhd-eve00000"):
        requests([cell(orphans=ADA)], ["nbhd-ada00000", "nbhd-eve00000"], NOW)


def test_what_was_requested_and_still_counts_stays() -> None:
    before = cell(orphans=ADA + BOB, annotations={ANNOTATION: "2026-03-01T12:10:00Z nbhd-bob00000 nbhd-ada00000"})
    ((_, wanted),) = requests([before], ["nbhd-ada00000"], NOW)
    assert wanted == f"{LATER} nbhd-bob00000 nbhd-ada00000"


@pytest.mark.parametrize(
    "annotation", ["", "nonsense", "2026-03-01T11:59:59Z nbhd-bob00000", "2026-03-01T12:30:00 nbhd-bob00000"]
)
def test_an_old_or_unreadable_request_counts_for_nothing(annotation: str) -> None:
    assert requested(cell(annotations={ANNOTATION: annotation}), NOW) == []


def test_the_table() -> None:
    some = cell(orphans=ADA + BOB, annotations={ANNOTATION: f"{LATER} nbhd-bob00000"})
    header, *lines = rows([some], NOW, namespaces=False).splitlines()
    assert header.split() == ["CELL", "KIND", "NAME", "AGE", "REMOVAL"]
    assert [line.split()[1:] for line in lines] == [
        ["containerApp", "nbhd-ada00000", "3h", "-"],
        ["identity", "nbhd-ada00000", "<unknown>", "-"],
        ["secret", "nbhd-bob00000", "<unknown>", "requested"],
    ]
