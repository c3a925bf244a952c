"""When each tenant's right changes by time alone: wakes it then, for no event arrives at a deadline.

Every look (``controller.py``) derives the moment anew from facts, so nothing here needs to survive a restart. The clock
is read again and again while waiting, for it may jump: forward, and what it passed is due; back, and what was over may
not be over, so everybody is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from nbhd_crds.clock import Clock

K = TypeVar("K")

_NEVER = datetime.datetime.max.replace(tzinfo=datetime.UTC)
_CORRECTION = datetime.timedelta(seconds=1)  # a clock that is set right by less has not jumped


class Deadlines(Generic[K]):
    """One moment a key; ``wake`` is called once for each that has come, with all of ``everyone`` after a jump back."""

    def __init__(self, clock: Clock, wake: Callable[[K], None], everyone: Callable[[], Iterable[K]]) -> None:
        self._clock, self._wake, self._everyone = clock, wake, everyone
        self._moments: dict[K, datetime.datetime] = {}
        self._next = _NEVER
        self._sooner = asyncio.Event()

    def __len__(self) -> int:
        return len(self._moments)

    def put(self, key: K, moment: datetime.datetime | None) -> None:
        """Sets the key's moment; None for none. One that has come by now is due at once."""
        if moment is None:
            self._moments.pop(key, None)
            return
        self._moments[key] = moment
        if moment < self._next:
            self._sooner.set()

    async def run(self) -> None:
        """For ever."""
        before = self._clock()
        while True:
            now = self._clock()
            if now < before - _CORRECTION:
                for key in list(self._everyone()):
                    self._wake(key)
            before = now
            for key in [key for key, moment in self._moments.items() if moment <= now]:
                del self._moments[key]
                self._wake(key)
            self._next = min(self._moments.values(), default=_NEVER)
            self._sooner.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._sooner.wait(), self._clock.pause_before(self._next))
