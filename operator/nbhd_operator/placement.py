"""In which Cell a Tenant lives. Pure. It is placed once: the choice is in status before anything is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nbhd_crds.api import Cell, Tenant
from nbhd_operator.plans import Unresolved


def cell_of(tenant: Tenant, cells: Iterable[Cell], placed: Callable[[Cell], int]) -> Cell:
    """The Cell among those of the Tenant's namespace. Raises ``Unresolved``.

    ``status.cell`` is final. Before that ``cellRef`` counts, else the schedulable Cell with the fewest Tenants.
    """
    known = {cell.metadata.name: cell for cell in cells}
    if tenant.status.cell:
        if found := known.get(tenant.status.cell):
            return found
        raise Unresolved("CellNotFound", f"Restore the Cell {tenant.status.cell}: this Tenant's resources are there.")
    if tenant.spec.cell_ref:
        if found := known.get(tenant.spec.cell_ref.name):
            return found
        raise Unresolved("CellNotFound", f"Create the Cell {tenant.spec.cell_ref.name} or correct spec.cellRef.")
    open_cells = [cell for cell in known.values() if not cell.spec.unschedulable]
    if not open_cells:
        raise Unresolved("NoCell", "Create a Cell in this namespace, or make one schedulable.")
    return min(open_cells, key=lambda cell: (placed(cell), cell.metadata.name))
