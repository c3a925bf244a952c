"""The front door of every emulated endpoint: the request log, and the hooks that make a service misbehave.

Faults fail a request before or after it took effect; a hold freezes one, so that a test can kill a service between
two of its calls. Nothing of a body or a query is ever recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Middleware

from nbhd_local.clock import Clock

_READS = frozenset({"GET", "HEAD"})
_UNAUTHORIZED = 401
_LOG_LENGTH = 100_000


_ECHO_SECONDS = 0.1

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AnsweredError(Exception):
    """An error that knows its HTTP answer, in the manner of the service that it belongs to."""

    def response(self) -> web.Response:
        """The HTTP answer."""
        raise NotImplementedError


class _Cut(Exception):  # noqa: N818 - what is to be done
    """Break the connection instead of answering."""


class _OtherError(AnsweredError):
    """Another answer than the service's own."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self._status, self._body = status, body

    def response(self) -> web.Response:
        return web.Response(status=self._status, body=self._body, content_type="application/json")


@dataclass(frozen=True)
class Request:
    """One request as the service saw it."""

    service: str
    method: str
    path: str
    status: int
    at: datetime.datetime

    @property
    def is_write(self) -> bool:
        """Whether it asked for a change (token requests and authentication challenges are none)."""
        return self.service != "entra" and self.method not in _READS and self.status != _UNAUTHORIZED


class Hold:
    """One frozen request: wait until it arrives, then let it go on or drop its connection."""

    def __init__(self) -> None:
        self._arrived = asyncio.Event()
        self._decided = asyncio.Event()
        self._dropped = False

    async def reached(self, timeout: float = 30) -> None:
        """Returns once the request stands still; raises ``TimeoutError`` if it never comes."""
        async with asyncio.timeout(timeout):
            await self._arrived.wait()

    def release(self) -> None:
        """Lets the request go on as if nothing had happened."""
        self._decided.set()

    def drop(self) -> None:
        """Cuts the connection. A request held before its commit is then never carried out."""
        self._dropped = True
        self._decided.set()

    async def pause(self) -> None:
        self._arrived.set()
        await self._decided.wait()
        if self._dropped:
            raise _Cut


@dataclass
class Rule:
    """What is to go wrong, and with which requests."""

    method: str
    path: re.Pattern[str]
    act: Callable[[], Awaitable[None]]
    after_commit: bool
    skip: int = 0
    times: int = 1

    @property
    def spent(self) -> bool:
        """Whether every request that it was meant for has come."""
        return self.times <= 0

    def meant_for(self, request: web.Request) -> bool:
        """Whether it waits for such a request; one that waits for the nth counts it."""
        if self.spent or request.method != self.method or not self.path.search(request.path):
            return False
        self.skip -= 1
        return self.skip < 0


