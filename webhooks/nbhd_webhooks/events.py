"""``POST /stripe/webhook``: checks that Stripe sent the event, finds the customer, and has ``sync.py`` do the rest.

An event is a poke: nothing that it says is believed but whom it is about. The answer tells Stripe what to do: 200 when
there is nothing left to do, 400 for what cannot be verified, 503 to send it again. Stripe is the queue.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import stripe
from aiohttp import web
from pydantic import SecretStr

from nbhd_webhooks.metrics import Metrics
from nbhd_webhooks.stripe_api import NotInStripeError, StripeUnavailableError, reference
from nbhd_webhooks.sync import Outcome, UnavailableError

log = logging.getLogger(__name__)

TOLERANCE = 300
"""Seconds that an event's timestamp may differ from our clock, in either direction."""
BODY_LIMIT = 1 << 20
"""Bytes of an event that we read."""
_BUDGET = 8.0  # Stripe's own limit is not published

POKES = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.subscription.pending_update_applied",
    "customer.subscription.pending_update_expired",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_action_required",
)
"""Types of events after which a customer is looked at; https://docs.stripe.com/api/events/types."""
_THIN_PREFIX = "v1."  # thin events about the same objects: v1.customer.subscription.updated
_THIN_SUBSCRIPTION = "v1.customer.subscription."  # they come in more types, all of them about a subscription


class RejectedError(Exception):
    """What was sent is not an event of Stripe for us; the text may be shown to the sender."""


@dataclass(frozen=True)
class Event:
    """What we need of a verified event, in either of Stripe's two shapes."""

    id: str
    type: str
    live: bool
    foreign: bool
    """True: it is about another account than ours."""
    customer: str | None
    related: tuple[str, str] | None
    """Kind and id of the object that a thin event points at."""
    secret_index: int

    @property
    def poke(self) -> bool:
        """True if the customer is to be looked at."""
        return self.kind != "Other"

    @property
    def kind(self) -> str:
        """Its type among those that we act on, else ``Other``."""
        plain = self.type.removeprefix(_THIN_PREFIX)
        if plain in POKES:
            return plain
        return "customer.subscription.other" if self.type.startswith(_THIN_SUBSCRIPTION) else "Other"


def verify(body: bytes, signature: str | None, secrets: Sequence[SecretStr], now: datetime.datetime) -> Event:
    """The event, if one of ``secrets`` signed it within five minutes of ``now``. Raises ``RejectedError``."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise RejectedError("the body is not UTF-8") from None
    if not signature:
        raise RejectedError("there is no Stripe-Signature header")
    index = next((i for i, secret in enumerate(secrets) if _signed(text, signature, secret)), None)
    if index is None:
        raise RejectedError("the signature matches none of the configured secrets")
    sent = next(int(part.split("=")[1]) for part in signature.split(",") if part.startswith("t="))
    if abs(int(now.timestamp()) - sent) > TOLERANCE:
        raise RejectedError("the timestamp is more than 300 seconds off: check this machine's clock")
    try:
        return _parse(json.loads(text), index)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RejectedError("the body is not an event of Stripe") from None


def _signed(text: str, signature: str, secret: SecretStr) -> bool:
    try:
        # Its own check of the time accepts any future; ours is in verify().
        stripe.WebhookSignature.verify_header(text, signature, secret.get_secret_value(), tolerance=None)
    except Exception:  # malformed headers raise all sorts of errors in the library
        return False
    return True


def _parse(raw: Any, secret_index: int) -> Event:
    thin = raw["object"] == "v2.core.event"
    if not thin and raw["object"] != "event":
        raise ValueError(raw["object"])
    customer, related = None, None
    if thin:
        pointer = raw.get("related_object")
        related = (str(pointer["type"]), str(pointer["id"])) if pointer else None
    else:
        about = raw["data"]["object"]
        customer = reference(about if about.get("object") == "customer" else about.get("customer"))
    return Event(
        id=str(raw["id"]),
        type=str(raw["type"]),
        live=raw["livemode"] is True,
        foreign=bool(raw.get("account") or raw.get("context")),
        customer=customer,
        related=related,
        secret_index=secret_index,
    )


class EventHandler:
    """Answers Stripe's requests, and counts them in ``metrics``."""

    def __init__(
        self,
        sync: Callable[[str], Awaitable[Outcome]],
        customer_of: Callable[[str, str], Awaitable[str | None]],
        *,
        secrets: Sequence[SecretStr],
        live: bool,
        clock: Callable[[], datetime.datetime],
        metrics: Metrics,
    ) -> None:
        self._sync, self._customer_of = sync, customer_of
        self._secrets, self._live, self._clock = secrets, live, clock
        self._counts = metrics.events

    async def handle(self, request: web.Request) -> web.Response:
        """The aiohttp handler."""
        body = await request.read()
        try:
            event = verify(body, request.headers.get("Stripe-Signature"), self._secrets, self._clock())
        except RejectedError as reason:
            self._counts.labels("Other", "rejected").inc()
            log.warning("event rejected", extra={"reason": str(reason), "bytes": len(body)})
            return web.Response(status=400, text=f"{reason}\n")
        try:
            async with asyncio.timeout(_BUDGET):
                result = await self._act(event)
        except (UnavailableError, StripeUnavailableError, TimeoutError) as error:
            self._counts.labels(event.kind, "unavailable").inc()
            log.warning("event not handled", extra={"event": event.id, "type": event.type, "error": repr(error)})
            return web.Response(status=503, text="try again later\n", headers={"Retry-After": "30"})
        self._counts.labels(event.kind, result).inc()
        known = {"event": event.id, "type": event.type, "secret_index": event.secret_index, "result": result}
        log.log(logging.INFO if event.poke else logging.DEBUG, "event handled", extra=known)
        return web.Response(text=f"{result}\n")

    async def _act(self, event: Event) -> str:
        if event.live is not self._live:
            log.warning("event of the other mode ignored", extra={"event": event.id, "livemode": event.live})
            return "wrong mode"
        if event.foreign:
            return "another account"
        if not event.poke:
            return "ignored type"
        customer = event.customer
        if customer is None and event.related:
            try:
                customer = await self._customer_of(*event.related)
            except NotInStripeError:
                log.warning("event about an unknown object", extra={"event": event.id, "related": event.related[1]})
        if customer is None:
            return "no customer"
        return (await self._sync(customer)).value
