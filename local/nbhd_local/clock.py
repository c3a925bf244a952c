"""The local world's clock: one for the emulators and, through a file, for the services; it can run faster and jump."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path

from nbhd_crds.clock import ClockFile

Clock = Callable[[], datetime.datetime]
"""Returns the present moment as an aware datetime in UTC."""


def utc_now() -> datetime.datetime:
    """The machine's clock."""
    return datetime.datetime.now(datetime.UTC)


class WorldClock(ClockFile):
    """A clock that a story moves; services read it from ``path`` (``NBHD_CLOCK_FILE``)."""

    def __init__(self, path: Path, *, rate: float = 1.0) -> None:
        self.path = path
        self._write(time.time(), rate)
        super().__init__(path)

    def jump(self, by: datetime.timedelta) -> None:
        """Moves the world's time forward (or back) at once."""
        self._write((self() + by).timestamp(), self.rate)

    def run(self, rate: float) -> None:
        """From now on the world's time runs ``rate`` times as fast as the machine's."""
        self._write(self().timestamp(), rate)

    def _write(self, world: float, rate: float) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps({"machine": time.time(), "world": world, "rate": rate}))
        temporary.replace(self.path)
