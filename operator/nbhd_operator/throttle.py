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

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport

_SUBSCRIPTION = re.compile(r"/subscriptions/([^/?]+)", re.IGNORECASE)
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

    def hold(self, seconds: float) -> None:
        """Nobody passes for so long."""
        self._held_until = max(self._held_until, self._clock() + min(seconds, _LONGEST_HOLD))


class ThrottledTransport(AioHttpTransport):  # type: ignore[misc] # untyped upstream
    """The transport that all Azure clients share; the session is not closed with it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(session=session, session_owner=False, connection_timeout=10, read_timeout=60)
        self._buckets: dict[tuple[str, str], Bucket] = {}

    async def send(self, request: Any, **config: Any) -> Any:
        """Waits for the bucket of the request's subscription, then sends it."""
        bucket = self._bucket(request)
        if bucket is None:
            return await super().send(request, **config)
        if wait := bucket.reserve():
            await asyncio.sleep(wait)
        response = await super().send(request, **config)
        if response.status_code == 429:
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


def _seconds(header: str | None) -> float:
    try:
        return float(header or "")
    except ValueError:
        return 1.0
