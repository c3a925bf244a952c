"""Keeps the operator under Azure's limits: token buckets that count what Azure itself says is left.

It sits in the transport, so no request of any SDK client can pass by it. ARM's answers carry what is left of the budget
that all callers of our principal share, another replica's included, so nothing is presumed where Azure has said it. An
answer of 429 empties the bucket: all requests wait as long as Azure asked, instead of each finding out for itself.
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport

from nbhd_operator.metrics import Metrics

_SUBSCRIPTION = re.compile(r"/subscriptions/([^/?]+)", re.IGNORECASE)
_TYPE = re.compile(r"^[A-Za-z]{3,40}$")
_LONGEST_HOLD = 120.0
_REMAINING = "x-ms-ratelimit-remaining-subscription"
# Calls a second and at once, as documented for one principal in one region.
_ARM = {"reads": (25, 250), "writes": (10, 200), "deletes": (10, 200)}
# What counts once a provider has refused something, or said what is left; before that no limit of its own is presumed.
_PROVIDER = (5, 50)  # a guess
_PROVIDERS = {"PUT userAssignedIdentities": (2, 40)}
_VAULT = (30, 300)
_NOTABLE = 0.001  # seconds


class Bucket:
    """Lets ``rate`` calls a second pass, and ``burst`` at once after a rest."""

    def __init__(
        self,
        rate: float,
        burst: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        known: bool = True,
        guessed: bool = False,
    ) -> None:
        """``known=False``: everything passes until ``learn`` or ``hold`` is called. The rate may be ``guessed``."""
        self._rate, self._burst, self._clock, self._known, self._guessed = rate, burst, clock, known, guessed
        self._tokens, self._at = burst, clock()
        self._held_until = 0.0

    def wait(self) -> float:
        """Seconds until a token is there; 0 if one is."""
        now = self._refill()
        short = (1 - self._tokens) / self._rate if self._known else 0.0
        return max(short, self._held_until - now, 0.0)

    def take(self) -> bool:
        """Takes a token if there is one, without waiting."""
        if self.wait():
            return False
        self._tokens -= 1
        return True

    def reserve(self) -> float:
        """Takes a token that may be yet to come; returns how many seconds to wait before using it."""
        wait = self.wait()
        self._tokens -= 1
        return wait

    def learn(self, left: float) -> None:
        """So many tokens are left, whatever was counted here. There may be more of them than was thought."""
        self._refill()
        self._known, self._tokens, self._burst = True, left, max(self._burst, left)

    def hold(self, seconds: float) -> None:
        """Azure has nothing left: nobody passes for so long.

        At a known rate our bucket fills meanwhile, as Azure's does. After a guess one passes, and then others follow.
        """
        now = self._refill()
        self._held_until = max(self._held_until, now + min(seconds, _LONGEST_HOLD))
        self._known, self._tokens = True, 0.0
        if self._guessed:
            self._tokens, self._at = 1.0, self._held_until

    def _refill(self) -> float:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + max(now - self._at, 0.0) * self._rate)
        self._at = max(self._at, now)
        return now


class Gate:
    """A bucket that requests wait at, in the order of arrival."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket, self._turn, self._under_way = bucket, asyncio.Lock(), 0
        self._entered = self._learned = 0

    async def enter(self) -> int:
        """Returns when the request may go, with its number. Whoever enters must ``leave``."""
        async with self._turn:
            while not self._bucket.take():  # noqa: ASYNC110 - how long to wait is known, but a refusal may lengthen it
                await asyncio.sleep(self._bucket.wait())
        self._under_way += 1
        self._entered += 1
        return self._entered

    def leave(self, number: int, left: int | None = None) -> None:
        """The request is over; ``left`` is what Azure counted when it arrived there, later ones not included.

        Answers overtake each other: what one says that went before another which was heard is out of date.
        """
        self._under_way -= 1
        if left is not None and number > self._learned:
            self._learned = number
            self._bucket.learn(left - self._under_way)

    def hold(self, seconds: float) -> None:
        """Azure refused: nobody passes for so long."""
        self._bucket.hold(seconds)


