"""The work queue: examples of each promise, and a property over random schedules."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbhd_operator.queue import Backoff, Closed, Priority, WorkQueue


class Clock:
    """Monotonic time by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_key_waits_once_however_often_it_is_added() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(3):
        queue.add("a")
    queue.add("b")
    assert len(queue) == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"]


async def test_a_key_is_with_one_worker_at_a_time_and_comes_again_when_added_meanwhile() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not second.done()
    queue.done("a")
    assert await second == "a"


async def test_live_changes_go_before_the_backlog_and_newcomers_in_between() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("old", Priority.BACKLOG)
    queue.add("unplaced", Priority.NEW)
    queue.add("late", Priority.DELAYED)
    queue.add("new", Priority.LIVE)
    queue.add("late", Priority.BACKLOG)  # never worse than it was
    queue.add("promoted", Priority.BACKLOG)
    queue.add("promoted", Priority.LIVE)
    assert [await queue.get() for _ in range(5)] == ["new", "promoted", "late", "unplaced", "old"]


async def test_the_earliest_wake_up_counts_and_a_look_cancels_it() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add_after("a", 10)
    queue.add_after("a", 5)
    queue.add_after("a", 7)
    clock.now = 5
    assert await queue.get() == "a"
    queue.done("a")
    clock.now = 100
    queue.tick()
    assert len(queue) == 0


async def test_a_wake_up_arrives_by_itself() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0.01)
    assert await queue.get() == "a"


async def test_back_off_grows_to_its_bound_and_starts_anew_when_forgotten() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    backoff = Backoff(first=1, most=8, jitter=0)
    assert [queue.retry("a", backoff) for _ in range(5)] == [1, 2, 4, 8, 8]
    assert queue.retry("a", backoff, at_least=30) == 30
    queue.forget("a")
    assert queue.retry("a", backoff) == 1


async def test_a_failure_after_many_looks_at_something_slow_is_the_first() -> None:
    queue: WorkQueue[str] = WorkQueue(Clock())
    poll, fault = Backoff(first=1, most=10, jitter=0), Backoff(first=0.5, most=300, jitter=0)
    for _ in range(20):
        queue.retry("a", poll)
    assert [queue.retry("a", fault) for _ in range(3)] == [0.5, 1, 2]
    assert (queue.attempts("a"), queue.streak("a")) == (23, 3)
    assert queue.retry("a", poll) == 1
    assert all(0.75 <= Backoff(1, 1).delay(9) <= 1.25 for _ in range(100))


async def test_closing_ends_the_workers_and_waits_for_what_they_are_at() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    idle = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("b")
    queue.close()
    queue.add("c")
    with pytest.raises(Closed):
        await idle
    drained = asyncio.create_task(queue.drained())
    await asyncio.sleep(0)
    assert not drained.done()
    queue.done("a")
    await drained


async def test_nothing_is_kept_of_keys_that_are_through() -> None:
    queue: WorkQueue[int] = WorkQueue()
    for key in range(1000):
        queue.add(key)
        assert await queue.get() == key
        queue.retry(key, Backoff(0, 0))
        queue.done(key)
        assert await queue.get() == key
        queue.forget(key)
        queue.done(key)
    assert queue._entries == {}


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), workers=st.integers(1, 5))
def test_no_key_runs_twice_at_once_and_the_last_change_of_each_is_seen(seed: int, workers: int) -> None:
    asyncio.run(_random_schedule(random.Random(seed), workers))  # noqa: S311 - a repeatable schedule


async def _random_schedule(rng: random.Random, workers: int) -> None:
    queue: WorkQueue[int] = WorkQueue()
    latest: Counter[int] = Counter()
    seen: dict[int, int] = {}
    running: set[int] = set()

    async def work() -> None:
        while True:
            try:
                key = await queue.get()
            except Closed:
                return
            assert key not in running
            running.add(key)
            version = latest[key]
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            seen[key] = version
            if rng.random() < 0.2:
                queue.retry(key, Backoff(0.0001, 0.001))
            running.discard(key)
            queue.done(key)

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    for _ in range(60):
        key = rng.randrange(5)
        latest[key] += 1
        if rng.random() < 0.7:
            queue.add(key, rng.choice(list(Priority)))
        else:
            queue.add_after(key, rng.random() * 0.002)
        if rng.random() < 0.5:
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while seen != latest:  # noqa: ASYNC110 - the queue has no event for 'all is seen'
            await asyncio.sleep(0.001)
    queue.close()
    await asyncio.gather(*tasks)


async def test_how_long_keys_wait_and_run() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    assert (queue.longest_wait, queue.longest_run, queue.running, queue.planned) == (0, 0, 0, 0)
    queue.add("a", Priority.BACKLOG)
    clock.now = 5
    queue.add("b")
    queue.add("a")  # waits since before all the same
    queue.add_after("c", 60)
    assert (queue.longest_wait, len(queue), queue.planned) == (5, 2, 1)
    assert await queue.get() == "b"
    clock.now = 7
    assert (queue.longest_wait, queue.longest_run, queue.running) == (7, 2, 1)
    queue.done("b")
    assert queue.longest_run == 0
    queue.close()


async def test_clearing_forgets_everything_but_what_runs() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("running")
    assert await queue.get() == "running"
    queue.add("running")
    queue.add("waiting")
    queue.retry("failed", Backoff(10, 10))
    queue.clear()
    assert (len(queue), queue.planned, queue.running, queue.attempts("failed")) == (0, 0, 1, 0)
    queue.done("running")
    await queue.drained()
    queue.add("again")
    assert await queue.get() == "again"
