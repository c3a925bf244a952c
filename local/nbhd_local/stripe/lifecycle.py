"""What happens to a subscription over its life: bought, renewed, failed, paid again, cancelled.

Every step changes the account as Stripe would and emits its events; API handlers and the drivers of `world` share it.
"""

from __future__ import annotations

from . import invoicing, objects
from .account import Account, Json
from .errors import StripeError

ENDED = frozenset({"canceled", "incomplete_expired"})


class CheckoutClosedError(Exception):
    """The Checkout session was paid before, or it expired."""


def open_session(account: Account, session_id: str) -> Json:
    """The session, if it can be paid now.

    Raises:
        StripeError: no such session.
        CheckoutClosedError: it is complete or expired.
    """
    session = account.get("sessions", session_id)
    if session["status"] == "open" and session["expires_at"] <= account.now():
        expire(account, session)
    if session["status"] != "open":
        raise CheckoutClosedError(session["status"])
    return session


def complete_checkout(account: Account, session_id: str, *, email: str, name: str | None = None) -> str:
    """Pays a session: customer (if it named none), active subscription, paid invoice.

    Returns the success URL with the session's id filled in.
    """
    session = open_session(account, session_id)
    order = account.orders[session_id]
    customer = _buyer(account, session, email, name)
    subscription = objects.subscription(
        account.now(),
        customer_id=customer["id"],
        priced=account.prices[order.price],
        quantity=order.quantity,
        metadata=dict(order.metadata),
        description=order.description,
    )
    account.subscriptions[subscription["id"]] = subscription
    account.emit("customer.subscription.created", subscription)
    with account.update(subscription, "customer.subscription.updated"):
        invoice = invoicing.open_invoice(account, subscription, reason="subscription_create")
        invoicing.pay(account, invoice)
        subscription["status"] = "active"
    session |= {
        "customer": customer["id"],
        "customer_details": objects.customer_details(customer["email"] or email, name),
        "invoice": invoice["id"],
        "payment_status": "paid",
        "status": "complete",
        "subscription": subscription["id"],
        "url": None,
    }
    account.emit("checkout.session.completed", session)
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session_id)


def _buyer(account: Account, session: Json, email: str, name: str | None) -> Json:
    if session["customer"] is not None:
        customer = account.customers[session["customer"]]
        if customer.get("deleted"):
            raise CheckoutClosedError("customer deleted")
        with account.update(customer, "customer.updated"):
            customer["email"] = customer["email"] or email
            customer["currency"] = session["currency"]
        return customer
    customer = objects.customer(account.now(), email=email, name=name, currency=session["currency"])
    account.customers[customer["id"]] = customer
    account.emit("customer.created", customer)
    return customer


def expire(account: Account, session: Json) -> None:
    """An open session that was not paid in time."""
    session |= {"status": "expired", "url": None}
    account.emit("checkout.session.expired", session)


def cancel(
    account: Account, subscription: Json, *, reason: str = "cancellation_requested", details: Json | None = None
) -> None:
    """Ends a subscription now; emits ``customer.subscription.deleted``."""
    _refuse_ended(subscription)
    now = account.now()
    for invoice in account.invoices.values():
        if invoice["id"] == subscription["latest_invoice"] and invoice["status"] == "open":
            invoicing.void(account, invoice)
    subscription |= {
        "status": "canceled",
        "canceled_at": subscription["canceled_at"] or now,
        "ended_at": now,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "reason": reason} | (details or {}),
    }
    account.emit("customer.subscription.deleted", subscription)


def cancel_at_period_end(account: Account, subscription: Json, *, planned: bool) -> None:
    """Plans, or takes back, the end of a subscription with its present period."""
    _refuse_ended(subscription)
    with account.update(subscription, "customer.subscription.updated"):
        subscription |= {
            "cancel_at_period_end": planned,
            "cancel_at": subscription["items"]["data"][0]["current_period_end"] if planned else None,
            "canceled_at": account.now() if planned else None,
            "cancellation_details": {
                "comment": None,
                "feedback": None,
                "reason": "cancellation_requested" if planned else None,
            },
        }


def end_period(account: Account, subscription: Json, *, card_works: bool = True) -> None:
    """The present period ends: the subscription ends with it, or renews, or its renewal fails.

    A period that still runs by the clock is cut short, so that the next one starts now.
    """
    _refuse_ended(subscription)
    period_end = subscription["items"]["data"][0]["current_period_end"]
    if subscription["cancel_at_period_end"] or (subscription["cancel_at"] or period_end + 1) <= period_end:
        cancel(account, subscription)
        return
    with account.update(subscription, "customer.subscription.updated"):
        item = subscription["items"]["data"][0]
        start = min(item["current_period_end"], account.now())
        recurring = item["price"]["recurring"]
        items = [
            one
            | {
                "current_period_start": start,
                "current_period_end": objects.add_interval(start, recurring["interval"], recurring["interval_count"]),
            }
            for one in subscription["items"]["data"]
        ]
        subscription["items"] = subscription["items"] | {"data": items}
        subscription["billing_cycle_anchor"] = start
        invoice = invoicing.open_invoice(account, subscription, reason="subscription_cycle")
        if card_works:
            invoicing.pay(account, invoice)
            subscription["status"] = "active"
        else:
            invoicing.fail(account, invoice)
            subscription["status"] = "past_due"


def pay_again(account: Account, subscription: Json) -> None:
    """The card works again: the open invoice, if any, is paid and the subscription is active."""
    _refuse_ended(subscription)
    paused = subscription["status"] == "paused"
    with account.update(subscription, "customer.subscription.updated"):
        invoice = account.invoices.get(subscription["latest_invoice"] or "")
        if invoice is not None and invoice["status"] == "open":
            invoicing.pay(account, invoice)
        subscription["status"] = "active"
    if paused:
        account.emit("customer.subscription.resumed", subscription)


def fail_payment(account: Account, subscription: Json) -> None:
    """The card is declined at the renewal (``past_due``); once more if that already happened."""
    if subscription["status"] == "past_due":
        invoicing.fail(account, account.invoices[subscription["latest_invoice"]])
    else:
        end_period(account, subscription, card_works=False)


def transition(account: Account, subscription: Json, status: str) -> None:
    """Brings a subscription to any status by the shortest way; an unknown word is taken as it is."""
    if status == "canceled":
        cancel(account, subscription)
    elif status == "past_due":
        fail_payment(account, subscription)
    elif status == "active":
        pay_again(account, subscription)
    else:
        _refuse_ended(subscription)
        with account.update(subscription, "customer.subscription.updated"):
            subscription["status"] = status
            if status == "incomplete_expired":
                subscription["ended_at"] = account.now()
            if status == "trialing":
                end = subscription["items"]["data"][0]["current_period_end"]
                subscription |= {"trial_start": account.now(), "trial_end": end}
        if status == "paused":
            account.emit("customer.subscription.paused", subscription)


def _refuse_ended(subscription: Json) -> None:
    if subscription["status"] in ENDED:
        raise StripeError(
            "A canceled subscription can only update its cancellation_details and metadata.",
            code="resource_missing",
            param="id",
        )
