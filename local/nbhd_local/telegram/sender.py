"""The webhook sender, with the real server's rules: order within queues, a shared window, retries, giving up.

It takes updates from the store in `updates` and POSTs them to what setWebhook named; `schedule` says when to try again.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp

from . import schedule
from .bot import Bot, Webhook
from .errors import TelegramError
from .params import Params, from_json
from .updates import QueueKey, Update

Execute = Callable[[str, Params], Awaitable[object]]
"""Runs a method that the answer to an update named."""


@dataclass(frozen=True)
class Attempt:
    """One POST of an update. ``status`` is None when no answer came; times are of the event loop, in seconds."""

    update_id: int
    queue: QueueKey
    number: int
    status: int | None
    connection: int
    started: float
    ended: float


@dataclass(frozen=True)
class Tuning:
    """``time_scale`` shortens every wait and lifetime of the rules, but not ``response_timeout``."""

    time_scale: float = 1.0
    response_timeout: float = 60.0


class WebhookSender:
    """Sends while a webhook is set; `reset` takes up changed settings."""

    def __init__(self, bot: Bot, *, tuning: Tuning, execute: Execute, rng: random.Random) -> None:
        self._bot = bot
        self._tuning = tuning
        self._execute = execute
        self._rng = rng
        self._tls: ssl.SSLContext | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._current: asyncio.Task[None] | None = None
        self.attempts: list[Attempt] = []

    def open(self, tls: ssl.SSLContext | None) -> None:
        """Starts; ``tls`` is what the sender trusts."""
        self._tls = tls
        self._bot.updates.cleared.append(self.reset)
        self.reset()

    async def close(self) -> None:
        """Stops at once. Undelivered updates stay in the store."""
        self._stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> None:
        """Starts again with the webhook that is set now; an update in flight is sent again."""
        self._stop()
        if self._bot.webhook.url:
            run = _Run(self._bot, self._bot.webhook, self)
            self._current = asyncio.get_running_loop().create_task(run.run())
            self._tasks.add(self._current)
            self._current.add_done_callback(self._done)

    def _stop(self) -> None:
        # Each run is cancelled once only: a second time would cut its clean-up short.
        if self._current is not None:
            self._current.cancel()
            self._current = None

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler({"message": "webhook sender failed", "exception": error})

    # What a run needs from its sender

    def scaled(self, seconds: float) -> float:
        return seconds * self._tuning.time_scale

    def new_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=1, ssl=self._tls if self._tls is not None else True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=self._tuning.response_timeout)
        return aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent",),
        )

    def retry_delay(self, failures: int, requested: float | None) -> float:
        return self.scaled(requested if requested is not None else schedule.retry_delay(failures, self._rng))

    async def execute(self, body: bytes) -> None:
        """Runs the method in the body of a successful answer, if there is one that may be run."""
        try:
            params = from_json(body)
        except TelegramError:
            return
        method = params.text("method")
        if method and not method.lower().startswith("get") and method.lower() not in _NEVER_EXECUTED:
            await self._execute(method, params)


_NEVER_EXECUTED = frozenset({"setwebhook", "deletewebhook", "close", "logout"})


@dataclass
class _Queue:
    updates: deque[Update]
    wake_at: float
    failures: int = 0
    busy: bool = False


@dataclass(eq=False)
class _Connection:
    number: int
    session: aiohttp.ClientSession


@dataclass(frozen=True)
class _Answer:
    status: int | None
    error: str = ""
    requested_delay: float | None = None
    body: bytes = field(default=b"", repr=False)


class _Run:
    """The sender's life under one setting of the webhook."""

    def __init__(self, bot: Bot, webhook: Webhook, sender: WebhookSender) -> None:
        self._bot = bot
        self._webhook = webhook
        self._sender = sender
        self._loop = asyncio.get_running_loop()
        self._backlog = deque(bot.updates.waiting[one] for one in sorted(bot.updates.waiting))
        self._queues: dict[QueueKey, _Queue] = {}
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []
        self._opened = 0
        self._last_opened = self._last_success = self._loop.time()
        self._gone_since: float | None = None
        self._attempts: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        self._bot.updates.added.append(self._added)
        try:
            while True:
                self._wake.clear()
                self._load()
                wake_at = self._start_ready()
                try:
                    async with asyncio.timeout_at(wake_at):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            self._bot.updates.added.remove(self._added)
            for task in self._attempts:
                task.cancel()
            await asyncio.gather(*self._attempts, return_exceptions=True)
            for connection in self._open:
                await connection.session.close()

    def _added(self, update: Update) -> None:
        self._backlog.append(update)
        self._wake.set()

    def _load(self) -> None:
        """Loads updates in order until one needs a queue beyond the window; the rest waits, whoever it is for."""
        while self._backlog:
            update = self._backlog[0]
            queue = self._queues.get(update.queue)
            if update.id not in self._bot.updates.waiting:
                pass
            elif queue is not None:
                queue.updates.append(update)
            elif len(self._queues) < 2 * self._webhook.max_connections:
                self._queues[update.queue] = _Queue(deque([update]), self._loop.time())
            else:
                return
            self._backlog.popleft()

    def _start_ready(self) -> float | None:
        """Starts the attempts that are due, as far as connections allow; returns when to look again."""
        now = self._loop.time()
        waiting = sorted((queue for queue in self._queues.values() if not queue.busy), key=lambda queue: queue.wake_at)
        for queue in waiting:
            if queue.wake_at > now:
                return queue.wake_at
            connection, look_again = self._connection(now)
            if connection is None:
                return look_again
            queue.busy = True
            task = self._loop.create_task(self._attempt(queue, connection))
            self._attempts.add(task)
            task.add_done_callback(self._attempt_done)
        return None

    def _connection(self, now: float) -> tuple[_Connection | None, float | None]:
        """An idle connection, or a new one; None with the time of the next chance while there may be no more."""
        if self._idle:
            return self._idle.pop(), None
        if len(self._open) >= self._webhook.max_connections:
            return None, None
        allowed_at = schedule.next_connection_at(
            now, last_success=self._last_success, last_opened=self._last_opened, scale=self._sender.scaled(1)
        )
        if allowed_at > now:
            return None, allowed_at
        self._opened += 1
        self._last_opened = now
        connection = _Connection(self._opened, self._sender.new_session())
        self._open.add(connection)
        return connection, None

    def _attempt_done(self, task: asyncio.Task[None]) -> None:
        self._attempts.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": "webhook attempt failed", "exception": error})

    async def _attempt(self, queue: _Queue, connection: _Connection) -> None:
        update = queue.updates[0]
        started = self._loop.time()
        answer = await self._post(connection, update)
        now = self._loop.time()
        self._sender.attempts.append(
            Attempt(update.id, update.queue, queue.failures + 1, answer.status, connection.number, started, now)
        )
        if answer.status is None:
            await connection.session.close()
            self._open.discard(connection)
        else:
            self._idle.append(connection)
        queue.busy = False
        if answer.status is not None and 200 <= answer.status < 300:
            self._last_success, self._gone_since = now, None
            self._finish(queue)
            if answer.body:
                await self._sender.execute(answer.body)
        else:
            self._failed(queue, answer, now)

    async def _post(self, connection: _Connection, update: Update) -> _Answer:
        headers = {"Content-Type": "application/json"}
        if self._webhook.secret:
            headers["X-Telegram-Bot-Api-Secret-Token"] = self._webhook.secret
        body = json.dumps(update.body, separators=(",", ":")).encode()
        try:
            async with connection.session.post(
                self._webhook.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                content = await response.read()
                status, reason = response.status, response.reason
                wanted = schedule.requested_delay(status, response.headers.get("Retry-After"))
        except TimeoutError:
            return _Answer(None, "Read timeout expired")
        except aiohttp.ClientConnectorError:
            return _Answer(None, "Connection refused")
        except aiohttp.ClientError:
            return _Answer(None, "Connection closed")
        return _Answer(status, f"Wrong response from the webhook: {status} {reason}", wanted, content)

    def _failed(self, queue: _Queue, answer: _Answer, now: float) -> None:
        self._webhook.last_error_date = int(self._bot.now())
        self._webhook.last_error_message = answer.error
        update = queue.updates[0]
        queue.failures += 1
        pause = self._sender.retry_delay(queue.failures, answer.requested_delay)
        queue.wake_at = now + pause
        if self._bot.now() + pause > update.made_at + self._sender.scaled(update.lifetime):
            self._finish(queue)
        if answer.status != 410:
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = now
        elif now - self._gone_since > self._sender.scaled(schedule.WEBHOOK_GONE):
            self._bot.webhook = Webhook(allowed=self._webhook.allowed)
            self._sender.reset()

    def _finish(self, queue: _Queue) -> None:
        """The head of a queue is delivered or given up: the next one may go, or the queue leaves the window."""
        update = queue.updates.popleft()
        self._bot.updates.remove(update.id)
        while queue.updates and queue.updates[0].id not in self._bot.updates.waiting:
            queue.updates.popleft()
        queue.failures = 0
        queue.wake_at = self._loop.time()
        if not queue.updates:
            del self._queues[update.queue]