class Gates:
    """The gates of all subscriptions, providers and vaults."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._gates: dict[tuple[str, ...], Gate] = {}

    def of(self, method: str, url: str) -> Pass | None:
        """The way of a request, None where nothing is limited (such as getting a token)."""
        match, operation = _SUBSCRIPTION.search(url), operation_of(method, url)
        if match is None:
            host = urlsplit(url).netloc
            return Pass("", None, self._gate((host,), _VAULT, known=False)) if "secrets" in operation else None
        subscription = match[1].casefold()
        kind = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}.get(method, "writes")
        own_limit = _PROVIDERS.get(operation, _PROVIDER)
        own = operation if operation in _PROVIDERS else f"{kind} {operation.split()[1].partition('/')[0]}"
        return Pass(
            kind,
            self._gate((subscription, kind), _ARM[kind], known=True),
            self._gate((subscription, "provider", own), own_limit, known=False),
        )

    def _gate(self, key: tuple[str, ...], limit: tuple[float, float], *, known: bool) -> Gate:
        if key not in self._gates:
            self._gates[key] = Gate(Bucket(*limit, self._clock, known=known, guessed=limit is _PROVIDER))
        return self._gates[key]


class Pass:
    """One request's way through ARM's gate and that of the provider behind it."""

    def __init__(self, kind: str, arm: Gate | None, provider: Gate) -> None:
        self._kind, self._arm, self._provider = kind, arm, provider
        self._numbers = (0, 0)

    async def enter(self) -> None:
        """The provider's gate first, so that its queue takes nothing of what the others need."""
        number = await self._provider.enter()
        try:
            self._numbers = number, await self._arm.enter() if self._arm is not None else 0
        except BaseException:
            self._provider.leave(number)
            raise

    def leave(self, status: int | None, headers: Mapping[str, str]) -> None:
        """Takes in what Azure said; ``status`` is None without an answer."""
        of_provider, of_arm = self._numbers
        by_arm = _least(headers, f"{_REMAINING}-{self._kind}", f"{_REMAINING}-global-{self._kind}")
        if self._arm is not None:
            self._arm.leave(of_arm, by_arm)
        self._provider.leave(of_provider, _least(headers, f"{_REMAINING}-resource-requests"))
        if status == 429:
            after = _seconds(headers.get("Retry-After"))
            self._provider.hold(after)
            if self._arm is not None and not by_arm:  # ARM let it through if it says that something is left
                self._arm.hold(after)


class ThrottledTransport(AioHttpTransport):  # type: ignore[misc] # untyped upstream
    """The transport that all Azure clients share; the session is not closed with it."""

    def __init__(self, session: aiohttp.ClientSession, metrics: Metrics) -> None:
        super().__init__(session=session, session_owner=False, connection_timeout=10, read_timeout=60)
        self._metrics, self._gates = metrics, Gates()

    async def send(self, request: Any, **config: Any) -> Any:
        """Waits until the request may go, sends it, and takes in what the answer says of the limits."""
        way = self._gates.of(request.method, request.url)
        arrived = time.monotonic()
        if way is not None:
            await way.enter()
        begun, response = time.monotonic(), None
        if begun - arrived > _NOTABLE:
            self._metrics.azure_waits.inc(begun - arrived)
        try:
            response = await super().send(request, **config)
        finally:
            status = response.status_code if response is not None else None
            operation = operation_of(request.method, request.url)
            self._metrics.called_azure(operation, status, time.monotonic() - begun)
            if way is not None:
                way.leave(status, response.headers if response is not None else {})
        return response


def operation_of(method: str, url: str) -> str:
    """What a request asks for, without any name: ``PUT containerApps``, ``POST containerApps/stop``.

    A path is pairs of a type and a name, after the last provider if there is one; a list and an action end with a word
    of the first kind.
    """
    parts = [part for part in urlsplit(url).path.split("/") if part]
    if "oauth2" in parts:
        return f"{method} token"
    provider = max((place for place, part in enumerate(parts) if part.casefold() == "providers"), default=-2)
    types = parts[provider + 2 :: 2]
    if not types or not all(_TYPE.match(kind) for kind in types):
        return f"{method} other"
    listing = method == "GET" and len(parts[provider + 2 :]) % 2 == 1
    return f"{'LIST' if listing else method} {'/'.join(types)}"


def _least(headers: Mapping[str, str], *names: str) -> int | None:
    """The smallest of the counts that are there."""
    return min((int(text) for name in names if (text := headers.get(name, "")).isdigit()), default=None)


def _seconds(header: str | None) -> float:
    try:
        return float(header or "")
    except ValueError:
        return 1.0
