"""The wall clock of a service: the machine's, or in the local world one that runs faster and jumps.

Wall time decides deadlines only (grace, retention, expiry, cooldown). They are derived from facts at each look, never
kept as timers, so whoever waits for one looks again after ``pause_before`` and a jump is noticed. Back-off and timeouts
are monotonic and have no business here.
"""

from __future__ import annotations

import datetime
import json
import os
import time
from pathlib import Path

_LOOK_AGAIN = 60.0  # the machine's clock may be corrected while we sleep
_LOOK_AGAIN_LOCAL = 0.2


class Clock:
    """The machine's clock. Call it for the present moment, an aware datetime in UTC."""

    def __call__(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)

    def pause_before(self, moment: datetime.datetime) -> float:
        """Real seconds to sleep before looking whether ``moment`` has come; short enough to notice a jump."""
        return max(0.0, min(_LOOK_AGAIN, (moment - self()).total_seconds()))


class ClockFile(Clock):
    """World time as a file tells it: ``{"machine": s, "world": s, "rate": r}``, seconds since 1970.

    World time was ``world`` when the machine's was ``machine``, and runs ``rate`` times as fast since.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = -1
        self._machine = self._world = 0.0
        self.rate = 1.0
        self()

    def __call__(self) -> datetime.datetime:
        version = os.stat(self._path).st_mtime_ns  # noqa: PTH116 - called for every decision
        if version != self._version:
            facts = json.loads(self._path.read_text())
            self._machine, self._world, self.rate = facts["machine"], facts["world"], facts["rate"]
            self._version = version
        world = self._world + (time.time() - self._machine) * self.rate
        return datetime.datetime.fromtimestamp(world, datetime.UTC)

    def pause_before(self, moment: datetime.datetime) -> float:
        """The same, in real seconds of a clock that may jump at any moment."""
        left = (moment - self()).total_seconds() / self.rate
        return max(0.0, min(_LOOK_AGAIN_LOCAL, left))


def clock(path: Path | None) -> Clock:
    """The clock that a service's settings ask for."""
    return ClockFile(path) if path else Clock()
