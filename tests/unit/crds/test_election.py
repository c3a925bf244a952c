"""The election over a Lease in memory, in time by hand: every request and every pause is a moment of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import aiohttp
import pytest
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.client import Lease
from nbhd_crds.election import Election, Timing, identity


class Time:
    """Monotonic seconds that only the test moves; whoever sleeps is woken in order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def clock(self, ahead: float = 0.0) -> Callable[[], float]:
        return lambda: self.now + ahead

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self.now + seconds, woken))
        await woken.wait()

    async def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            await settle()
            due = min((moment for moment, _ in self._sleepers), default=end)
            if due > end:
                break
            self.now = max(self.now, due)
            for one in [one for one in self._sleepers if one[0] <= self.now]:
                self._sleepers.remove(one)
                one[1].set()
        self.now = end
        await settle()


async def settle() -> None:
    for _ in range(50):
        await _yield()


async def _yield() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(future.set_result, None)
    await future


class Server:
    """One Lease, as the API server keeps it."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.writes = 0

    def check(self, lease: Lease) -> Lease:
        if self.lease is None or lease.version != self.lease.version:
            raise ApiException(status=409)
        return self.write(lease)

    def write(self, lease: Lease) -> Lease:
        self.writes += 1
        self.lease = replace(lease, version=str(self.writes))
        return self.lease


class Client:
    """One candidate's way to the server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.down = False
        self.lose_answers = False

    async def _go(self) -> None:
        await _yield()
        if self.down:
            raise aiohttp.ClientConnectionError

    async def get(self) -> Lease | None:
        await self._go()
        return self._server.lease

    async def create(self, lease: Lease) -> Lease:
        await self._go()
        if self._server.lease is not None:
            raise ApiException(status=409)
        return self._server.write(lease)

    async def replace(self, lease: Lease) -> Lease:
        await self._go()
        written = self._server.check(lease)
        if self.lose_answers:
            raise aiohttp.ServerDisconnectedError
        return written


class Candidate:
    """A replica: its election, and whether its workers run."""

    def __init__(self, name: str, server: Server, time: Time, ahead: float = 0.0) -> None:
        self.client = Client(server)
        self.election = Election(self.client, name, clock=time.clock(ahead))
        self.working = False
        self.terms = 0
        self.task: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def lead(self) -> AsyncIterator[None]:
        self.working = True
        self.terms += 1
        try:
            yield
        finally:
            self.working = False

    def start(self) -> Candidate:
        self.task = asyncio.create_task(self.election.run(self.lead))
        return self

    async def kill(self) -> None:
        """As SIGKILL: nothing is given up."""
        assert self.task is not None
        self.client.down = True
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    found = Time()
    monkeypatch.setattr("nbhd_crds.election.asyncio.sleep", found.sleep)
    return found


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def pair(server: Server, time: Time) -> AsyncIterator[tuple[Candidate, Candidate]]:
    """Two replicas whose clocks differ by hours; the first leads."""
    first = Candidate("first", server, time).start()
    await time.pass_by(0)
    second = Candidate("second", server, time, ahead=7200).start()
    await time.pass_by(30)
    assert (first.working, second.working) == (True, False)
    yield first, second
    for candidate in (first, second):
        await candidate.kill()


async def test_one_leads_and_the_other_waits(pair: tuple[Candidate, Candidate], server: Server, time: Time) -> None:
    writes = server.writes
    await time.pass_by(60)
    assert [one.terms for one in pair] == [1, 0]
    assert 25 <= server.writes - writes <= 31
    assert server.lease
    assert (server.lease.holder, server.lease.transitions) == ("first", 1)


async def test_a_killed_leader_is_replaced_after_the_duration(
    pair: tuple[Candidate, Candidate], server: Server, time: Time
) -> None:
    first, second = pair
    await first.kill()
    await time.pass_by(7)
    assert not second.working
    await time.pass_by(6)
    assert second.working
    assert server.lease
    assert (server.lease.holder, server.lease.transitions) == ("second", 2)


