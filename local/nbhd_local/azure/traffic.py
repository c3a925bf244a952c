"""Every emulated Azure endpoint's front door: the request log, and the hooks that make the cloud misbehave.

Faults fail a request before or after it took effect; a hold freezes one, so that a test can kill a service between
two of its calls. Nothing of a body or a query is ever recorded.
"""

from __future__ import annotations

import asyncio
import datetime
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Middleware

from nbhd_local.azure.errors import AzureError
from nbhd_local.clock import Clock

_READS = frozenset({"GET", "HEAD"})
_UNAUTHORIZED = 401
_LOG_LENGTH = 100_000


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

    async def pause(self, request: web.Request) -> None:
        self._arrived.set()
        await self._decided.wait()
        if self._dropped:
            _cut(request)


@dataclass
class _Rule:
    method: str
    path: re.Pattern[str]
    act: Callable[[web.Request], Awaitable[None]]
    after_commit: bool
    skip: int = 0
    times: int = 1

    def takes(self, request: web.Request) -> bool:
        if self.times <= 0 or request.method != self.method or not self.path.search(request.path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Traffic:
    """The log, the number of changes asked for, and the hooks; shared by all endpoints of one world."""

    clock: Clock
    log: deque[Request] = field(default_factory=lambda: deque(maxlen=_LOG_LENGTH))
    writes: int = 0
    _rules: list[_Rule] = field(default_factory=list)
    _holds: list[Hold] = field(default_factory=list)

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
    ) -> None:
        """Answers the next ``times`` matching requests with an error, before or after they took effect."""

        async def fail(_request: web.Request) -> None:
            raise AzureError(status, code, "Injected fault.", headers=headers)

        self._add(method, path_regex, fail, after_commit=after_commit, times=times)

    def reset_next(self, method: str, path_regex: str, *, after_commit: bool = False, times: int = 1) -> None:
        """Cuts the connection of the next ``times`` matching requests, before or after they took effect."""

        async def reset(request: web.Request) -> None:
            _cut(request)

        self._add(method, path_regex, reset, after_commit=after_commit, times=times)

    def hold(self, method: str, path_regex: str, *, nth: int = 1, after_commit: bool = False) -> Hold:
        """Freezes the nth matching request, before or after it took effect."""
        hold = Hold()
        self._holds.append(hold)
        self._add(method, path_regex, hold.pause, after_commit=after_commit, skip=nth - 1)
        return hold

    def release_all(self) -> None:
        """Drops what is still held, so that listeners can stop."""
        for hold in self._holds:
            hold.drop()

    def middleware(self, service: str) -> Middleware:
        """The outermost middleware of an endpoint: faults, then the error envelope, then the log."""

        @web.middleware
        async def front(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            rules = [rule for rule in self._rules if rule.takes(request)]
            try:
                for rule in rules:
                    if not rule.after_commit:
                        await rule.act(request)
                response = await handler(request)
                for rule in rules:
                    if rule.after_commit:
                        await rule.act(request)
            except AzureError as error:
                response = error.response()
            except web.HTTPException as unrouted:
                response = web.Response(status=unrouted.status)
            seen = Request(service, request.method, request.path, response.status, self.clock())
            self.log.append(seen)
            self.writes += seen.is_write
            return response

        return front

    def _add(
        self,
        method: str,
        path_regex: str,
        act: Callable[[web.Request], Awaitable[None]],
        *,
        after_commit: bool,
        skip: int = 0,
        times: int = 1,
    ) -> None:
        self._rules.append(_Rule(method, re.compile(path_regex, re.IGNORECASE), act, after_commit, skip, times))


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise AzureError(503, "ConnectionReset", "The connection was cut.")
