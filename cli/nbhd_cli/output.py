"""How results look: tables and ages as kubectl prints them, JSON and YAML for scripts."""

from __future__ import annotations

import datetime
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from nbhd_cli.errors import WrongUsageError

NONE = "<none>"
_DURATION = re.compile(r"([0-9]+h)?([0-9]+m)?([0-9]+s)?")
_UNITS = {"h": 3600, "m": 60, "s": 1}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width; the last one as long as it is."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "".join(
        "   ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def document(value: Any, form: str) -> str:
    """The value as ``json`` or ``yaml``."""
    if form == "json":
        return json.dumps(value, indent=4, ensure_ascii=False) + "\n"
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120))


def age(since: datetime.datetime | None, now: datetime.datetime) -> str:
    """How long ago, in two units at most, as kubectl writes it."""
    if since is None:
        return "<unknown>"
    seconds = max(int((now - since).total_seconds()), 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 2 * 365:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d")


def _two(first: int, first_unit: str, second: int, second_unit: str) -> str:
    return f"{first}{first_unit}" + (f"{second}{second_unit}" if second else "")


def duration(text: str) -> int:
    """Seconds of a text such as ``90s`` or ``1h30m``. Raises ``WrongUsageError``."""
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise WrongUsageError(f'"{text}" is no duration: write it as 90s, 10m or 1h30m')
    return sum(int(part[:-1]) * _UNITS[part[-1]] for part in found.groups() if part)


def say(text: str) -> None:
    """For the person at the terminal, apart from the result."""
    sys.stderr.write(text + "\n")
