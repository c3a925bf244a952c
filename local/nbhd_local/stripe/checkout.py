"""``/v1/checkout/sessions`` in subscription mode.

The session's ``url`` is served by `pages`; paying it there or by a driver goes through `lifecycle`.
"""

from __future__ import annotations

from . import customers, lifecycle, objects, params
from .account import Account, Json, Order
from .errors import StripeError
from .expand import line_items
from .routing import Call, Listing, Route, matches

_FIELDS: dict[str, params.Parser] = {
    "mode": params.choice("payment", "setup", "subscription"),
    "line_items": params.array(
        params.record({"price": params.text, "quantity": params.integer(1)}, required=("price",)), most=20
    ),
    "success_url": params.url,
    "cancel_url": params.url,
    "client_reference_id": params.text,
    "customer": params.text,
    "customer_email": params.email,
    "expires_at": params.timestamp,
    "locale": params.text,
    "metadata": params.metadata,
    "payment_method_types": params.array(params.choice("card")),
    "subscription_data": params.record({"description": params.text, "metadata": params.metadata}),
}
_LISTING = Listing(
    "sessions",
    "/v1/checkout/sessions",
    {
        "customer": params.text,
        "status": params.choice("open", "complete", "expired"),
        "subscription": params.text,
    },
)


def _create(account: Account, call: Call) -> Json:
    given = params.read(call.raw, _FIELDS, required=("success_url",))
    if given.get("mode") != "subscription":
        raise StripeError("The local Stripe sells subscriptions: pass mode=subscription.", param="mode")
    given["metadata"] = params.merge_metadata({}, given.get("metadata", {}))
    _check_customer(account, given)
    _check_expiry(account, given)
    order = _order(account, given.pop("line_items", []), given.pop("subscription_data", {}))
    priced = account.prices[order.price]
    session = objects.session(
        account.now(),
        currency=priced["currency"],
        amount=priced["unit_amount"] * order.quantity,
        url_root=call.pages_url,
        **given,
    )
    account.sessions[session["id"]] = session
    account.orders[session["id"]] = order
    return session


def _check_customer(account: Account, given: Json) -> None:
    if "customer" not in given:
        return
    if "customer_email" in given:
        raise StripeError(
            "You may only specify one of these parameters: customer, customer_email.", param="customer_email"
        )
    customers.living(account, given["customer"], param="customer", in_path=False)


def _check_expiry(account: Account, given: Json) -> None:
    ahead = given.get("expires_at", account.now() + 3600) - account.now()
    if not 1800 <= ahead <= 24 * 3600:
        raise StripeError(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.",
            param="expires_at",
        )


def _order(account: Account, items: list[Json], subscription_data: Json) -> Order:
    if len(items) != 1:
        raise StripeError(
            "The local Stripe sells exactly one line item.",
            code=None if items else "parameter_missing",
            param="line_items",
        )
    where = "line_items[0][price]"
    priced = account.get("prices", items[0]["price"], param=where, in_path=False)
    if not priced["active"]:
        raise StripeError("The price specified is inactive. This field only accepts active prices.", param=where)
    if priced["type"] != "recurring":
        raise StripeError(
            "You must provide at least one recurring price in `subscription` mode when using prices.", param=where
        )
    if "quantity" not in items[0]:
        raise StripeError("Quantity is required. Add `quantity` to `line_items[0]`", param="line_items[0][quantity]")
    return Order(
        priced["id"],
        items[0]["quantity"],
        params.merge_metadata({}, subscription_data.get("metadata", {})),
        subscription_data.get("description"),
    )


def _retrieve(account: Account, call: Call) -> Json:
    params.read(call.raw)
    session = account.get("sessions", call.path["id"])
    _expire_if_due(account, session)
    return session


def _list(account: Account, call: Call) -> Json:
    given = _LISTING.read(call)
    for session in account.sessions.values():
        _expire_if_due(account, session)
    return _LISTING.page(account, given, keep=lambda found: matches(found, given, "customer", "status", "subscription"))


def _line_items(account: Account, call: Call) -> Json:
    params.read(call.raw, {"limit": params.integer(1, 100)})
    return line_items(account, account.get("sessions", call.path["id"])["id"])


def _expire(account: Account, call: Call) -> Json:
    params.read(call.raw)
    session = account.get("sessions", call.path["id"])
    if session["status"] != "open":
        raise StripeError(
            f'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of '
            f"`{session['status']}`."
        )
    lifecycle.expire(account, session)
    return session


def _expire_if_due(account: Account, session: Json) -> None:
    if session["status"] == "open" and session["expires_at"] <= account.now():
        lifecycle.expire(account, session)


ROUTES = [
    Route("POST", "/v1/checkout/sessions", _create),
    Route("GET", "/v1/checkout/sessions", _list),
    Route("GET", "/v1/checkout/sessions/{id}", _retrieve),
    Route("GET", "/v1/checkout/sessions/{id}/line_items", _line_items),
    Route("POST", "/v1/checkout/sessions/{id}/expire", _expire),
]
