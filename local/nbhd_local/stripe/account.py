"""The state of one Stripe account in test mode, and the events that its changes make.

Resources and the lifecycle change it inside `Account.changes`; what they emit goes as one batch to `delivery`.
"""

from __future__ import annotations

import copy
import secrets
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from nbhd_local.clock import Clock

from .errors import missing

Json = dict[str, Any]

API_VERSION = "2026-10-28.endive"

_ALPHABET = string.ascii_letters + string.digits
_NOUNS = {
    "customers": "customer",
    "products": "product",
    "prices": "price",
    "sessions": "checkout session",
    "subscriptions": "subscription",
    "invoices": "invoice",
    "events": "event",
    "endpoints": "webhook endpoint",
}
_PREFIXES = {
    "cus": "customers",
    "prod": "products",
    "price": "prices",
    "cs": "sessions",
    "sub": "subscriptions",
    "in": "invoices",
    "evt": "events",
    "we": "endpoints",
}


@dataclass(frozen=True)
class Origin:
    """The API request that causes changes; a driver or the passing of time has none."""

    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Order:
    """What a Checkout session sells; the session object itself does not repeat it."""

    price: str
    quantity: int
    metadata: dict[str, str] = field(default_factory=dict)
    description: str | None = None


class Account:
    """Objects by id, oldest first, in the shape of the wire."""

    def __init__(self, *, clock: Clock, publish: Callable[[list[Json]], None]) -> None:
        self.clock = clock
        self._publish = publish
        self._origin = Origin()
        self._batch: list[Json] | None = None
        self.customers: dict[str, Json] = {}
        self.products: dict[str, Json] = {}
        self.prices: dict[str, Json] = {}
        self.sessions: dict[str, Json] = {}
        self.subscriptions: dict[str, Json] = {}
        self.invoices: dict[str, Json] = {}
        self.events: dict[str, Json] = {}
        self.endpoints: dict[str, Json] = {}
        self.orders: dict[str, Order] = {}
        self.endpoint_secrets: dict[str, tuple[str, ...]] = {}

    def now(self) -> int:
        """Seconds since the epoch, by the world's clock."""
        return int(self.clock().timestamp())

    def collection(self, name: str) -> dict[str, Json]:
        """The objects of one kind, such as ``customers``."""
        objects: dict[str, Json] = getattr(self, name)
        return objects

    def get(self, name: str, object_id: str, *, param: str = "id", in_path: bool = True) -> Json:
        """One object, live: changing it changes the account.

        Raises:
            StripeError: ``resource_missing``.
        """
        found = self.collection(name).get(object_id)
        if found is None:
            raise missing(_NOUNS[name], object_id, param=param, in_path=in_path)
        return found

    def find(self, object_id: str) -> Json | None:
        """Any object by its id alone."""
        name = _PREFIXES.get(object_id.partition("_")[0])
        return self.collection(name).get(object_id) if name else None

    @contextmanager
    def changes(self, origin: Origin | None = None) -> Iterator[None]:
        """Groups the events of one request or one driver's step into a batch that is delivered together."""
        self._origin, self._batch = origin or Origin(), []
        try:
            yield
        finally:
            batch, self._batch = self._batch, None
            if batch:
                self._publish(batch)

    def emit(self, kind: str, changed: Json, *, previous: Json | None = None) -> None:
        """Records an event with a snapshot of ``changed`` as it is now."""
        if self._batch is None:
            message = "events are made inside Account.changes only"
            raise RuntimeError(message)
        data: Json = {"object": copy.deepcopy(changed)}
        if previous is not None:
            data["previous_attributes"] = previous
        event: Json = {
            "id": new_id("evt_1", 23),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now(),
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": self._origin.request_id, "idempotency_key": self._origin.idempotency_key},
            "type": kind,
        }
        self.events[event["id"]] = event
        self._batch.append(event)

    @contextmanager
    def update(self, target: Json, kind: str) -> Iterator[Json]:
        """Emits ``kind`` with the previous values of what the body changed; nothing changed, nothing emitted."""
        before = copy.deepcopy(target)
        yield target
        previous = {name: before.get(name) for name in target if before.get(name) != target[name]}
        if previous:
            self.emit(kind, target, previous=previous)


def new_id(prefix: str, length: int) -> str:
    """An id as Stripe makes them: a prefix and random letters and digits."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))
