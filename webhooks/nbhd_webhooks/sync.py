"""Brings one customer's Tenant in line with Stripe. Level-triggered: what event woke it does not matter.

``events.py``, ``resync.py`` and the welcome page call ``Sync.customer``; it reads the Tenant first and Stripe second,
so that a stale apply fails on what it has read and starts over. Done means that a fresh read and a fresh fetch agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api.tenant import Billing, Tenant
from nbhd_crds.client import ChangedError, GoneError
from nbhd_crds.identity import tenant_id
from nbhd_webhooks.billing import ENTITLED, billing, overdue
from nbhd_webhooks.stripe_api import NotInStripeError, StripeUnavailableError

log = logging.getLogger(__name__)

MANAGER = "nbhd-billing"
CUSTOMER = re.compile(r"^cus_[A-Za-z0-9]{1,250}$")
_TRIES = 8


class UnavailableError(Exception):
    """Stripe or Kubernetes did not let us do our part: whoever asked should ask again later."""


class Outcome(enum.Enum):
    """What a sync found or did; all of them mean that there is nothing left to do."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    NOT_ENTITLED = "not entitled"  # no Tenant, and no subscription that would make one
    DELETING = "being deleted"
    DELETED = "deleted meanwhile"
    NAME_TAKEN = "name taken"  # the name belongs to a Tenant with another identity
    UNKNOWN_CUSTOMER = "unknown customer"


class TenantStore(Protocol):
    """The part of ``nbhd_crds.client.Tenants`` that is used here."""

    async def get(self, namespace: str, name: str) -> Tenant | None:
        """The Tenant, or None."""
        ...

    async def list(self, namespace: str) -> list[Tenant]:
        """All Tenants of the namespace."""
        ...

    async def create(self, namespace: str, name: str, spec_id: str) -> Tenant:
        """Creates it with nothing but its identity, or reads the one that is there."""
        ...

    async def apply_part(self, seen: Tenant, part: str, value: object, manager: str) -> Tenant:
        """Applies one part of the spec if that part still is what was seen."""
        ...


class Account(Protocol):
    """The part of ``StripeApi`` that is used here."""

    async def subscriptions(self, customer_id: str) -> list[dict[str, Any]]:
        """All subscriptions of the customer."""
        ...

    async def invoices(self, customer_id: str) -> list[dict[str, Any]]:
        """All invoices of the customer, newest first."""
        ...


@dataclass
class _Queue:
    """Callers of one customer: each wants a run that began after it asked, and one run may serve many."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    asked: int = 0
    served: int = 0
    callers: int = 0
    result: Outcome | UnavailableError = Outcome.UNCHANGED


class Sync:
    """Syncs customers; calls for the same customer share runs."""

    def __init__(
        self,
        stripe: Account,
        tenants: TenantStore,
        *,
        platform: str,
        namespace: str,
        lookup_keys: Mapping[str, str],
    ) -> None:
        self._stripe, self._tenants = stripe, tenants
        self._platform, self._namespace, self._lookup_keys = platform, namespace, lookup_keys
        self._queues: dict[str, _Queue] = {}

    def tenant_name(self, customer_id: str) -> str:
        """Name and ``spec.id`` of the customer's Tenant."""
        return tenant_id(self._platform, customer_id)

    async def tenant(self, customer_id: str) -> Tenant | None:
        """The customer's Tenant as it is now. Raises ``UnavailableError``."""
        name = self.tenant_name(customer_id)
        try:
            found = await self._tenants.get(self._namespace, name)
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable(error) from error
        return found if found is not None and found.spec.id == name else None

    async def tenants(self) -> dict[str, Tenant]:
        """All Tenants by name. Raises ``UnavailableError``."""
        try:
            return {tenant.metadata.name: tenant for tenant in await self._tenants.list(self._namespace)}
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable(error) from error

    async def customer(self, customer_id: str) -> Outcome:
        """One run that begins after this call, or the share of one. Raises ``UnavailableError``."""
        queue = self._queues.setdefault(customer_id, _Queue())
        queue.asked += 1
        ticket = queue.asked
        queue.callers += 1
        try:
            async with queue.lock:
                if queue.served < ticket:
                    covered = queue.asked
                    try:
                        queue.result = await self._run(customer_id)
                    except UnavailableError as error:
                        queue.result = error
                    queue.served = covered
                if isinstance(queue.result, UnavailableError):
                    raise UnavailableError(str(queue.result))
                return queue.result
        finally:
            queue.callers -= 1
            if not queue.callers:
                del self._queues[customer_id]

    async def _run(self, customer_id: str) -> Outcome:
        if not CUSTOMER.match(customer_id):
            outcome = Outcome.UNKNOWN_CUSTOMER
        else:
            try:
                outcome = await self._converge(customer_id)
            except NotInStripeError:
                outcome = Outcome.UNKNOWN_CUSTOMER
            except (ApiException, aiohttp.ClientError, TimeoutError, OSError, StripeUnavailableError) as error:
                raise _unavailable(error) from error
        loud = outcome in (Outcome.NAME_TAKEN, Outcome.UNKNOWN_CUSTOMER)
        log.log(
            logging.ERROR if loud else logging.INFO,
            "customer synced",
            extra={"customer": customer_id, "tenant": self.tenant_name(customer_id), "outcome": outcome.value},
        )
        return outcome

    async def _converge(self, customer_id: str) -> Outcome:
        name = self.tenant_name(customer_id)
        existed = applied = False
        for _ in range(_TRIES):
            tenant = await self._tenants.get(self._namespace, name)
            wanted = await self._wanted(customer_id)
            if tenant is None:
                if existed:
                    return Outcome.DELETED  # somebody just removed it: this run must not bring it back
                if wanted.status not in ENTITLED:
                    return Outcome.NOT_ENTITLED
                with contextlib.suppress(GoneError):
                    await self._tenants.create(self._namespace, name, name)
                existed = True
                continue
            existed = True
            if tenant.spec.id != name:
                return Outcome.NAME_TAKEN
            if tenant.deleting:
                known = tenant.spec.billing.subscription_id if tenant.spec.billing else None
                if wanted.status in ENTITLED and wanted.subscription_id != known:
                    raise UnavailableError("the last Tenant of a returning subscriber is still being deleted")
                return Outcome.DELETING
            if tenant.spec.billing == wanted:
                return Outcome.APPLIED if applied else Outcome.UNCHANGED
            # A write is believed only after another look at both sides: while ours was on its way, the billing may have
            # changed and changed back, and the apply then passes though its facts are older.
            with contextlib.suppress(ChangedError, GoneError):
                await self._tenants.apply_part(tenant, "billing", wanted.wire(), MANAGER)
                applied = True
        raise UnavailableError("the Tenant kept changing")

    async def _wanted(self, customer_id: str) -> Billing:
        subscriptions = await self._stripe.subscriptions(customer_id)
        invoices = await self._stripe.invoices(customer_id) if overdue(subscriptions) else []
        return billing(customer_id, subscriptions, self._lookup_keys, invoices)


def _unavailable(error: Exception) -> UnavailableError:
    if isinstance(error, ApiException):
        return UnavailableError(f"Kubernetes: {error.status} {error.reason}")
    if isinstance(error, StripeUnavailableError):
        return UnavailableError(f"Stripe: {error}")
    return UnavailableError(f"Kubernetes: {type(error).__name__}")
