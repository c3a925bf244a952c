"""An event loop in which waiting takes no time: it goes on at the next moment for which something is planned.

For what takes minutes under real limits. Whoever measures time must be given the loop's own.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_ROUND = 1e-6
"""Seconds that each round takes: a wait so short that adding it changes nothing would otherwise never end."""


class _Impatient(selectors.SelectSelector):
    """Does not wait, and says how long it should have."""

    waited = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if timeout is None and not found:
            raise AssertionError("everybody waits, and nothing is planned")
        self.waited += _ROUND + (0.0 if found else timeout or 0.0)
        return found


class _Loop(asyncio.SelectorEventLoop):
    """Its seconds begin at 0."""

    def __init__(self) -> None:
        self._impatient = _Impatient()
        super().__init__(self._impatient)

    def time(self) -> float:
        return self._impatient.waited


def run(work: Coroutine[Any, Any, T]) -> T:
    """As ``asyncio.run``."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)
