"""What a condition says, before it is one: the word of the pure modules for "so it is, and here is why"."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nbhd_crds.api import Condition

_MESSAGE = 1024


@dataclass(frozen=True)
class Finding:
    """Status (True, False, Unknown), CamelCase reason, and a message that a person can act on."""

    status: str
    reason: str
    message: str


def conditions(
    findings: Mapping[str, Finding], before: Iterable[Condition], generation: int, now: datetime.datetime
) -> tuple[Condition, ...]:
    """The findings as conditions by type, computed from ``generation``; a time moves only when a status does."""
    known = {condition.type: condition for condition in before}
    return tuple(_condition(kind, finding, known.get(kind), generation, now) for kind, finding in findings.items())


def _condition(
    kind: str, finding: Finding, before: Condition | None, generation: int, now: datetime.datetime
) -> Condition:
    same = before is not None and before.status == finding.status
    return Condition(
        type=kind,
        status=finding.status,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before and same else now.replace(microsecond=0),
        reason=finding.reason,
        message=finding.message[:_MESSAGE],
    )
