"""The metrics of the webhooks service. No label ever holds a customer, a tenant or a secret.

``service.py`` makes one object; events, calls to Stripe and the resync count in it, ``nbhd_crds.health`` serves it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

from nbhd_crds import metrics

PASSES = ("undelivered", "sweep")
_WORDS = ("checkout", "customers", "events", "invoices", "prices", "sessions", "subscriptions")


class Metrics:
    """All of them, in a registry of their own; ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = metrics.registry()
        self._clock = clock
        self._passed = dict.fromkeys(PASSES, clock())
        self.events = Counter(
            "nbhd_webhooks_events",
            "Events that Stripe sent, by type (Other: one that we do not act on, or not verified) and what came of it.",
            ("type", "outcome"),
            registry=self.registry,
        )
        self.stripe_calls = Counter(
            "nbhd_webhooks_stripe_calls",
            "Requests to Stripe, by operation and HTTP status (Unreachable: no answer).",
            ("operation", "code"),
            registry=self.registry,
        )
        self.stripe_seconds = Histogram(
            "nbhd_webhooks_stripe_call_seconds",
            "How long requests to Stripe took, by operation.",
            ("operation",),
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )
        age = Gauge(
            "nbhd_webhooks_resync_age_seconds",
            "Seconds since a pass of the resync last succeeded as a whole (since the start, before the first).",
            ("kind",),
            registry=self.registry,
        )
        for kind in PASSES:
            age.labels(kind).set_function(lambda kind=kind: self._clock() - self._passed[kind])  # type: ignore[misc]

    def resynced(self, kind: str) -> None:
        """A pass of the resync succeeded as a whole."""
        self._passed[kind] = self._clock()

    def called(self, method: str, path: str, code: int | None, seconds: float) -> None:
        """A request to Stripe is over; ``code`` is the HTTP status, None without an answer."""
        operation = operation_of(method, path)
        self.stripe_calls.labels(operation, str(code) if code else "Unreachable").inc()
        self.stripe_seconds.labels(operation).observe(seconds)


def operation_of(method: str, path: str) -> str:
    """``GET subscriptions`` for a list, ``GET subscriptions/id`` for one of them: never an id itself."""
    parts = path.removeprefix("/v1").strip("/").split("/")
    return f"{method} {'/'.join(part if part in _WORDS else 'id' for part in parts)}"
