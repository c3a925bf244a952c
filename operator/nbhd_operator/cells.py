"""What a Cell's status says, and what its standing is, from a look at it in Azure. Pure.

``keeper.py`` looks and writes. Conditions are as for Tenants (``status.py``): ``Stalled`` waits for a person,
``Reconciling`` for Azure, ``Schedulable`` says whether new Tenants are placed there.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nbhd_crds.api import Cell, CellStatus
from nbhd_crds.api.cell import Quota
from nbhd_crds.api.meta import TAKE_OVER_ANNOTATION
from nbhd_operator.claims import Claim
from nbhd_operator.errors import Fault
from nbhd_operator.finding import Finding, conditions
from nbhd_operator.inventory import Inventory
from nbhd_operator.orphans import LISTED, Stray
from nbhd_operator.placement import Standing
from nbhd_operator.reasons import CORES_EXHAUSTED

NOT_STALLED = Finding("False", "NotStalled", "Nothing waits for a person.")
CLAIMING = Finding("True", "Claiming", "The resource group is being claimed.")
_CORES_STEP = 20  # parts of the limit: containers wake and sleep all the time


@dataclass(frozen=True)
class Look:
    """What one look came to; what it did not get to is None."""

    standing: Standing
    problem: Finding | None = None
    """Why a person is needed."""
    progress: Finding | None = None
    """What is waited for."""
    found: Inventory | None = None
    strays: Sequence[Stray] = ()


def claimed_by_another(claim: Claim, found: str | None) -> Standing:
    """The standing of a cell whose claim is not ours."""
    whose = "a cluster of the same platform" if claim is Claim.FORMER else "another platform"
    message = (
        f"The resource group is claimed by {whose}: {found}. Correct the Cell, or, when that one is gone, take over: "
        f"annotate the Cell with {TAKE_OVER_ANNOTATION}={found}"
    )
    return Standing(problem=Finding("True", "CellClaimed", message), holds_none=claim is Claim.FOREIGN)


def shared_with(owner: Cell) -> Standing:
    """The standing of a Cell whose resource group an older one has."""
    name = f"{owner.metadata.namespace}/{owner.metadata.name}"
    message = f"The resource group is that of the older Cell {name}: delete this one, or give it another group."
    return Standing(problem=Finding("True", "CellShared", message), holds_none=True)


def incomplete(missing: ValueError) -> Standing:
    """The standing of a Cell that lacks a setting."""
    return Standing(problem=Finding("True", "CellIncomplete", f"The Cell is incomplete: {missing}."))


def hopeless(before: Standing, fault: Fault) -> Look:
    """After a fault that a person must mend. A cell that was ours stays so: its tenants may work all the same."""
    problem = Finding("True", fault.reason, fault.message)
    if before.ours:
        return Look(replace(before, unlistable=True), problem)
    return Look(Standing(problem=problem, holds_none=fault.reason == "ResourceGroupNotFound"))


def listed(before: Standing, found: Inventory, platform_id: str, tenants: int) -> Standing:
    """After a complete inventory of a cell that is ours; ``tenants`` live there as status says."""
    roles, cores = found.role_assignments, found.cores
    full = None
    if roles.used >= roles.limit:
        full = Finding(
            "False",
            "RoleAssignmentsExhausted",
            "The subscription has no role assignment left, and Azure gives no more: add a Cell in another one.",
        )
    elif cores is not None and cores.used >= cores.limit:
        full = Finding(
            "False",
            CORES_EXHAUSTED,
            "The Container Apps environment has no vCPU left: ask Azure for more, or add a Cell.",
        )
    residents = found.residents(platform_id)
    return Standing(
        ours=True,
        residents=residents,
        full=full,
        room=roles.limit - roles.used,
        cores=max(cores.limit - cores.used, 0) if cores else None,
        counted=tenants,
        refused=before.refused & residents,  # whoever has left need not be sent away any more
    )


def refused(before: Standing, fault: Fault, spec_id: str) -> Standing | None:
    """After Azure's answer to one tenant, if it means that the cell is full."""
    if fault.reason == "RoleAssignmentLimitExceeded":
        reason = "RoleAssignmentsExhausted"
    elif fault.reason == CORES_EXHAUSTED or "maximum allowed cores" in fault.message.casefold():
        reason = CORES_EXHAUSTED
    else:
        return None
    return replace(before, full=Finding("False", reason, fault.message), refused=before.refused | {spec_id})


def ready(cell: Cell) -> bool:
    """True if all is well, by the Cell's own status."""
    return _kept(cell).status == "True"


def report(cell: Cell, look: Look, tenants: int, now: datetime.datetime) -> CellStatus:
    """The whole status after a look."""
    standing, found, before = look.standing, look.found, cell.status
    problem = look.problem or standing.problem
    if problem:
        well = Finding("False", problem.reason, problem.message)
    elif found is None:
        well = Finding("False", look.progress.reason, look.progress.message) if look.progress else _kept(cell)
    else:
        well = Finding("True", "Claimed", "The cell is ours, and all that is in it was listed.")
    findings = {
        "Ready": well,
        "Reconciling": look.progress or Finding("False", well.reason, well.message),
        "Stalled": problem or NOT_STALLED,
        "Schedulable": _schedulable(cell, standing, well),
    }
    facts: dict[str, object] = {}
    if problem and not standing.ours:
        facts = dict.fromkeys(("role_assignments", "cores", "tenants", "orphan_count")) | {"orphans": ()}
    elif found is not None:
        facts = {
            "tenants": tenants,
            "role_assignments": found.role_assignments,
            "cores": _steady(before.cores, found.cores),
            "orphan_count": len(look.strays),
            "orphans": tuple(stray.shown() for stray in look.strays[:LISTED]),
        }
    generation = cell.metadata.generation
    told = conditions(findings, before.conditions, generation, now)
    return before.model_copy(update={"observed_generation": generation, "conditions": told, **facts})


def _kept(cell: Cell) -> Finding:
    found = next((one for one in cell.status.conditions if one.type == "Ready"), None)
    return Finding(found.status, found.reason, found.message) if found else Finding("False", "NotListed", "Not yet.")


def _schedulable(cell: Cell, standing: Standing, well: Finding) -> Finding:
    if cell.spec.unschedulable:
        return Finding("False", "Unschedulable", "spec.unschedulable is set: who lives here stays, nobody comes.")
    if well.status != "True":
        return Finding("False", well.reason, well.message)
    return standing.full or Finding("True", "Room", "New Tenants are placed here.")


def _steady(before: Quota | None, now: Quota | None) -> Quota | None:
    """What is in use, told only when it is another twentieth of the limit, or at it."""
    if before is None or now is None or before.limit != now.limit:
        return now
    step = max(now.limit // _CORES_STEP, 1)
    crossed = (before.used >= before.limit) != (now.used >= now.limit)
    return now if crossed or abs(now.used - before.used) >= step else before