async def test_a_lease_that_is_released_is_taken_at_once(pair: tuple[Candidate, Candidate], time: Time) -> None:
    first, second = pair
    assert first.task
    first.task.cancel()
    await asyncio.gather(first.task, return_exceptions=True)
    assert not first.working
    await first.election.release()
    assert not first.election.leading
    await time.pass_by(1.3)
    assert second.working


async def test_a_leader_that_cannot_renew_stops_before_another_begins(
    pair: tuple[Candidate, Candidate], time: Time
) -> None:
    first, second = pair
    first.client.down = True
    for _ in range(200):
        await time.pass_by(0.1)
        assert not (first.working and second.working)
        assert not (first.election.leading and second.election.leading)
    assert second.working
    first.client.down = False
    await time.pass_by(30)
    assert (first.working, second.working) == (False, True)


@pytest.mark.parametrize("seconds", [1, 4])
async def test_a_short_fault_changes_nothing(pair: tuple[Candidate, Candidate], time: Time, seconds: int) -> None:
    first, second = pair
    first.client.down = True
    await time.pass_by(seconds)
    first.client.down = False
    await time.pass_by(30)
    assert (first.terms, second.terms) == (1, 0)


async def test_renewals_whose_answers_are_lost_do_not_count(pair: tuple[Candidate, Candidate], time: Time) -> None:
    """The Lease stays fresh, but a leader believes only what it was told; afterwards it leads again."""
    first, second = pair
    first.client.lose_answers = True
    await time.pass_by(8)
    assert (first.working, second.working) == (False, False)
    first.client.lose_answers = False
    await time.pass_by(2)
    assert (first.terms, second.terms) == (2, 0)


async def test_while_the_api_server_is_away_nobody_leads(pair: tuple[Candidate, Candidate], time: Time) -> None:
    for candidate in pair:
        candidate.client.down = True
    await time.pass_by(60)
    assert [one.working for one in pair] == [False, False]
    for candidate in pair:
        candidate.client.down = False
    await time.pass_by(13)
    assert [one.working for one in pair].count(True) == 1


async def test_a_loop_that_was_stuck_leads_no_more(pair: tuple[Candidate, Candidate], time: Time) -> None:
    first, second = pair
    assert first.election.leading
    time.now += 30  # nothing ran meanwhile, not even the election
    assert first.working  # it had no chance to notice
    assert not first.election.leading  # but whoever asks before acting is told
    await time.pass_by(3)
    assert first.terms + second.terms == 2  # its term is over; whoever was quicker has begun another
    assert [one.working for one in pair].count(True) == 1


async def test_a_lease_that_somebody_deletes_is_made_again(
    pair: tuple[Candidate, Candidate], server: Server, time: Time
) -> None:
    server.lease = None
    await time.pass_by(5)
    assert [one.working for one in pair].count(True) == 1
    assert server.lease


async def test_many_candidates_one_leader_whatever_happens(server: Server, time: Time) -> None:
    candidates = [Candidate(f"c{number}", server, time, ahead=100.0 * number).start() for number in range(5)]
    for round_number in range(40):
        victim = candidates[round_number % 5]
        victim.client.down = not victim.client.down
        for _ in range(10):
            await time.pass_by(0.5)
            assert sum(one.working for one in candidates) <= 1
    for candidate in candidates:
        candidate.client.down = False
    await time.pass_by(15)
    assert sum(one.working for one in candidates) == 1
    for candidate in candidates:
        await candidate.kill()


def test_timing_leaves_time_to_stop() -> None:
    timing = Timing()
    assert timing.renew + timing.request < timing.deadline
    assert timing.deadline + 3 <= timing.duration
    assert timing.duration + 2 * timing.renew < 15


def test_each_process_has_its_own_name() -> None:
    assert identity() != identity()


def test_times_are_for_people_only() -> None:
    moment = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)
    taken = Lease().held_by("a", 10, moment)
    kept = taken.held_by("a", 10, moment + datetime.timedelta(seconds=2))
    assert (taken.acquired, kept.acquired, kept.renewed) == (moment, moment, moment + datetime.timedelta(seconds=2))
    assert kept.held_by("", 1, moment).transitions == 1
    assert kept.held_by("b", 10, moment).transitions == 2
