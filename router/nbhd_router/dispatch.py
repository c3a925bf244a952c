"""Takes waiting updates from the spool to where they belong: the chat's container, or the router's own answers.

One lane has one worker and one update in flight, so a chat stays in order and waits for nobody else. The route is
looked up at each attempt. Comes after ``intake`` and ``spool``; uses ``delivery`` for containers and ``commands`` for
our own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nbhd_router import update
from nbhd_router.delivery import Delivery, Outcome, Result
from nbhd_router.directory import Directory, Route, State
from nbhd_router.errors import DatabaseError, TelegramError, TryLaterError
from nbhd_router.grants import Grants
from nbhd_router.metrics import Metrics
from nbhd_router.notices import Notices
from nbhd_router.spool import Lane, Row, Spool
from nbhd_router.texts import Text

log = logging.getLogger(__name__)

REFUSALS = 3  # answers that blame the update before it is given up
FAULTS = 3  # errors of our own over one update before it is given up
_BACKOFF = (0.5, 1.0, 2.0, 4.0, 5.0)  # seconds between attempts


@dataclass(frozen=True)
class Timing:
    """When the router speaks up while a chat waits; seconds."""

    typing_after: float = 2.0
    typing_every: float = 5.0
    text_after: float = 10.0
    patience: float = 60.0
    """What is tried for a shorter time is not given up, whatever the wall clock says: it may have jumped."""


@dataclass(frozen=True)
class Deliver:
    """Hand it to the container."""


@dataclass(frozen=True)
class Wait:
    """Keep it and look again."""

    reason: str


@dataclass(frozen=True)
class Close:
    """Finished without a delivery: tell the chat, if there is something to say."""

    reason: str
    text: Text | None


Decision = Deliver | Wait | Close

_ANSWERS = {
    State.NOT_LINKED: Text.NOT_LINKED,
    State.AWAITING_PAYMENT: Text.AWAITING_ACCOUNT,
    State.SUSPENDED: Text.SUSPENDED,
    State.ENDED: Text.ENDED,
    State.STALLED: Text.TROUBLE,
}


def decide(row: Row, route: Route, *, expired: bool) -> Decision:
    """What to do with a chat's oldest update, given where the chat's messages go at this moment."""
    owner = row.update.spec_id, row.update.generation
    if route.state is State.UNKNOWN:
        return Close("Expired", Text.NOT_DELIVERED) if expired else Wait("DirectoryNotFresh")
    if owner[0] and route.spec_id and owner != (route.spec_id, route.generation):
        return Close("Relinked", None)  # it was written to somebody else's assistant
    if route.state in _ANSWERS:
        return Close(route.state.value, _ANSWERS[route.state])
    if expired:
        return Close("Expired", Text.NOT_DELIVERED)
    return Deliver() if route.state is State.READY else Wait("Preparing")


class Dispatcher:
    """All lanes. ``wake`` and ``changed`` may be called at any time, also before ``start``."""

    def __init__(
        self,
        bot: int,
        spool: Spool,
        directory: Directory,
        delivery: Delivery,
        grants: Grants,
        notices: Notices,
        metrics: Metrics,
        own: Callable[[bytes], Awaitable[None]],
        *,
        concurrency: int = 1000,
        timing: Timing = Timing(),
        clock: Callable[[], float],
    ) -> None:
        """``own`` answers an update itself and raises ``TelegramError`` or ``TryLaterError`` to be asked again.

        ``clock`` gives the wall time in seconds since 1970.
        """
        self._bot = bot
        self._spool = spool
        self._directory = directory
        self._delivery = delivery
        self._grants = grants
        self._notices = notices
        self._metrics = metrics
        self._own = own
        self._timing = timing
        self._clock = clock
        self._slots = asyncio.Semaphore(concurrency)
        self._lanes: dict[Lane, _Worker] = {}
        self._running = False
        self._started = 0.0

    @property
    def busy(self) -> int:
        """Lanes with something waiting."""
        return len(self._lanes)

    async def start(self) -> None:
        """Takes up what waits since before; to be called when the directory is complete."""
        while True:
            try:
                lanes = await self._spool.recover()
                break
            except DatabaseError as error:
                log.error("spool not readable", extra={"error": str(error)})
                await asyncio.sleep(1)
        self._started, self._running = self._clock(), True
        for lane in lanes:
            self.wake(lane)

    async def stop(self) -> None:
        """Stops all work; what is not finished stays in the spool."""
        self._running = False
        tasks = [worker.task for worker in self._lanes.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lanes.clear()

    def wake(self, lane: Lane) -> None:
        """Something new waits in the lane: looks at it at once, even in the middle of a back-off."""
        if not self._running:
            return  # ``start`` finds it in the spool
        worker = self._lanes.get(lane)
        if worker is None:
            self._lanes[lane] = worker = _Worker()
            worker.task = asyncio.create_task(self._work(lane, worker))
        worker.woken.set()

    def changed(self, chat: int) -> None:
        """The chat's route may be new: wakes a lane that waits for it."""
        worker = self._lanes.get(Lane(self._bot, chat))
        if worker is not None:
            worker.woken.set()

    async def _work(self, lane: Lane, worker: _Worker) -> None:
        while True:
            worker.woken.clear()
            try:
                row = await self._spool.next(lane)
                if row is not None and worker.faults >= FAULTS:
                    await self._close(row, Close("Fault", Text.NOT_ACCEPTED))
                    worker.faults = 0
                    continue
                if row is not None:
                    await (self._answer(row) if lane.own else self._forward(row, worker))
                    worker.faults = 0
                    continue
            except DatabaseError as error:
                log.error("spool not usable", extra={"error": str(error)})
                await asyncio.sleep(1)
                continue
            except Exception:  # a fault of ours: the lane goes on, and the update is tried again
                log.exception("dispatch failed")
                self._metrics.faults.inc()
                worker.faults += 1
                await asyncio.sleep(1)
                continue
            if not worker.woken.is_set():
                del self._lanes[lane]
                return

    def _expired(self, row: Row, begun: float) -> bool:
        """True if the update is of no use any more; ``begun`` is the monotonic time of the first try."""
        now = self._clock()
        lifetime = update.LIFETIME.get(row.update.kind)
        if lifetime is not None:
            return now >= row.received + lifetime
        # The time that this router was down does not count: nobody has tried to deliver yet.
        late = now >= max(row.received, self._started) + update.DEFAULT_LIFETIME
        return late and time.monotonic() - begun >= self._timing.patience

    async def _forward(self, row: Row, worker: _Worker) -> None:
        chat, begun = row.update.lane.chat, time.monotonic()
        refusals = tries = 0
        granted = False
        company: asyncio.Task[None] | None = None
        try:
            while True:
                route = self._directory.route(chat)
                decision = decide(row, route, expired=self._expired(row, begun))
                if isinstance(decision, Close):
                    await self._close(row, decision)
                    return
                if company is None and row.update.kind == "message" and chat > 0:
                    company = asyncio.create_task(self._keep_company(chat))
                if isinstance(decision, Deliver):
                    if not granted:
                        await self._grants.grant(route.spec_id, update.ids(row.update.body))
                        granted = True
                    result = await self._attempt(route, row)
                    if result.outcome is Outcome.DELIVERED:
                        await self._finish(row)
                        return
                    refusals += result.outcome is Outcome.REFUSED
                    if refusals >= REFUSALS:
                        await self._close(row, Close(f"Refused{result.reason}", Text.NOT_ACCEPTED))
                        return
                await _pause(worker.woken, _BACKOFF[min(tries, len(_BACKOFF) - 1)])
                tries += 1
        finally:
            if company is not None:
                company.cancel()

    async def _attempt(self, route: Route, row: Row) -> Result:
        async with self._slots:
            result = await self._delivery.attempt(route, row.update.update_id, row.update.body)
        self._metrics.attempts.labels(result.outcome.value, result.reason).inc()
        if result.outcome is not Outcome.DELIVERED:
            log.info(
                "not delivered yet",
                extra={"tenant": route.spec_id, "update": row.update.update_id, "reason": result.reason},
            )
        return result

    async def _finish(self, row: Row) -> None:
        await self._spool.done(row)
        self._notices.forget(row.update.lane.chat)
        self._metrics.delivered.labels(row.update.kind).inc()

    async def _close(self, row: Row, decision: Close) -> None:
        self._metrics.closed.labels(decision.reason).inc()
        log.info("not delivered", extra={"update": row.update.update_id, "reason": decision.reason})
        if decision.text is not None:
            await self._say(row, decision.text)
        if decision.reason in _ANSWERED:
            await self._spool.done(row)
        else:
            await self._spool.fail(row, decision.reason)

    async def _say(self, row: Row, text: Text) -> None:
        if row.update.lane.chat < 0 or row.update.kind not in ("message", "callback_query"):
            return  # groups are not answered, nor edits
        if row.update.kind == "callback_query":
            query = update.decode(row.update.body).callback_query
            if query is not None:
                await self._notices.answer_query(query.id)
        await self._notices.tell(row.update.lane.chat, text)

    async def _keep_company(self, chat: int) -> None:
        """While a message waits: shows "typing" after two seconds, and says once why after ten."""
        await asyncio.sleep(self._timing.typing_after)
        waited, said = self._timing.typing_after, False
        while True:
            if waited >= self._timing.text_after and not said:
                said = True
                ready = self._directory.route(chat).state is State.READY
                await self._notices.tell(chat, Text.WAKING if ready else Text.PREPARING)
            await self._notices.typing(chat)
            await asyncio.sleep(self._timing.typing_every)
            waited += self._timing.typing_every

    async def _answer(self, row: Row) -> None:
        tries, begun = 0, time.monotonic()
        while True:
            try:
                await self._own(row.update.body)
            except (TelegramError, TryLaterError) as error:
                final = isinstance(error, TelegramError) and error.code in (400, 403)  # such as a bot that was blocked
                if final or self._expired(row, begun):
                    log.warning("not answered", extra={"update": row.update.update_id, "error": str(error)})
                    await self._spool.fail(row, "NotAnswered")
                    return
                await asyncio.sleep(_BACKOFF[min(tries, len(_BACKOFF) - 1)])
                tries += 1
            else:
                await self._spool.done(row)
                return


_ANSWERED = frozenset(state.value for state in _ANSWERS)


class _Worker:
    """A lane's task, and the event that ends its pauses."""

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.faults = 0


async def _pause(woken: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(woken.wait(), seconds)
    woken.clear()
