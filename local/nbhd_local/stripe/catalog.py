"""``/v1/products`` and ``/v1/prices``: what is sold, found by lookup key."""

from __future__ import annotations

from . import objects, params
from .account import Account, Json
from .errors import StripeError
from .routing import Call, Listing, Route, matches

_PRODUCT: dict[str, params.Parser] = {
    "name": params.text,
    "active": params.boolean,
    "description": params.clearable(params.text),
    "metadata": params.metadata,
}
_PRICE: dict[str, params.Parser] = {
    "active": params.boolean,
    "lookup_key": params.clearable(params.text),
    "transfer_lookup_key": params.boolean,
    "nickname": params.clearable(params.text),
    "metadata": params.metadata,
}
_NEW_PRICE: dict[str, params.Parser] = _PRICE | {
    "currency": params.text,
    "product": params.text,
    "product_data": params.record(_PRODUCT, required=("name",)),
    "unit_amount": params.integer(),
    "recurring": params.record(
        {"interval": params.choice("day", "week", "month", "year"), "interval_count": params.integer(1, 36)},
        required=("interval",),
    ),
}
_PRODUCTS = Listing(
    "products", "/v1/products", {"active": params.boolean, "ids": params.array(params.text), "url": params.text}
)
_PRICES = Listing(
    "prices",
    "/v1/prices",
    {
        "active": params.boolean,
        "currency": params.text,
        "lookup_keys": params.array(params.text, most=10),
        "product": params.text,
        "type": params.choice("one_time", "recurring"),
    },
)


def _create_product(account: Account, call: Call) -> Json:
    given = params.read(
        call.raw, _PRODUCT | {"id": params.text, "default_price_data": _new_default}, required=("name",)
    )
    default = given.pop("default_price_data", None)
    product = add_product(account, given)
    if default is not None:
        price = add_price(account, default | {"product": product["id"]})
        product["default_price"] = price["id"]
    return product


def _new_default(value: object, path: str) -> Json:
    fields = {name: _NEW_PRICE[name] for name in ("currency", "unit_amount", "recurring", "metadata")}
    parsed: Json = params.record(fields, required=("currency", "unit_amount"))(value, path)
    return parsed


def add_product(account: Account, given: Json) -> Json:
    """A new product."""
    if given.get("id") in account.products:
        raise StripeError("Product already exists.", code="resource_already_exists", param="id")
    product = objects.product(account.now(), **given)
    account.products[product["id"]] = product
    account.emit("product.created", product)
    return product


def _retrieve_product(account: Account, call: Call) -> Json:
    params.read(call.raw)
    return account.get("products", call.path["id"])


def _update_product(account: Account, call: Call) -> Json:
    product = account.get("products", call.path["id"])
    given = params.read(call.raw, _PRODUCT | {"default_price": params.text})
    if "default_price" in given:
        account.get("prices", given["default_price"], param="default_price", in_path=False)
    _change(account, product, given, "product.updated", updated=account.now())
    return product


def _list_products(account: Account, call: Call) -> Json:
    given = _PRODUCTS.read(call)
    return _PRODUCTS.page(
        account,
        given,
        keep=lambda found: matches(found, given, "active", "url") and found["id"] in given.get("ids", [found["id"]]),
    )


def _create_price(account: Account, call: Call) -> Json:
    given = params.read(call.raw, _NEW_PRICE, required=("currency", "unit_amount"))
    if ("product" in given) == ("product_data" in given):
        raise StripeError(
            "You must specify either `product` or `product_data` when creating a price.",
            code="parameter_missing",
            param="product",
        )
    if "product" in given:
        account.get("products", given["product"], param="product", in_path=False)
    else:
        given["product"] = add_product(account, given.pop("product_data"))["id"]
    return add_price(account, given)


def add_price(account: Account, given: Json) -> Json:
    """A new price of an existing product; its lookup key must be free."""
    _take_lookup_key(account, given, "")
    price = objects.price(
        account.now(),
        product_id=given.pop("product"),
        currency=given.pop("currency").lower(),
        unit_amount=given.pop("unit_amount"),
        recurring=given.pop("recurring", None),
        **given,
    )
    account.prices[price["id"]] = price
    account.emit("price.created", price)
    return price


def _take_lookup_key(account: Account, given: Json, own_id: str) -> None:
    """A lookup key belongs to one price; ``transfer_lookup_key`` takes it from the one that has it."""
    transfer = given.pop("transfer_lookup_key", False)
    key = given.get("lookup_key")
    for other in account.prices.values():
        if key is not None and other["lookup_key"] == key and other["id"] != own_id:
            if not transfer:
                raise StripeError(f"A price (`{other['id']}`) already uses that lookup key.", param="lookup_key")
            with account.update(other, "price.updated"):
                other["lookup_key"] = None


def _retrieve_price(account: Account, call: Call) -> Json:
    params.read(call.raw)
    return account.get("prices", call.path["id"])


def _update_price(account: Account, call: Call) -> Json:
    price = account.get("prices", call.path["id"])
    given = params.read(call.raw, _PRICE)
    _take_lookup_key(account, given, price["id"])
    _change(account, price, given, "price.updated")
    return price


def _list_prices(account: Account, call: Call) -> Json:
    given = _PRICES.read(call)
    return _PRICES.page(
        account,
        given,
        keep=lambda found: (
            matches(found, given, "active", "currency", "product", "type")
            and ("lookup_keys" not in given or found["lookup_key"] in given["lookup_keys"])
        ),
    )


def _change(account: Account, target: Json, given: Json, kind: str, **also: int) -> None:
    with account.update(target, kind):
        if "metadata" in given:
            given["metadata"] = params.merge_metadata(target["metadata"], given["metadata"])
        target |= given | also


ROUTES = [
    Route("POST", "/v1/products", _create_product),
    Route("GET", "/v1/products", _list_products),
    Route("GET", "/v1/products/{id}", _retrieve_product),
    Route("POST", "/v1/products/{id}", _update_product),
    Route("POST", "/v1/prices", _create_price),
    Route("GET", "/v1/prices", _list_prices),
    Route("GET", "/v1/prices/{id}", _retrieve_price),
    Route("POST", "/v1/prices/{id}", _update_price),
]
