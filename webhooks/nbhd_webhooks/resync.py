"""Finds what no event told us: events that could not be delivered, and a daily look at all subscriptions.

Runs beside ``events.py`` in every replica and uses the same ``sync.py``; doing it twice is harmless. Stripe may fail to
deliver an event, and even to make one (https://docs.stripe.com/webhooks/handle-irrecoverable-events).
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable

from nbhd_crds.api.tenant import Tenant
from nbhd_webhooks.billing import ENTITLED, billing, overdue
from nbhd_webhooks.events import POKES
from nbhd_webhooks.metrics import Metrics
from nbhd_webhooks.stripe_api import Json, StripeApi, StripeFailure, reference
from nbhd_webhooks.sync import CUSTOMER, Sync, UnavailableError

log = logging.getLogger(__name__)

_SWEEP_EVERY = datetime.timedelta(days=1)
_FIRST_LOOK_BACK = datetime.timedelta(days=4)  # Stripe gives up on an event after three days
_OVERLAP = datetime.timedelta(minutes=15)


class Resync:
    """Periodic resync; ``run`` goes on until it is cancelled."""

    def __init__(
        self,
        sync: Sync,
        stripe: StripeApi,
        *,
        lookup_keys: dict[str, str],
        every: datetime.timedelta,
        clock: Callable[[], datetime.datetime],
        metrics: Metrics,
    ) -> None:
        self._sync, self._stripe = sync, stripe
        self._lookup_keys, self._every, self._clock, self._metrics = lookup_keys, every, clock, metrics
        self._looked: datetime.datetime | None = None
        self._swept: datetime.datetime | None = None

    async def run(self) -> None:
        """Looks for undelivered events every few minutes, and at everything at start and once a day."""
        while True:
            try:
                await self.undelivered()
                if self._swept is None or abs(self._clock() - self._swept) >= _SWEEP_EVERY:
                    await self.sweep()
            except (StripeFailure, UnavailableError) as error:
                log.warning("resync failed", extra={"error": repr(error)})
            except Exception:  # whatever it was, the next pass must come
                log.exception("resync failed")
            await asyncio.sleep(self._every.total_seconds())

    async def undelivered(self) -> None:
        """Syncs the customers of events that no endpoint has accepted."""
        now = self._clock()
        since = min(self._looked, now) - _OVERLAP if self._looked else now - _FIRST_LOOK_BACK
        customers: set[str] = set()
        async for event in self._stripe.undelivered_events(POKES, int(since.timestamp())):
            about = event["data"]["object"]
            customers.add(reference(about if about.get("object") == "customer" else about.get("customer")) or "")
        if await self._each(customers):
            self._looked = now
            self._metrics.resynced("undelivered")

    async def sweep(self) -> None:
        """Syncs every customer whose Tenant does not show what Stripe says."""
        now = self._clock()
        before = await self._sync.tenants()
        subscriptions: dict[str, list[Json]] = {}
        async for subscription in self._stripe.all_subscriptions():
            subscriptions.setdefault(reference(subscription.get("customer")) or "", []).append(subscription)
        known = {t.spec.billing.customer_id for t in before.values() if t.spec.billing}
        if await self._each({c for c in known | subscriptions.keys() if self._differs(c, subscriptions, before)}):
            self._swept = now
            self._metrics.resynced("sweep")

    def _differs(self, customer: str, subscriptions: dict[str, list[Json]], before: dict[str, Tenant]) -> bool:
        if not CUSTOMER.match(customer):
            return False
        tenant = before.get(self._sync.tenant_name(customer))
        found = subscriptions.get(customer, [])
        if overdue(found):
            return True  # its invoices count as well, and the sync looks at them
        wanted = billing(customer, found, self._lookup_keys)
        return wanted.status in ENTITLED if tenant is None else tenant.spec.billing != wanted

    async def _each(self, customers: set[str]) -> bool:
        """True if every customer could be synced; those that could not are tried again in the next pass."""
        failed = 0
        for customer in sorted(filter(CUSTOMER.match, customers)):
            try:
                await self._sync.customer(customer)
            except UnavailableError as error:
                failed += 1
                log.warning("customer not synced", extra={"customer": customer, "error": repr(error)})
        return not failed
