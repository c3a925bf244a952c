"""From all of a customer's Stripe subscriptions to ``spec.billing``: a pure function without a clock.

``stripe_api.py`` lists subscriptions and invoices, ``sync.py`` writes the result. Facts only, never decisions: whether
a subscriber has a right to service is derived from them, and from time, by the operator.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from nbhd_crds.api.tenant import Billing

Json = Mapping[str, Any]

NONE = "none"
ENTITLED = frozenset({"active", "trialing", "past_due"})
"""Statuses for which a Tenant is made when there is none yet."""

# Best first. A status that we do not know ranks below those that give service and above those that do not: it must
# never hide a good subscription, and never be read as the end of one.
_BEFORE_UNKNOWN = ("active", "trialing", "past_due")
_AFTER_UNKNOWN = ("paused", "unpaid", "incomplete", "canceled", "incomplete_expired")
_ENDS = frozenset({"canceled", "incomplete_expired"})
_UNPAID = ("open", "uncollectible")  # of an invoice: due and not settled
_RANK = {status: rank for rank, status in enumerate((*_BEFORE_UNKNOWN, "", *_AFTER_UNKNOWN))}
_STATUS_MAX = 64


def overdue(subscriptions: Iterable[Json]) -> bool:
    """True if ``billing`` needs the customer's invoices, too."""
    return any(_status(subscription) == "past_due" for subscription in subscriptions)


def billing(
    customer_id: str, subscriptions: Iterable[Json], lookup_keys: Mapping[str, str], invoices: Iterable[Json] = ()
) -> Billing:
    """What Stripe says about the customer: the facts of the subscription that counts.

    That is the best by status; among equals the one that ended last, then the newest. ``lookup_keys`` (price id →
    lookup key) names prices that carry no lookup key of their own. ``invoices`` of the customer, newest first as Stripe
    lists them, tell since when a period is unpaid. Reads the shape of the current Stripe API and that of versions
    before 2025, where the period is a field of the subscription.
    """
    counted = min(subscriptions, key=_order, default=None)
    if counted is None:
        return Billing(customer_id=customer_id, status=NONE)
    status = _status(counted)
    items = _data(counted, "items")
    price_id, lookup_key = _price(items or [counted], lookup_keys)
    period_end = min(_times([*items, counted], "current_period_end"), default=None)
    ended_at = _ended_at(counted, status, period_end)
    cancel_at = _time(counted, "cancel_at") or (period_end if counted.get("cancel_at_period_end") else None)
    return Billing(
        customer_id=customer_id,
        status=status,
        subscription_id=_text(counted.get("id")),
        lookup_key=lookup_key,
        price_id=price_id,
        current_period_end=period_end,
        grace_since=_unpaid_since(counted, items, invoices) if status == "past_due" else None,
        cancel_at=None if ended_at else cancel_at,
        ended_at=ended_at,
    )


def _ended_at(subscription: Json, status: str, period_end: datetime.datetime | None) -> datetime.datetime | None:
    """When it ended. Retention counts from here, so an end that is not dated is taken as late as it may have been."""
    known = _time(subscription, "ended_at")
    if known or status not in _ENDS:
        return known
    guesses = (_time(subscription, "canceled_at"), _time(subscription, "cancel_at"), period_end)
    return max((guess for guess in guesses if guess), default=_time(subscription, "created"))


def _unpaid_since(subscription: Json, items: list[Json], invoices: Iterable[Json]) -> datetime.datetime | None:
    """Start of the first of the periods that were not paid, without a paid one since.

    The period of the subscription itself does not tell: Stripe goes on to the next one while it is past due.
    """
    starts: list[datetime.datetime] = []
    for invoice in invoices:
        if _subscription_of(invoice) != subscription.get("id"):
            continue
        if invoice.get("status") == "paid":
            break
        if invoice.get("status") in _UNPAID:
            # Its lines say what it is for; prorations among them reach back into the period before, as does the
            # invoice's own period_start.
            periods = [line.get("period") for line in _data(invoice, "lines")]
            found = _times([period for period in periods if isinstance(period, Mapping)], "start")
            starts += [max(found)] if found else _times([invoice], "created")
    if starts:
        return min(starts)
    return max(_times([*items, subscription], "current_period_start"), default=None)


def _subscription_of(invoice: Json) -> str | None:
    parent = invoice.get("parent")
    details = parent.get("subscription_details") if isinstance(parent, Mapping) else None
    held = details if isinstance(details, Mapping) else invoice  # the field of API versions before 2025
    found = held.get("subscription")
    return _text(found.get("id") if isinstance(found, Mapping) else found)


def _order(subscription: Json) -> tuple[int, float, float, str]:
    ended = _time(subscription, "ended_at")
    created = _time(subscription, "created")
    return (
        _RANK.get(_status(subscription), _RANK[""]),
        -ended.timestamp() if ended else 0.0,
        -created.timestamp() if created else 0.0,
        str(subscription.get("id")),
    )


def _status(subscription: Json) -> str:
    return (_text(subscription.get("status")) or "unknown")[:_STATUS_MAX]


def _data(part: Json, name: str) -> list[Json]:
    found = part.get(name)
    data = found.get("data") if isinstance(found, Mapping) else None
    return [item for item in data if isinstance(item, Mapping)] if isinstance(data, list) else []


def _price(items: list[Json], lookup_keys: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Id and lookup key of the first price that has a lookup key, else of the first price."""
    found: list[tuple[str | None, str | None]] = []
    for item in items:
        price = item.get("price") or item.get("plan")
        if isinstance(price, Mapping):
            price_id = _text(price.get("id"))
            found.append((price_id, _text(price.get("lookup_key")) or lookup_keys.get(price_id or "")))
    named = [pair for pair in found if pair[1]]
    return next(iter(named + found), (None, None))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _times(parts: Iterable[Json], name: str) -> list[datetime.datetime]:
    return [moment for moment in (_time(part, name) for part in parts) if moment]


def _time(part: Json, name: str) -> datetime.datetime | None:
    """A moment given in seconds since 1970; None when it is absent or no such number."""
    value = part.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    try:
        return datetime.datetime.fromtimestamp(value, datetime.UTC)
    except (OverflowError, OSError, ValueError):
        return None
