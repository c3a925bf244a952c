"""``/v1/subscriptions`` and ``/v1/subscription_items``; new ones come from Checkout."""

from __future__ import annotations

import copy

from . import lifecycle, objects, params
from .account import Account, Json
from .errors import StripeError, missing
from .routing import Call, Listing, Route, matches, page

_STATUSES = ("active", "canceled", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid")
_LISTING = Listing(
    "subscriptions",
    "/v1/subscriptions",
    {"customer": params.text, "price": params.text, "status": params.choice(*_STATUSES, "all", "ended")},
)
_DETAILS = params.record(
    {
        "comment": params.clearable(params.text),
        "feedback": params.clearable(
            params.choice(
                "customer_service",
                "low_quality",
                "missing_features",
                "other",
                "switched_service",
                "too_complex",
                "too_expensive",
                "unused",
            )
        ),
    }
)
_UPDATE: dict[str, params.Parser] = {
    "cancel_at_period_end": params.boolean,
    "cancel_at": params.clearable(params.timestamp),
    "cancellation_details": _DETAILS,
    "description": params.clearable(params.text),
    "items": params.array(
        params.record({"id": params.text, "price": params.text, "quantity": params.integer(1)}, required=("id",)),
        most=20,
    ),
    "metadata": params.metadata,
    "pause_collection": params.clearable(
        params.record(
            {
                "behavior": params.choice("keep_as_draft", "mark_uncollectible", "void"),
                "resumes_at": params.timestamp,
            },
            required=("behavior",),
        )
    ),
    "proration_behavior": params.choice("always_invoice", "create_prorations", "none"),
}


def _retrieve(account: Account, call: Call) -> Json:
    params.read(call.raw)
    return account.get("subscriptions", call.path["id"])


def _list(account: Account, call: Call) -> Json:
    given = _LISTING.read(call)
    if "customer" in given:
        account.get("customers", given["customer"], param="customer", in_path=False)
    status = given.get("status")

    def keep(found: Json) -> bool:
        if status == "ended":
            wanted = found["status"] in lifecycle.ENDED
        elif status is None:
            wanted = found["status"] != "canceled"
        else:
            wanted = status in {"all", found["status"]}
        prices = {item["price"]["id"] for item in found["items"]["data"]}
        return wanted and matches(found, given, "customer") and given.get("price") in {None, *prices}

    return _LISTING.page(account, given, keep=keep)


def _update(account: Account, call: Call) -> Json:
    subscription = account.get("subscriptions", call.path["id"])
    given = params.read(call.raw, _UPDATE)
    if subscription["status"] in lifecycle.ENDED and set(given) - {"metadata", "cancellation_details"}:
        raise StripeError("A canceled subscription can only update its cancellation_details and metadata.")
    if given.get("cancel_at_period_end") and given.get("cancel_at"):
        raise StripeError(
            "You may only specify one of these parameters: cancel_at, cancel_at_period_end.", param="cancel_at"
        )
    changed_items = _changed_items(account, subscription, given.get("items", []))
    if "cancel_at_period_end" in given:
        lifecycle.cancel_at_period_end(account, subscription, planned=given["cancel_at_period_end"])
    with account.update(subscription, "customer.subscription.updated"):
        if changed_items:
            subscription["items"] = subscription["items"] | {"data": changed_items}
        if "metadata" in given:
            subscription["metadata"] = params.merge_metadata(subscription["metadata"], given["metadata"])
        if "description" in given:
            subscription["description"] = given["description"]
        if "cancel_at" in given:
            subscription["cancel_at"] = given["cancel_at"]
            subscription["canceled_at"] = account.now() if given["cancel_at"] else None
        if "pause_collection" in given:
            paused = given["pause_collection"]
            subscription["pause_collection"] = paused and {"resumes_at": None} | paused
        if "cancellation_details" in given:
            subscription["cancellation_details"] = subscription["cancellation_details"] | given["cancellation_details"]
    return subscription


def _changed_items(account: Account, subscription: Json, changes: list[Json]) -> list[Json]:
    """The subscription's items after the changes (empty: no change asked for); nothing is prorated."""
    if not changes:
        return []
    items: list[Json] = copy.deepcopy(subscription["items"]["data"])
    for index, change in enumerate(changes):
        item = next((one for one in items if one["id"] == change["id"]), None)
        if item is None:
            raise missing("subscription item", change["id"], param=f"items[{index}][id]", in_path=False)
        if "price" in change:
            where = f"items[{index}][price]"
            priced = account.get("prices", change["price"], param=where, in_path=False)
            if priced["type"] != "recurring" or not priced["active"]:
                raise StripeError("The price specified must be recurring and active.", param=where)
            item |= {"price": copy.deepcopy(priced), "plan": objects.plan(priced)}
        item["quantity"] = change.get("quantity", item["quantity"])
    return items


def _cancel(account: Account, call: Call) -> Json:
    given = params.read(
        call.raw, {"cancellation_details": _DETAILS, "invoice_now": params.boolean, "prorate": params.boolean}
    )
    subscription = account.get("subscriptions", call.path["id"])
    if subscription["status"] in lifecycle.ENDED:
        raise missing("subscription", call.path["id"])
    lifecycle.cancel(account, subscription, details=given.get("cancellation_details"))
    return subscription


def _list_items(account: Account, call: Call) -> Json:
    given = params.read(
        call.raw, {"subscription": params.text, "limit": params.integer(1, 100)}, required=("subscription",)
    )
    subscription = account.get("subscriptions", given["subscription"], param="subscription", in_path=False)
    return page(subscription["items"]["data"], "/v1/subscription_items")


ROUTES = [
    Route("GET", "/v1/subscriptions", _list),
    Route("GET", "/v1/subscriptions/{id}", _retrieve),
    Route("POST", "/v1/subscriptions/{id}", _update),
    Route("DELETE", "/v1/subscriptions/{id}", _cancel),
    Route("GET", "/v1/subscription_items", _list_items),
]
