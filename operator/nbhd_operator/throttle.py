"""Keeps the operator under Azure Resource Manager's limits: a token bucket per subscription and kind of request.

It sits in the transport, so no request of any SDK client can pass by it. When Azure answers 429 all requests of that
bucket wait as long as Azure asked, instead of each finding out for itself.
https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport

from nbhd_operator.metrics import Metrics

_SUBSCRIPTION = re.compile(r"/subscriptions/([^/?]+)", re.IGNORECASE)
_TYPE = re.compile(r"^[A-Za-z]{3,40}$")
_LONGEST_HOLD = 120.0


class Bucket:
    """Lets ``rate`` calls a second pass, and ``burst`` at once after a rest. Waiters pass in the order of arrival."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._at = burst, clock()
        self._held_until = 0.0

    def reserve(self) -> float:
        """Takes a token and returns how many seconds to wait before using it."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._tokens -= 1
        return max(-self._tokens / self._rate, self._held_until - now, 0.0)

    def take(self) -> bool:
        """Takes a token if there is one, without waiting."""
        if (wait := self.reserve()) > 0:
            self._tokens += 1
        return not wait

    def hold(self, seconds: float) -> None:
        """Nobody passes for so long."""
        self._held_until = max(self._held_until, self._clock() + min(seconds, _LONGEST_HOLD))


class ThrottledTransport(AioHttpTransport):  # type: ignore[misc] # untyped upstream
    """The transport that all Azure clients share; the session is not closed with it."""

    def __init__(self, session: aiohttp.ClientSession, metrics: Metrics) -> None:
        super().__init__(session=session, session_owner=False, connection_timeout=10, read_timeout=60)
        self._metrics = metrics
        self._buckets: dict[tuple[str, str], Bucket] = {}

    async def send(self, request: Any, **config: Any) -> Any:
        """Waits for the bucket of the request's subscription, then sends it."""
        bucket = self._bucket(request)
        if bucket is not None and (wait := bucket.reserve()):
            self._metrics.azure_waits.inc(wait)
            await asyncio.sleep(wait)
        operation, begun = operation_of(request.method, request.url), time.monotonic()
        try:
            response = await super().send(request, **config)
        except Exception:
            self._metrics.called_azure(operation, None, time.monotonic() - begun)
            raise
        self._metrics.called_azure(operation, response.status_code, time.monotonic() - begun)
        if bucket is not None and response.status_code == 429:
            bucket.hold(_seconds(response.headers.get("Retry-After")))
        return response

    def _bucket(self, request: Any) -> Bucket | None:
        match = _SUBSCRIPTION.search(request.url)
        if match is None:
            return None  # tokens and Key Vault have limits far above what we use
        kind = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}.get(request.method, "writes")
        key = (match[1].casefold(), kind)
        if key not in self._buckets:
            self._buckets[key] = Bucket(25, 250) if kind == "reads" else Bucket(10, 200)
        return self._buckets[key]


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


def _seconds(header: str | None) -> float:
    try:
        return float(header or "")
    except ValueError:
        return 1.0
