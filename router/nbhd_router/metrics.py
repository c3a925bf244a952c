"""The router's metrics. No label ever holds a chat, a tenant or a secret; every value comes from lists in our code.

``main`` makes one object and hands it to intake, dispatch and egress, which count; ``nbhd_crds.health`` serves it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import Counter, Gauge

from nbhd_crds import metrics
from nbhd_router.errors import DatabaseError
from nbhd_router.spool import Spool


class Metrics:
    """All of them, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = metrics.registry()

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"nbhd_router_{name}", meaning, labels, registry=self.registry)

        def gauge(name: str, meaning: str) -> Gauge:
            return Gauge(f"nbhd_router_{name}", meaning, registry=self.registry)

        self.updates = counter("updates", "Requests to the bot's webhook, by what became of them.", "result")
        self.attempts = counter(
            "attempts", "Attempts to hand an update to a container, by outcome and reason.", "outcome", "reason"
        )
        self.delivered = counter("delivered", "Updates that a container accepted durably, by kind.", "kind")
        self.closed = counter("closed", "Updates that ended without a delivery, by reason.", "reason")
        self.egress = counter(
            "egress", "Tenants' calls of the Bot API, by method and HTTP status of the answer.", "method", "result"
        )
        self.faults = counter("faults", "Errors of our own while an update was worked on; it is tried again.")
        self.tenants = gauge("tenants", "Tenants that the router knows.")
        self.busy_chats = gauge("busy_chats", "Chats with something waiting or in flight.")
        self.spool_depth = gauge("spool_depth", "Updates in the spool that are not finished.")
        self.spool_oldest = gauge("spool_oldest_seconds", "Age of the oldest of them; 0 when there is none.")

    def watch(self, tenants: Callable[[], int], busy_chats: Callable[[], int]) -> None:
        """Where the gauges read their values from."""
        self.tenants.set_function(tenants)
        self.busy_chats.set_function(busy_chats)

    async def look_at(self, spool: Spool, clock: Callable[[], float] = time.time) -> None:
        """Sets the spool's gauges; NaN when it cannot be read."""
        try:
            waiting = await spool.waiting()
        except DatabaseError:
            self.spool_depth.set(float("nan"))
            self.spool_oldest.set(float("nan"))
            return
        self.spool_depth.set(waiting.updates)
        self.spool_oldest.set(max(0.0, clock() - waiting.since) if waiting.since else 0.0)
