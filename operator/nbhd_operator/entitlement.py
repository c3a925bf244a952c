"""Whether a subscriber has a right to service: a pure function of the Tenant's facts, the Plan's durations and time.

Precedence: holds, ``spec.suspended``, ``spec.complimentary``, billing. A deletion is settled before by the caller. What
each of Stripe's statuses means is the table of https://docs.stripe.com/api/subscriptions/object#subscription_object-status
under the house rule that a service which ran is not stopped by something we do not understand.
"""

from __future__ import annotations

import datetime

from nbhd_crds.api import Billing, Entitlement, PlanSpec, Tenant
from nbhd_crds.api.meta import seconds

RETENTION_OVER = "RetentionOver"
"""Reason of an ended right whose data is not kept any more."""

_SUSPENDED = {"unpaid": "Unpaid", "paused": "Paused"}
_ENDED = {"canceled": "Canceled", "incomplete_expired": "CheckoutExpired"}


def entitlement(tenant: Tenant, plan: PlanSpec | None, now: datetime.datetime) -> Entitlement:
    """The right to service at ``now``; ``until``, which is never over, is when it changes without any event.

    ``plan`` gives grace and retention; without one they count as not yet over.
    """
    if tenant.spec.suspended and not tenant.spec.holds:
        return Entitlement(state="Suspended", reason="SuspendedByOperator")
    return standing(tenant, plan, now)


def standing(tenant: Tenant, plan: PlanSpec | None, now: datetime.datetime) -> Entitlement:
    """The right that payment gives: the same, but for ``spec.suspended``."""
    spec = tenant.spec
    if spec.holds:
        return Entitlement(state="Suspended", reason=min(spec.holds, key=lambda hold: hold.since).reason)
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
        paid = Entitlement(state="Active", reason="Paid" if status == "active" else "Trial")
        return _until_canceled(paid, billing.cancel_at, now)
    if status == "past_due":
        return _until_canceled(_past_due(billing, plan, before, now), billing.cancel_at, now)
    if reason := _SUSPENDED.get(status):
        return Entitlement(state="Suspended", reason=reason)
    if reason := _ENDED.get(status):
        return _ended(reason, billing, plan, before, now)
    # 'incomplete', 'none' and whatever Stripe invents: nothing new is given, and nothing that ran is taken away.
    if before is not None and before.state != "Pending":
        over = before.until is not None and before.until <= now
        return before.model_copy(update={"until": None}) if over else before
    return Entitlement(state="Pending", reason="PaymentIncomplete" if status == "incomplete" else "AwaitingPayment")


def _until_canceled(right: Entitlement, cancel_at: datetime.datetime | None, now: datetime.datetime) -> Entitlement:
    """Service stops when it was agreed to; data goes only when Stripe says that the subscription ended."""
    if cancel_at is None:
        return right
    if now >= cancel_at:
        return Entitlement(state="Ended", reason="Canceled")
    if right.state == "Active":
        return Entitlement(state="Active", reason="Canceling", until=cancel_at)
    return right.model_copy(update={"until": min(right.until or cancel_at, cancel_at)})


def _past_due(
    billing: Billing, plan: PlanSpec | None, before: Entitlement | None, now: datetime.datetime
) -> Entitlement:
    suspended = Entitlement(state="Suspended", reason="PastDue")
    start = billing.grace_since
    if start is None and before is not None and (before.state, before.reason) == ("Suspended", "PastDue"):
        return suspended
    until = _deadline(start, plan.grace if plan else None, "Grace", before, now)
    if until is not None and now >= until:
        return suspended
    return Entitlement(state="Grace", reason="PastDue", until=until)


def _ended(
    reason: str, billing: Billing, plan: PlanSpec | None, before: Entitlement | None, now: datetime.datetime
) -> Entitlement:
    over = Entitlement(state="Ended", reason=RETENTION_OVER)
    end = billing.ended_at or billing.cancel_at or billing.current_period_end
    if end is None and before == over:
        return over
    until = _deadline(end, plan.retention if plan else None, "Ended", before, now)
    if until is not None and now >= until:
        return over
    return Entitlement(state="Ended", reason=reason, until=until)


def _deadline(
    start: datetime.datetime | None,
    duration: str | None,
    state: str,
    before: Entitlement | None,
    now: datetime.datetime,
) -> datetime.datetime | None:
    """``duration`` after ``start``. Where Stripe gave no date, after we first saw ``state``, as status remembers."""
    if start is None and before is not None and before.state == state and before.until is not None:
        return before.until
    if duration is None:
        return None
    return (start or now.replace(microsecond=0)) + datetime.timedelta(seconds=seconds(duration))
