"""In which Cell a Tenant lives. Pure. It is placed once: the choice is in status before anything is made.

``keeper.py`` finds out what each Cell's ``Standing`` is; ``situation.py`` asks here. A Tenant that is not placed may be
one whose status was lost, when a cluster was built anew from Git: it lives where it has something, so nobody is placed
while a Cell that may hold it is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nbhd_crds.api import Cell, Tenant
from nbhd_operator.finding import Finding
from nbhd_operator.plans import Unresolved


class Undecided(Exception):  # noqa: N818 - as Unresolved, but nobody has to do anything
    """No decision before a Cell was looked at."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.finding = Finding("True", "CellNotChecked", message)


@dataclass(frozen=True)
class Standing:
    """What looks at a Cell in Azure have shown so far."""

    of: tuple[object, ...] = ()
    """What was looked at, by ``whereabouts``: a Cell may be made anew under the same name, and be another place."""
    ours: bool = False
    """Its claim was seen and is ours: things may be made and changed there."""
    problem: Finding | None = None
    """Why a person is needed before it can be used."""
    residents: frozenset[str] | None = None
    """Ids of the tenants that have something there, by a complete list; None before the first."""
    holds_none: bool = False
    """It is known to hold no tenant of ours, although it was not listed: another platform's, or not there at all."""
    unlistable: bool = False
    """Listing it fails again and again. If it was listed before, whoever lives there is known by status."""
    full: Finding | None = None
    """Why Azure takes no further tenant there."""
    room: int | None = None
    """For how many more there was room when it was listed; None: not known."""
    cores: int | None = None
    """How many vCPUs Azure had left there for containers when it was listed; None: not known."""
    counted: int = 0
    """How many Tenants lived there at that time."""
    refused: frozenset[str] = frozenset()
    """Ids of the tenants that Azure had no room for: they go elsewhere."""


UNSEEN = Standing()


def whereabouts(cell: Cell) -> tuple[object, ...]:
    """Which object it is, and where in Azure it points."""
    spec = cell.spec
    return cell.metadata.uid, spec.subscription_id, spec.resource_group, spec.environment_id, spec.vault


@dataclass(frozen=True)
class Candidate:
    """A Cell with all that placement rests on."""

    cell: Cell
    standing: Standing
    tenants: int
    """How many Tenants live there by now."""

    @property
    def name(self) -> str:
        """The Cell's name."""
        return self.cell.metadata.name

    @property
    def full(self) -> bool:
        """True when no further tenant fits."""
        standing = self.standing
        filled = standing.room is not None and self.tenants - standing.counted >= standing.room
        return standing.full is not None or filled


def cell_of(tenant: Tenant, candidates: Sequence[Candidate], *, new: bool = True) -> Candidate:
    """The Cell among those of the Tenant's namespace. Raises ``Unresolved`` or ``Undecided``.

    ``status.cell`` is final. Before that it is where the Tenant has something already, else the one that ``cellRef``
    names, else the one with the fewest Tenants of those that are open and have room. That last choice is for whoever
    has a right to something ``new``.
    """
    known = {candidate.name: candidate for candidate in candidates}
    if tenant.status.cell:
        if found := known.get(tenant.status.cell):
            return found
        raise Unresolved("CellNotFound", f"Restore the Cell {tenant.status.cell}: this Tenant's resources are there.")
    if found := _home(tenant, candidates):
        return found
    if tenant.spec.cell_ref:
        if found := known.get(tenant.spec.cell_ref.name):
            return found
        raise Unresolved("CellNotFound", f"Create the Cell {tenant.spec.cell_ref.name} or correct spec.cellRef.")
    _must_be_known(candidates)
    if not new:
        raise Unresolved("NotPlaced", "It has nothing in any Cell.")
    return _emptiest(candidates)


def must_move(tenant: Tenant, at: Candidate, candidates: Sequence[Candidate]) -> bool:
    """True when Azure has no room where the Tenant was placed, there is another place, and it never served there."""
    if tenant.spec.id not in at.standing.refused or tenant.status.revision or tenant.spec.cell_ref or tenant.deleting:
        return False
    return any(_open(candidate) and candidate is not at for candidate in candidates)


def barrier(at: Candidate) -> tuple[Finding | None, Finding | None]:
    """(problem, waiting): why nothing may be done in the Cell now, for good or for the moment."""
    if at.standing.problem:
        return at.standing.problem, None
    if not at.standing.ours:
        return None, Undecided(f"Whose the Cell {at.name} is was not seen yet: its conditions say more.").finding
    return None, None


def _home(tenant: Tenant, candidates: Iterable[Candidate]) -> Candidate | None:
    for candidate in sorted(candidates, key=lambda one: one.name):
        standing = candidate.standing
        if standing.ours and tenant.spec.id in (standing.residents or ()) and tenant.spec.id not in standing.refused:
            return candidate
    return None


def _must_be_known(candidates: Iterable[Candidate]) -> None:
    for candidate in sorted(candidates, key=lambda one: one.name):
        standing = candidate.standing
        once = standing.unlistable and candidate.cell.status.tenants is not None
        if standing.residents is None and not standing.holds_none and not once:
            raise Undecided(
                f"The Cell {candidate.name} may hold this tenant and was not listed yet: see its conditions. "
                "Correct or delete it, or set spec.cellRef."
            )


def _emptiest(candidates: Sequence[Candidate]) -> Candidate:
    schedulable = [candidate for candidate in candidates if not candidate.cell.spec.unschedulable]
    usable = [candidate for candidate in schedulable if _usable(candidate)]
    fitting = [candidate for candidate in usable if not candidate.full]
    if fitting:
        return min(fitting, key=lambda one: (one.tenants, one.name))
    if usable:
        names = ", ".join(sorted(candidate.name for candidate in usable))
        raise Unresolved("CellsFull", f"Create a Cell in another subscription or environment: {names} are full.")
    if any(candidate.standing.problem is None for candidate in schedulable):
        raise Undecided("No Cell that is open was checked yet.")
    raise Unresolved("NoCell", "Create a Cell in this namespace, or make one schedulable.")


def _open(candidate: Candidate) -> bool:
    return _usable(candidate) and not candidate.cell.spec.unschedulable and not candidate.full


def _usable(candidate: Candidate) -> bool:
    return candidate.standing.ours and candidate.standing.residents is not None