@dataclass
class Traffic:
    """The log, the number of changes asked for, and the hooks; shared by all endpoints of one service.

    One request meets one rule: of those that are meant for it, the oldest.

    ``injected(status, code, headers)`` makes the error of a fault that a test asked for; ``shown(path)`` is what the
    log says of a path, which may hold a secret.
    """

    clock: Clock
    injected: Callable[[int, str, Mapping[str, str]], AnsweredError]
    shown: Callable[[str], str] = str
    log: deque[Request] = field(default_factory=lambda: deque(maxlen=_LOG_LENGTH))
    writes: int = 0
    latency: float = 0.0
    """Seconds that every answer takes longer."""
    silent: bool = False
    """Streams stay open, and nothing that they should carry arrives."""
    streams: dict[web.StreamResponse, web.Request] = field(default_factory=dict)
    """Those that are open, kept by whoever serves them."""
    _rules: list[Rule] = field(default_factory=list)
    _holds: list[Hold] = field(default_factory=list)
    _cuts: dict[tuple[str, str], float] = field(default_factory=dict)

    def fail_next(
        self,
        method: str,
        path_regex: str,
        status: int,
        code: str,
        *,
        headers: Mapping[str, str] | None = None,
        after_commit: bool = False,
        times: int = 1,
    ) -> Rule:
        """Answers the next ``times`` matching requests with an error, before or after they took effect."""

        async def fail() -> None:
            raise self.injected(status, code, headers or {})

        return self._add(method, path_regex, fail, after_commit=after_commit, times=times)

    def reset_next(self, method: str, path_regex: str, *, after_commit: bool = False, times: int = 1) -> Rule:
        """Cuts the connection of the next ``times`` matching requests, before or after they took effect."""

        async def reset() -> None:
            raise _Cut

        return self._add(method, path_regex, reset, after_commit=after_commit, times=times)

    def garble_next(self, method: str, path_regex: str, body: bytes, *, status: int = 200, times: int = 1) -> Rule:
        """Answers the next ``times`` matching requests, which do take effect, with ``body`` instead."""

        async def garble() -> None:
            raise _OtherError(status, body)

        return self._add(method, path_regex, garble, after_commit=True, times=times)

    def hold(self, method: str, path_regex: str, *, nth: int = 1, after_commit: bool = False) -> Hold:
        """Freezes the nth matching request, before or after it took effect."""
        hold = Hold()
        self._holds.append(hold)
        self._add(method, path_regex, hold.pause, after_commit=after_commit, skip=nth - 1)
        return hold

    async def tell_streams(self, words: bytes) -> None:
        """Puts something into all open streams that whoever is behind them did not say; one that ends hears nothing."""
        for stream in list(self.streams):
            with contextlib.suppress(ConnectionError):
                await stream.write(words)

    def cut_streams(self) -> None:
        """Breaks all open streams."""
        for request in self.streams.values():
            if request.transport is not None:
                request.transport.abort()

    def release_all(self) -> None:
        """Drops what is still held, so that listeners can stop."""
        for hold in self._holds:
            hold.drop()

    def middleware(self, service: str) -> Middleware:
        """The outermost middleware of an endpoint: faults, then the error envelope, then the log."""

        @web.middleware
        async def front(request: web.Request, handler: _Handler) -> web.StreamResponse:
            if self.latency:
                await asyncio.sleep(self.latency)
            try:
                response = await self._answer(request, handler)
            except _Cut:
                response = web.Response(status=503)  # nobody will read it
                if request.transport is not None:
                    request.transport.abort()
            seen = Request(service, request.method, self.shown(request.path), response.status, self.clock())
            self.log.append(seen)
            self.writes += seen.is_write
            return response

        return front

    async def _answer(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        key = request.method, request.path
        if time.monotonic() < self._cuts.pop(key, 0):
            raise _Cut  # HTTP clients quietly repeat a PUT whose kept-alive connection broke
        rule = self._spend(request)
        try:
            if rule and not rule.after_commit:
                await rule.act()
            response = await _respond(request, handler)
            if rule and rule.after_commit:
                await rule.act()
        except AnsweredError as injected:
            response = injected.response()
        except _Cut:
            self._cuts[key] = time.monotonic() + _ECHO_SECONDS
            raise
        return response

    def _spend(self, request: web.Request) -> Rule | None:
        meant = [rule for rule in self._rules if rule.meant_for(request)]
        if not meant:
            return None
        meant[0].times -= 1
        self._rules = [rule for rule in self._rules if not rule.spent]
        return meant[0]

    def _add(
        self,
        method: str,
        path_regex: str,
        act: Callable[[], Awaitable[None]],
        *,
        after_commit: bool,
        skip: int = 0,
        times: int = 1,
    ) -> Rule:
        rule = Rule(method, re.compile(path_regex, re.IGNORECASE), act, after_commit, skip, times)
        self._rules.append(rule)
        return rule


async def _respond(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except AnsweredError as error:
        return error.response()
    except web.HTTPException as unrouted:
        return web.Response(status=unrouted.status)
