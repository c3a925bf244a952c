"""How much a caller may ask of Azure: token buckets of ARM, of its providers and of Key Vault, and what answers say.

``arm.py`` and ``vault.py`` ask for every authenticated request. Without ``Limits`` nothing is refused, and the headers
say that everything is left. Sizes and rates are documented ones, but for two: what is left of the provider's own budget
was recorded (699 after one write), its rate is a guess.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nbhd_local.azure.errors import AzureError

_KINDS = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}
_GLOBAL = 15  # how much more all callers together may ask of a subscription
_REMAINING = "x-ms-ratelimit-remaining-subscription"


@dataclass(frozen=True)
class Rate:
    """``burst`` requests at once after a rest, then ``per_second``."""

    burst: int
    per_second: float


@dataclass(frozen=True)
class Limits:
    """The service's own limits, for one caller in one region.

    https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
    """

    reads: Rate = Rate(250, 25)
    writes: Rate = Rate(200, 10)
    deletes: Rate = Rate(200, 10)
    provider_writes: Rate = Rate(700, 2)
    """Changes of Container Apps, counted by their provider."""
    identities: Rate = Rate(40, 2)
    """New and changed identities: 40 in 20 seconds."""
    vault_sets: Rate = Rate(300, 30)
    """New versions of a vault's secrets: 300 in 10 seconds."""
    vault_others: Rate = Rate(4000, 400)


_DOCUMENTED = Limits()


class Bucket:
    """One token bucket. ``left`` is what a header would say."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._tokens, self._at = float(rate.burst), clock()

    def take(self) -> int:
        """Takes a token and returns 0, or the whole seconds after which to ask again."""
        now = self._clock()
        self._tokens = min(self._rate.burst, self._tokens + (now - self._at) * self._rate.per_second)
        self._at = now
        if self._tokens < 1:
            return max(1, math.ceil((1 - self._tokens) / self._rate.per_second))
        self._tokens -= 1
        return 0

    @property
    def left(self) -> int:
        """Whole tokens."""
        return int(self._tokens)


class Meter:
    """The buckets of one subscription and its vault."""

    def __init__(self, limits: Limits | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._unlimited = limits is None
        known = limits or _DOCUMENTED
        budgets = {"reads": known.reads, "writes": known.writes, "deletes": known.deletes}
        self._own = {kind: Bucket(rate, clock) for kind, rate in budgets.items()}
        self._all = {
            kind: Bucket(Rate(rate.burst * _GLOBAL, rate.per_second * _GLOBAL), clock) for kind, rate in budgets.items()
        }
        self._provider = Bucket(known.provider_writes, clock)
        self._identities = Bucket(known.identities, clock)
        self._vault = {True: Bucket(known.vault_sets, clock), False: Bucket(known.vault_others, clock)}

    def arm(self, method: str, path: str) -> Mapping[str, str]:
        """Headers of the answer, whatever it is. Raises 429 with the same headers."""
        kind, path = _KINDS.get(method, "writes"), path.casefold()
        own, everybody = self._own[kind], self._all[kind]
        by_arm = max(self._take(own), self._take(everybody))
        headers = {f"{_REMAINING}-{kind}": str(own.left), f"{_REMAINING}-global-{kind}": str(everybody.left)}
        if by_arm:
            raise _throttled("SubscriptionRequestsThrottled", f"Too many {kind}.", by_arm, headers)
        if kind != "reads" and "/containerapps/" in path:
            wait = self._take(self._provider)
            headers[f"{_REMAINING}-resource-requests"] = str(self._provider.left)
            if wait:
                raise _throttled("TooManyRequests", "Too many changes of container apps.", wait, headers)
        if method == "PUT" and "/userassignedidentities/" in path and (wait := self._take(self._identities)):
            raise _throttled("TooManyRequests", "Too many identities are being created.", wait, headers)
        return headers

    def vault(self, method: str, path: str) -> None:
        """Raises 429, which says nothing of when to come back."""
        if self._take(self._vault[method == "PUT" and path.startswith("/secrets/")]):
            raise AzureError(429, "Throttled", "Request was not processed because too many requests were received.")

    def _take(self, bucket: Bucket) -> int:
        return 0 if self._unlimited else bucket.take()


def _throttled(code: str, text: str, after: int, headers: Mapping[str, str]) -> AzureError:
    return AzureError(429, code, text, headers={"Retry-After": str(after), **headers})
