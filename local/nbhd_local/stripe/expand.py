"""``expand[]``: replaces ids in a response by the objects that they name.

The last step of a request, on a copy, so that the account keeps the ids.
"""

from __future__ import annotations

import copy
from typing import Any

from . import routing
from .account import Account, Json
from .errors import StripeError

_MAX_DEPTH = 4


def expand(account: Account, response: Json, paths: list[str]) -> Json:
    """A copy of ``response`` with the paths (``customer``, ``data.latest_invoice``, ...) expanded.

    Raises:
        StripeError: a path that cannot be expanded, or is deeper than four levels.
    """
    expanded = copy.deepcopy(response)
    for path in paths:
        names = path.split(".")
        if len([name for name in names if name != "data"]) > _MAX_DEPTH:
            raise StripeError("You cannot expand more than 4 levels of a property.", param="expand")
        _walk(account, expanded, names, path)
    return expanded


def _walk(account: Account, node: Any, names: list[str], path: str) -> None:
    if isinstance(node, list):
        for member in node:
            _walk(account, member, names, path)
        return
    if node is None or not names:
        return
    name, rest = names[0], names[1:]
    if not isinstance(node, dict) or (name not in node and not _includable(node, name)):
        raise StripeError(f"This property cannot be expanded ({path}).", param="expand")
    value = _line_items(account, node) if name not in node else node[name]
    if isinstance(value, str):
        found = account.find(value)
        if found is None or name == "id":
            raise StripeError(f"This property cannot be expanded ({path}).", param="expand")
        value = copy.deepcopy(found)
    node[name] = value
    _walk(account, value, rest, path)


def _includable(node: Json, name: str) -> bool:
    return name == "line_items" and node.get("object") == "checkout.session"


def _line_items(account: Account, session: Json) -> Json:
    return line_items(account, session["id"])


def line_items(account: Account, session_id: str) -> Json:
    """The items of a Checkout session, which the session has only when asked."""
    order = account.orders[session_id]
    priced = account.prices[order.price]
    total = priced["unit_amount"] * order.quantity
    item: Json = {
        "id": f"li_1{session_id[-23:]}",
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": total,
        "amount_tax": 0,
        "amount_total": total,
        "currency": priced["currency"],
        "description": account.products[priced["product"]]["name"],
        "metadata": {},
        "price": copy.deepcopy(priced),
        "quantity": order.quantity,
    }
    return routing.page([item], f"/v1/checkout/sessions/{session_id}/line_items")
