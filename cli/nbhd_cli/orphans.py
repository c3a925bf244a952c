"""``kubectl nbhd orphans``: what the operator found in a Cell that belongs to no Tenant, and the request to remove it.

Nothing is removed from here: the operator obeys an annotation that names what a person has looked at, for an hour.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable, Sequence

from nbhd_cli.access import Access, Json, title
from nbhd_cli.errors import FOUND, CommandError
from nbhd_cli.output import age, document, say, table
from nbhd_crds.api import Cell
from nbhd_crds.api.meta import REMOVE_ORPHANS_ANNOTATION

LIFETIME = datetime.timedelta(hours=1)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


async def show(access: Access, cells: tuple[str, ...], *, output: str, now: datetime.datetime) -> int:
    """Prints the orphans of the named Cells, or of all; the exit status says whether there are any."""
    found = await access.some(Cell, cells)
    some = any((cell.status.orphan_count or 0) > 0 for cell in found)
    if output != "table":
        sys.stdout.write(document({"cells": [_wire(cell, now) for cell in found]}, output))
    elif some:
        sys.stdout.write(rows(found, now, namespaces=not access.namespace))
        hidden = sum((cell.status.orphan_count or 0) - len(cell.status.orphans) for cell in found)
        if hidden > 0:
            say(f"{hidden} more are shown once these are gone.")
    else:
        say(f"No orphans found in {access.where}.")
    unknown = [cell.metadata.name for cell in found if cell.status.orphan_count is None]
    if unknown:
        say(f"Not looked at yet: {', '.join(unknown)}.")
    return FOUND if some else 0


async def remove(access: Access, cells: tuple[str, ...], names: tuple[str, ...], *, now: datetime.datetime) -> None:
    """Asks for the removal of the orphans with these Azure names. Raises ``CommandError`` if one is no orphan."""
    for cell, wanted in requests(await access.some(Cell, cells), names, now):
        await access.annotate(cell, {REMOVE_ORPHANS_ANNOTATION: wanted}, unchanged=True)
        sys.stdout.write(f"{title(cell)} removal requested\n")
    until = (now + LIFETIME).strftime(_TIME)
    say(f"The operator removes them with its next look at the cell; the request ends at {until}.")


def requests(cells: Sequence[Cell], names: Iterable[str], now: datetime.datetime) -> list[tuple[Cell, str]]:
    """Which Cells get which annotation; what was requested before and still counts stays. Raises ``CommandError``."""
    wanted = list(dict.fromkeys(names))
    shown = {cell.metadata.uid: {orphan.name for orphan in cell.status.orphans} for cell in cells}
    missing = [name for name in wanted if not any(name in orphans for orphans in shown.values())]
    if missing:
        raise CommandError(f"no Cell shows an orphan of this name: {', '.join(missing)}")
    until = (now + LIFETIME).strftime(_TIME)
    found = []
    for cell in cells:
        mine = [name for name in wanted if name in shown[cell.metadata.uid]]
        if mine:
            found.append((cell, " ".join([until, *dict.fromkeys([*requested(cell, now), *mine])])))
    return found


def requested(cell: Cell, now: datetime.datetime) -> list[str]:
    """The names whose removal was requested before and not in vain yet."""
    until, *names = cell.metadata.annotations.get(REMOVE_ORPHANS_ANNOTATION, "").split() or [""]
    try:
        return names if datetime.datetime.fromisoformat(until) > now else []
    except (ValueError, TypeError):
        return []


def rows(cells: Iterable[Cell], now: datetime.datetime, *, namespaces: bool) -> str:
    """The table."""
    header = ["CELL", "KIND", "NAME", "AGE", "REMOVAL"]
    lines = []
    for cell in cells:
        asked = requested(cell, now)
        for orphan in cell.status.orphans:
            line = [cell.metadata.name, orphan.kind, orphan.name, age(orphan.created, now)]
            line.append("requested" if orphan.name in asked else "-")
            lines.append([cell.metadata.namespace, *line] if namespaces else line)
    return table(["NAMESPACE", *header] if namespaces else header, lines)


def _wire(cell: Cell, now: datetime.datetime) -> Json:
    return {
        "namespace": cell.metadata.namespace,
        "name": cell.metadata.name,
        "count": cell.status.orphan_count,
        "orphans": [orphan.wire() for orphan in cell.status.orphans],
        "removing": requested(cell, now),
    }
