"""When the server tries again: pure rules for `sender`, in real seconds."""

from __future__ import annotations

import random

MAX_RETRY_AFTER = 3600
WEBHOOK_GONE = 23 * 3600.0
"""A webhook that answered 410 for so long is closed."""

_STALLED_AFTER = 10.0
_STALLED_EVERY = 2.0


def retry_delay(failures: int, rng: random.Random) -> float:
    """Seconds until the next attempt after so many failures: at once, then 2, 4, ... 64, then 60 to 120 at random."""
    if failures <= 1:
        return 0.0
    if failures <= 7:
        return float(2 ** (failures - 1))
    return rng.uniform(60, 120)


def requested_delay(status: int, header: str | None) -> float | None:
    """What a ``Retry-After`` header on a refusal asks for, if that is honoured."""
    if header is None or 200 <= status < 300 or not header.strip().isdecimal():
        return None
    seconds = min(int(header), MAX_RETRY_AFTER)
    return float(seconds) if seconds else None


def next_connection_at(now: float, *, last_success: float, last_opened: float, scale: float) -> float:
    """When a further connection may be opened: now, or every 2 s once nothing has succeeded for 10 s.

    ``scale`` shortens both.
    """
    if now - last_success <= _STALLED_AFTER * scale:
        return now
    return max(now, last_opened + _STALLED_EVERY * scale)
