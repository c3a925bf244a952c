"""Whether a subscriber has a right to service: a pure function of the Tenant's facts, the Plan's durations and time.

Precedence: holds, ``spec.suspended``, ``spec.complimentary``, billing. A deletion is settled before by the caller. What
each of Stripe's statuses means is the table of https://docs.stripe.com/api/subscriptions/object#subscription_object-status
under the house rule that a service which ran is not stopped by something we do not understand.
"""

from __future__ import annotations

import datetime

from nbhd_crds.api import Billing, Entitlement, PlanSpec, Tenant
from nbhd_crds.api.meta import seconds

_SUSPENDED = {"unpaid": "Unpaid", "paused": "Paused"}
_ENDED = {"canceled": "Canceled", "incomplete_expired": "CheckoutExpired"}


def entitlement(tenant: Tenant, plan: PlanSpec | None, now: datetime.datetime) -> Entitlement:
    """The right to service at ``now``; ``until`` is when it changes without any event.

    ``plan`` gives grace and retention; without one they count as not yet over.
    """
    spec = tenant.spec
    if spec.holds:
        return Entitlement(state="Suspended", reason=min(spec.holds, key=lambda hold: hold.since).reason)
    if spec.suspended:
        return Entitlement(state="Suspended", reason="SuspendedByOperator")
    if spec.complimentary:
        return Entitlement(state="Active", reason="Complimentary")
    if spec.billing is None:
        return Entitlement(state="Pending", reason="AwaitingPayment")
    return _from_billing(spec.billing, plan, tenant.status.entitlement, now)


def _from_billing(
    billing: Billing, plan: PlanSpec | None, before: Entitlement | None, now: datetime.datetime
) -> Entitlement:
    status = billing.status
    if status in ("active", "trialing"):
        return Entitlement(state="Active", reason="Paid" if status == "active" else "Trial")
    if status == "past_due":
        return _past_due(billing, plan, now)
    if reason := _SUSPENDED.get(status):
        return Entitlement(state="Suspended", reason=reason)
    if reason := _ENDED.get(status):
        until = _after(billing.ended_at, plan.retention if plan else None)
        return Entitlement(state="Ended", reason=reason, until=until)
    # 'incomplete', 'none' and whatever Stripe invents: nothing new is given, and nothing that ran is taken away.
    if before is not None and before.state != "Pending":
        return before
    return Entitlement(state="Pending", reason="PaymentIncomplete" if status == "incomplete" else "AwaitingPayment")


def _past_due(billing: Billing, plan: PlanSpec | None, now: datetime.datetime) -> Entitlement:
    until = _after(billing.grace_since or billing.current_period_end, plan.grace if plan else None)
    if until is not None and now >= until:
        return Entitlement(state="Suspended", reason="PastDue")
    return Entitlement(state="Grace", reason="PastDue", until=until)


def _after(start: datetime.datetime | None, duration: str | None) -> datetime.datetime | None:
    if start is None or duration is None:
        return None
    return start + datetime.timedelta(seconds=seconds(duration))
