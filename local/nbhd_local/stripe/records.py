"""``/v1/invoices`` and ``/v1/events`` (to read), ``/v1/webhook_endpoints`` (to create and read)."""

from __future__ import annotations

import fnmatch

from nbhd_local.web import is_private

from . import params
from .account import API_VERSION, Account, Json, new_id
from .errors import StripeError
from .routing import Call, Listing, Route, matches, page

_INVOICES = Listing(
    "invoices",
    "/v1/invoices",
    {
        "customer": params.text,
        "status": params.choice("draft", "open", "paid", "uncollectible", "void"),
        "subscription": params.text,
    },
)
_EVENTS = Listing(
    "events",
    "/v1/events",
    {
        "delivery_success": params.boolean,
        "type": params.text,
        "types": params.array(params.text, most=20),
    },
)
_ENDPOINTS = Listing("endpoints", "/v1/webhook_endpoints")


def _retrieve_invoice(account: Account, call: Call) -> Json:
    params.read(call.raw)
    return account.get("invoices", call.path["id"])


def _list_invoices(account: Account, call: Call) -> Json:
    given = _INVOICES.read(call)
    of = given.get("subscription")
    return _INVOICES.page(
        account,
        given,
        keep=lambda found: (
            matches(found, given, "customer", "status")
            and of in {None, found["parent"]["subscription_details"]["subscription"]}
        ),
    )


def _list_lines(account: Account, call: Call) -> Json:
    params.read(call.raw, {"limit": params.integer(1, 100)})
    lines: Json = account.get("invoices", call.path["id"])["lines"]
    return page(lines["data"], lines["url"])


def _retrieve_event(account: Account, call: Call) -> Json:
    params.read(call.raw)
    return account.get("events", call.path["id"])


def _list_events(account: Account, call: Call) -> Json:
    given = _EVENTS.read(call)
    if "type" in given and "types" in given:
        raise StripeError("You may only specify one of these parameters: type, types.", param="types")
    patterns = given.get("types") or [given.get("type", "*")]
    wanted = given.get("delivery_success")
    return _EVENTS.page(
        account,
        given,
        keep=lambda found: (
            any(fnmatch.fnmatchcase(found["type"], pattern) for pattern in patterns)
            and wanted in {None, found["pending_webhooks"] == 0}
        ),
    )


def _create_endpoint(account: Account, call: Call) -> Json:
    given = params.read(
        call.raw,
        {
            "url": params.url,
            "enabled_events": params.array(params.text),
            "description": params.clearable(params.text),
            "metadata": params.metadata,
            "api_version": params.text,
        },
        required=("url", "enabled_events"),
    )
    if given.get("api_version", API_VERSION) != API_VERSION:
        raise StripeError(f"The local Stripe speaks {API_VERSION} only.", param="api_version")
    check_private(given["url"])
    endpoint = add_endpoint(account, **given)
    secret = new_id("whsec_", 32)
    account.endpoint_secrets[endpoint["id"]] = (secret,)
    return endpoint | {"secret": secret}


def check_private(url: str) -> None:
    """Events never leave the machine or the cluster.

    Raises:
        StripeError: the URL's host is not a private address.
    """
    if not is_private(url):
        raise StripeError("The local Stripe delivers to private addresses only.", code="url_invalid", param="url")


def add_endpoint(account: Account, *, url: str, enabled_events: list[str], **given: object) -> Json:
    """A new endpoint without its secret, which is returned at creation only."""
    endpoint: Json = {
        "id": new_id("we_1", 23),
        "object": "webhook_endpoint",
        "api_version": None,
        "application": None,
        "created": account.now(),
        "description": None,
        "enabled_events": enabled_events,
        "livemode": False,
        "metadata": {},
        "status": "enabled",
        "url": url,
    }
    account.endpoints[endpoint["id"]] = endpoint | given
    return account.endpoints[endpoint["id"]]


def _retrieve_endpoint(account: Account, call: Call) -> Json:
    params.read(call.raw)
    return account.get("endpoints", call.path["id"])


def _list_endpoints(account: Account, call: Call) -> Json:
    return _ENDPOINTS.page(account, _ENDPOINTS.read(call), keep=lambda _found: True)


ROUTES = [
    Route("GET", "/v1/invoices", _list_invoices),
    Route("GET", "/v1/invoices/{id}", _retrieve_invoice),
    Route("GET", "/v1/invoices/{id}/lines", _list_lines),
    Route("GET", "/v1/events", _list_events),
    Route("GET", "/v1/events/{id}", _retrieve_event),
    Route("POST", "/v1/webhook_endpoints", _create_endpoint),
    Route("GET", "/v1/webhook_endpoints", _list_endpoints),
    Route("GET", "/v1/webhook_endpoints/{id}", _retrieve_endpoint),
]
