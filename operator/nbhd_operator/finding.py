"""What a condition says, before it is one: the word of the pure modules for "so it is, and here is why"."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Status (True, False, Unknown), CamelCase reason, and a message that a person can act on."""

    status: str
    reason: str
    message: str
