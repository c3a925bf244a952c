"""What a condition says, before it is one: the word of the pure modules for "so it is, and here is why"."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from nbhd_crds.api import Condition


@dataclass(frozen=True)
class Finding:
    """Status (True, False, Unknown), CamelCase reason, and a message that a person can act on."""

    status: str
    reason: str
    message: str


def condition(
    before: Iterable[Condition], kind: str, finding: Finding, generation: int, now: datetime.datetime
) -> Condition:
    """The condition that the finding makes; its transition time moves only with its status."""
    last = next((one for one in before if one.type == kind), None)
    same = last is not None and last.status == finding.status
    return Condition(
        type=kind,
        status=finding.status,
        observed_generation=generation,
        last_transition_time=last.last_transition_time if same and last else now.replace(microsecond=0),
        reason=finding.reason,
        message=finding.message[:1024],
    )
