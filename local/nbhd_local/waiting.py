"""Waiting for something outside this process, which has no way to tell us, to become true."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable


async def eventually(
    holds: Callable[[], bool | Awaitable[bool]],
    what: str | Callable[[], str],
    seconds: float = 30,
    every: float = 0.1,
) -> None:
    """Looks again and again until ``holds()``. Raises ``AssertionError`` with ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        answer = holds()
        if await answer if inspect.isawaitable(answer) else answer:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what if isinstance(what, str) else what()}")
        await asyncio.sleep(every)
