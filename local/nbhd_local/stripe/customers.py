"""``/v1/customers``."""

from __future__ import annotations

from . import lifecycle, objects, params
from .account import Account, Json
from .errors import missing
from .routing import Call, Listing, Route, matches

_FIELDS: dict[str, params.Parser] = {
    "email": params.clearable(params.email),
    "name": params.clearable(params.text),
    "description": params.clearable(params.text),
    "phone": params.clearable(params.text),
    "metadata": params.metadata,
}
_LISTING = Listing("customers", "/v1/customers", {"email": params.text})


def _create(account: Account, call: Call) -> Json:
    given = params.read(call.raw, _FIELDS)
    given["metadata"] = params.merge_metadata({}, given.get("metadata", {}))
    customer = objects.customer(account.now(), **given)
    account.customers[customer["id"]] = customer
    account.emit("customer.created", customer)
    return customer


def _retrieve(account: Account, call: Call) -> Json:
    params.read(call.raw)
    return account.get("customers", call.path["id"])


def _update(account: Account, call: Call) -> Json:
    customer = living(account, call.path["id"])
    given = params.read(call.raw, _FIELDS)
    with account.update(customer, "customer.updated"):
        if "metadata" in given:
            given["metadata"] = params.merge_metadata(customer["metadata"], given["metadata"])
        customer |= given
    return customer


def _delete(account: Account, call: Call) -> Json:
    params.read(call.raw)
    customer = living(account, call.path["id"])
    for subscription in account.subscriptions.values():
        if subscription["customer"] == customer["id"] and subscription["status"] not in lifecycle.ENDED:
            lifecycle.cancel(account, subscription)
    account.emit("customer.deleted", customer)
    stub: Json = {"id": customer["id"], "object": "customer", "deleted": True}
    account.customers[customer["id"]] = stub
    return stub


def _list(account: Account, call: Call) -> Json:
    given = _LISTING.read(call)
    return _LISTING.page(account, given, keep=lambda found: matches(found, given, "email"))


def living(account: Account, customer_id: str, *, param: str = "id", in_path: bool = True) -> Json:
    """A customer that is not deleted.

    Raises:
        StripeError: ``resource_missing``.
    """
    customer = account.get("customers", customer_id, param=param, in_path=in_path)
    if customer.get("deleted"):
        raise missing("customer", customer_id, param=param, in_path=in_path)
    return customer


ROUTES = [
    Route("POST", "/v1/customers", _create),
    Route("GET", "/v1/customers", _list),
    Route("GET", "/v1/customers/{id}", _retrieve),
    Route("POST", "/v1/customers/{id}", _update),
    Route("DELETE", "/v1/customers/{id}", _delete),
]
