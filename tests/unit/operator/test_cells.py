"""What a Cell's status says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from nbhd_crds.api import Cell, CellStatus
from nbhd_crds.api.cell import Quota
from nbhd_operator import cells
from nbhd_operator.cells import CLAIMING, Look
from nbhd_operator.claims import Claim
from nbhd_operator.errors import Retryable, Terminal
from nbhd_operator.finding import Finding
from nbhd_operator.inventory import Inventory
from nbhd_operator.orphans import LISTED, Stray
from nbhd_operator.placement import UNSEEN, Standing
from tests.unit.operator import make
from tests.unit.operator.make import NOW

OURS = Standing(ours=True)
LATER = Finding("True", "TooManyRequests", "Later.")


def inventory(roles: int = 10, cores: Quota | None = None) -> Inventory:
    return Inventory({}, {}, {}, (), Quota(used=roles, limit=4000), cores)


def quota(used: int, limit: int = 100) -> Quota:
    return Quota(used=used, limit=limit)


def look(found: Inventory, strays: Sequence[Stray] = ()) -> Look:
    return Look(cells.listed(OURS, found, "nbhd", 0), found=found, strays=strays)


def told(status: CellStatus) -> dict[str, tuple[str, str]]:
    return {one.type: (one.status, one.reason) for one in status.conditions}


def after(status: CellStatus) -> Cell:
    return make.cell().model_copy(update={"status": status})


@pytest.mark.parametrize(
    ("seen", "ready", "reconciling", "stalled", "schedulable"),
    [
        (look(inventory()), "Claimed", "Claimed", "NotStalled", "Room"),
        (look(inventory(4000)), "Claimed", "Claimed", "NotStalled", "RoleAssignmentsExhausted"),
        (look(inventory(1, quota(100))), "Claimed", "Claimed", "NotStalled", "CoresExhausted"),
        (Look(UNSEEN, progress=CLAIMING), "Claiming", "Claiming", "NotStalled", "Claiming"),
        (
            Look(cells.claimed_by_another(Claim.FORMER, "nbhd:x")),
            "CellClaimed", "CellClaimed", "CellClaimed", "CellClaimed",
        ),
        (
            cells.hopeless(OURS, Terminal("ManagedEnvironmentNotFound", "None.")),
            *(["ManagedEnvironmentNotFound"] * 4),
        ),
        (Look(OURS, progress=LATER), "TooManyRequests", "TooManyRequests", "NotStalled", "TooManyRequests"),
    ],
)  # fmt: skip
def test_the_reasons(seen: Look, ready: str, reconciling: str, stalled: str, schedulable: str) -> None:
    found = {kind: reason for kind, (_, reason) in told(cells.report(make.cell(), seen, 1, NOW)).items()}
    assert found == {"Ready": ready, "Reconciling": reconciling, "Stalled": stalled, "Schedulable": schedulable}


@pytest.mark.parametrize(
    "seen", [look(inventory()), Look(UNSEEN, progress=CLAIMING), Look(cells.shared_with(make.cell()))]
)
def test_at_most_one_of_ready_reconciling_and_stalled(seen: Look) -> None:
    found = told(cells.report(make.cell(), seen, 1, NOW))
    assert [found[kind][0] for kind in ("Ready", "Reconciling", "Stalled")].count("True") == 1


def test_the_same_look_gives_the_same_status() -> None:
    status = cells.report(make.cell(), look(inventory()), 3, NOW)
    assert cells.report(after(status), look(inventory()), 3, make.at(1)) == status


def test_a_fault_that_passes_keeps_what_was_counted() -> None:
    status = cells.report(make.cell(), look(inventory(7, quota(3))), 3, NOW)
    later = cells.report(after(status), Look(OURS, progress=CLAIMING), 9, NOW)
    assert (later.tenants, later.role_assignments, later.cores) == (3, status.role_assignments, quota(3))


def test_another_ones_cell_shows_no_numbers() -> None:
    status = cells.report(make.cell(), look(inventory(7, quota(3))), 3, NOW)
    later = cells.report(after(status), Look(cells.claimed_by_another(Claim.FOREIGN, "x:y")), 3, NOW)
    assert (later.tenants, later.role_assignments, later.cores, later.orphans) == (None, None, None, ())


@pytest.mark.parametrize(
    ("before", "now", "shown"),
    [
        (None, quota(1), 1),
        (quota(40), quota(41), 40),
        (quota(40), quota(45), 45),
        (quota(97), quota(100), 100),
        (quota(100), quota(99), 99),
        (quota(40), quota(40, 200), 40),
        (quota(1, 2), quota(2, 2), 2),
    ],
)
def test_cores_are_told_in_steps(before: Quota | None, now: Quota, shown: int) -> None:
    first = cells.report(make.cell(), look(inventory(1, before)), 1, NOW)
    status = cells.report(after(first), look(inventory(1, now)), 1, NOW)
    assert status.cores is not None
    assert (status.cores.used, status.cores.limit) == (shown, now.limit)


def test_status_names_the_first_orphans_and_counts_all() -> None:
    strays = [Stray("secret", f"nbhd-{number:012}", NOW) for number in range(LISTED + 7)]
    status = cells.report(make.cell(), look(inventory(), strays), 1, NOW)
    assert (status.orphan_count, len(status.orphans)) == (LISTED + 7, LISTED)
    assert status.orphans[0].wire() == {
        "kind": "secret",
        "name": "nbhd-000000000000",
        "created": "2026-11-25T12:00:00Z",
    }


@pytest.mark.parametrize(
    ("fault", "full"),
    [
        (Terminal("RoleAssignmentLimitExceeded", "No more."), "RoleAssignmentsExhausted"),
        (
            Terminal("Whatever", "Azure said: Maximum Allowed Cores exceeded for the Managed Environment."),
            "CoresExhausted",
        ),
        (Retryable("Conflict", "Maximum allowed cores exceeded"), "CoresExhausted"),
        (Terminal("CoresExhausted", "The container was not started."), "CoresExhausted"),
        (Terminal("RequestDisallowedByPolicy", "No."), None),
    ],
)
def test_what_means_that_a_cell_is_full(fault: Terminal | Retryable, full: str | None) -> None:
    found = cells.refused(OURS, fault, "anna")
    assert (found.full.reason if found and found.full else None) == full
    assert found is None or found.refused == {"anna"}


def test_what_azure_counts_overrules_what_it_once_refused() -> None:
    refused = cells.refused(OURS, Terminal("RoleAssignmentLimitExceeded", "No more."), "anna")
    assert refused is not None
    found = cells.listed(refused, inventory(), "nbhd", 0)
    assert (found.full, found.refused, found.room) == (None, frozenset(), 3990)


def test_where_there_is_no_group_there_is_no_tenant() -> None:
    assert cells.hopeless(UNSEEN, Terminal("ResourceGroupNotFound", "None.")).standing.holds_none
    assert not cells.hopeless(UNSEEN, Terminal("SubscriptionNotFound", "None.")).standing.holds_none
