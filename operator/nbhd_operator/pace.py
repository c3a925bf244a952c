"""How soon a tenant is looked at again, by what the last look came to. ``controller.py`` obeys it."""

from __future__ import annotations

from dataclasses import dataclass

from nbhd_operator.queue import Backoff

PATIENCE = 60
"""Polls after which a thing is looked at less often."""
SLOW = 20
"""Polls after which status says what is waited for."""
VISIBLE = 5
"""Failures in a row after which a passing fault is shown in status."""
REFUSED = 5
"""Looks of our own before a deadline counts: the clock may have jumped."""
DENIED = 9
"""Refusals, about four minutes: a right of our own may still be spreading."""

_POLL = Backoff(first=1.0, most=10.0, factor=1.15, jitter=0.1)
_LONG_POLL = Backoff(first=60.0, most=300.0)
_FAULT = Backoff(first=0.5, most=300.0)
_THROTTLED = Backoff(first=0.25, most=0.25)  # at least what Azure asks for, and no more: all wait in line afterwards
_STALLED = Backoff(first=30.0, most=600.0)
_API_SERVER = Backoff(first=0.5, most=15.0)  # it comes back for all at once, and asking it is cheap
_CONFLICT = Backoff(first=0.05, most=2.0)


@dataclass(frozen=True)
class Pace:
    """The back-off of each outcome."""

    poll: Backoff = _POLL
    long_poll: Backoff = _LONG_POLL
    fault: Backoff = _FAULT
    stalled: Backoff = _STALLED
    api_server: Backoff = _API_SERVER
    conflict: Backoff = _CONFLICT
    throttled: Backoff = _THROTTLED
