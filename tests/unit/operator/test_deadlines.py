"""Deadlines on a clock that jumps: what has come is due within moments, and going back makes everybody due."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from nbhd_operator.deadlines import Deadlines
from tests.unit.operator import make
from tests.unit.operator.make import at


class Scene:
    """Deadlines on a hand-moved clock, and whom they woke."""

    def __init__(self) -> None:
        self.clock = make.HandClock()
        self.woken: list[str] = []
        self._came = asyncio.Event()
        self.deadlines: Deadlines[str] = Deadlines(self.clock, self._wake, lambda: ["all", "of", "them"])

    def _wake(self, key: str) -> None:
        self.woken.append(key)
        self._came.set()

    async def wake_up(self) -> list[str]:
        """Whom the next round woke."""
        async with asyncio.timeout(2):
            await self._came.wait()
        self._came.clear()
        woken, self.woken[:] = list(self.woken), []
        return woken


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    found = Scene()
    task = asyncio.create_task(found.deadlines.run())
    yield found
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_jump_over_two_deadlines_wakes_both_and_not_the_third(scene: Scene) -> None:
    for key, day in (("a", 1), ("b", 2), ("c", 9)):
        scene.deadlines.put(key, at(day))
    scene.clock.now = at(3)
    assert sorted(await scene.wake_up()) == ["a", "b"]
    assert len(scene.deadlines) == 1


async def test_the_last_moment_that_was_put_counts(scene: Scene) -> None:
    scene.deadlines.put("moved", at(1))
    scene.deadlines.put("moved", at(5))
    scene.deadlines.put("dropped", at(1))
    scene.deadlines.put("dropped", None)
    scene.deadlines.put("kept", at(2))
    scene.clock.now = at(3)
    assert await scene.wake_up() == ["kept"]


async def test_a_moment_that_has_come_meanwhile_is_due_at_once(scene: Scene) -> None:
    scene.deadlines.put("a", at(0))
    assert await scene.wake_up() == ["a"]


async def test_after_a_jump_back_everybody_is_looked_at(scene: Scene) -> None:
    scene.deadlines.put("a", at(1))
    scene.clock.now = at(2)
    assert await scene.wake_up() == ["a"]
    scene.clock.now = at(0)
    assert await scene.wake_up() == ["all", "of", "them"]


async def test_a_small_correction_of_the_clock_is_no_jump(scene: Scene) -> None:
    scene.deadlines.put("a", at(1))
    await asyncio.sleep(0.02)
    scene.clock.now = at(-0.9 / 86_400)
    await asyncio.sleep(0.02)
    scene.clock.now = at(1)
    assert await scene.wake_up() == ["a"]
