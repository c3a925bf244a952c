"""The work queue: which tenants need a look, in which order, and when.

The informer (``handlers.py``) adds keys; the workers (``controller.py``) take them. A key waits at most once however
often it is added, is with one worker at a time, and may have one delayed wake-up. Nothing here survives a restart, and
nothing needs to: the informer adds every object at start.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

K = TypeVar("K")


class Closed(Exception):  # noqa: N818 - a signal to the workers rather than an error
    """The queue gives out no more work."""


class Priority(IntEnum):
    """Lower goes first."""

    LIVE = 0
    """Something changed just now for one who has a place."""
    DELAYED = 1
    """A wake-up that was asked for earlier."""
    NEW = 2
    """Nothing was begun for it: whoever is nearer to the end goes first, however many come at once."""
    BACKLOG = 3
    """Part of the list at start, or of a sweep."""


@dataclass(frozen=True)
class Backoff:
    """Delays in seconds that grow by ``factor`` from ``first`` to ``most``, with ``jitter`` as a share of each."""

    first: float
    most: float
    factor: float = 2.0
    jitter: float = 0.25

    def delay(self, attempt: int) -> float:
        """Delay before the given attempt, counted from 0."""
        steps = min(attempt, 64)  # keeps the power finite
        plain = min(self.most, self.first * self.factor**steps)
        return plain * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - jitter, not a secret


@dataclass(slots=True)
class _Entry:
    waiting: Priority | None = None
    since: float = 0.0
    running: bool = False
    due: float | None = None
    attempts: int = 0
    backoff: Backoff | None = None
    streak: int = 0

    @property
    def idle(self) -> bool:
        return self.waiting is None and not self.running and self.due is None and not self.attempts


class WorkQueue(Generic[K]):
    """De-duplicating, serial per key, with priorities, delayed wake-ups and per-key back-off.

    For one event loop. ``clock`` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[K, _Entry] = {}
        self._ready: list[tuple[Priority, int, K]] = []  # may hold stale rows; the entry decides
        self._timers: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._still = asyncio.Event()
        self._still.set()
        self._running: dict[K, float] = {}  # since when
        self._alarm: asyncio.TimerHandle | None = None
        self.closed = False

    def __len__(self) -> int:
        return sum(entry.waiting is not None for entry in self._entries.values())

    @property
    def running(self) -> int:
        """How many keys are with a worker."""
        return len(self._running)

    def held(self, key: K) -> bool:
        """True while somebody works on it."""
        return key in self._running

    @property
    def planned(self) -> int:
        """How many keys have a wake-up to come."""
        return sum(entry.due is not None for entry in self._entries.values())

    @property
    def longest_wait(self) -> float:
        """Seconds that the oldest of the waiting keys waits."""
        now = self._clock()
        return max((now - entry.since for entry in self._entries.values() if entry.waiting is not None), default=0.0)

    @property
    def longest_run(self) -> float:
        """Seconds that the slowest worker is at its key."""
        return self._clock() - min(self._running.values()) if self._running else 0.0

    def add(self, key: K, priority: Priority = Priority.LIVE) -> None:
        """Asks for a look at ``key``; while a worker has it, for another one afterwards."""
        if self.closed:
            return
        entry = self._entries.setdefault(key, _Entry())
        if entry.waiting is not None and entry.waiting <= priority:
            return
        entry.since = self._clock() if entry.waiting is None else entry.since
        entry.waiting = priority
        if not entry.running:
            heapq.heappush(self._ready, (priority, next(self._order), key))
            self._changed.set()

    def add_after(self, key: K, delay: float) -> None:
        """Asks for a look after ``delay`` seconds, unless an earlier one is planned. Any look cancels it."""
        if self.closed:
            return
        due = self._clock() + max(delay, 0.0)
        entry = self._entries.setdefault(key, _Entry())
        if entry.due is None or due < entry.due:
            entry.due = due
            heapq.heappush(self._timers, (due, next(self._order), key))
            self._arm()

    def retry(self, key: K, backoff: Backoff, at_least: float = 0.0) -> float:
        """Asks for a look after the next delay of ``backoff``; returns that delay.

        Only what came in a row counts: the first failure after many looks at something slow is still the first.
        """
        entry = self._entries.setdefault(key, _Entry())
        if entry.backoff != backoff:
            entry.backoff, entry.streak = backoff, 0
        delay = max(backoff.delay(entry.streak), at_least)
        entry.attempts += 1
        entry.streak += 1
        self.add_after(key, delay)
        return delay

    def streak(self, key: K) -> int:
        """How often in a row ``retry`` was last called with the same back-off."""
        entry = self._entries.get(key)
        return entry.streak if entry else 0

    def attempts(self, key: K) -> int:
        """How often ``retry`` was called for the key since it was forgotten."""
        entry = self._entries.get(key)
        return entry.attempts if entry else 0

    def forget(self, key: K) -> None:
        """Starts the key's back-off anew."""
        if entry := self._entries.get(key):
            entry.attempts = entry.streak = 0
            self._drop_if_idle(key, entry)

    async def get(self) -> K:
        """The next key; the caller owes a ``done``. Raises ``Closed``."""
        while True:
            if self.closed:
                raise Closed
            self.tick()
            if (key := self._take()) is not None:
                return key
            self._changed.clear()
            await self._changed.wait()

    def done(self, key: K) -> None:
        """The worker is through with the key; if it was added meanwhile, it is next in line again."""
        entry = self._entries[key]
        entry.running = False
        del self._running[key]
        if entry.waiting is not None:
            heapq.heappush(self._ready, (entry.waiting, next(self._order), key))
        self._drop_if_idle(key, entry)
        self._changed.set()
        if not self._running:
            self._still.set()

    def close(self) -> None:
        """Gives out no more work; whoever waits in ``get`` is told."""
        self.closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        self._changed.set()

    def clear(self) -> None:
        """Forgets all that waits or is planned, with every back-off; for when nobody works. What runs is owed still."""
        self._ready.clear()
        self._timers.clear()
        self._entries = {key: _Entry(running=True) for key in self._running}
        self._arm()

    async def drained(self) -> None:
        """Returns when no key is with a worker."""
        await self._still.wait()

    def tick(self) -> None:
        """Makes the due wake-ups ready. The queue does this by itself; tests with their own clock call it."""
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            due, _, key = heapq.heappop(self._timers)
            entry = self._entries.get(key)
            if entry is not None and entry.due == due:
                entry.due = None
                self.add(key, Priority.DELAYED)
        self._arm()

    def _take(self) -> K | None:
        while self._ready:
            priority, _, key = heapq.heappop(self._ready)
            entry = self._entries.get(key)
            if entry is None or entry.running or entry.waiting != priority:
                continue  # a stale row: it went out under a better priority
            entry.waiting, entry.due, entry.running = None, None, True
            self._running[key] = self._clock()
            self._still.clear()
            return key
        return None

    def _drop_if_idle(self, key: K, entry: _Entry) -> None:
        if entry.idle:
            del self._entries[key]

    def _arm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._timers and not self.closed:
            wait = max(self._timers[0][0] - self._clock(), 0.0)
            self._alarm = asyncio.get_running_loop().call_later(wait, self.tick)
