"""A Stripe account in test mode on this machine: API, Checkout page and event delivery, with drivers for its people.

`StripeWorld` wires the parts; services and tests meet it through ``api_url`` and signed webhooks only.
"""

from __future__ import annotations

import copy
import random
import secrets
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from types import TracebackType
from typing import Self

from nbhd_local import web
from nbhd_local.ca import Authority
from nbhd_local.clock import Clock, utc_now
from nbhd_local.traffic import Request, Traffic

from . import lifecycle
from .account import Account, Json, new_id
from .api import Api
from .catalog import add_price, add_product
from .delivery import Deliverer, Delivery, DeliveryPolicy
from .errors import injected, missing
from .pages import Pages
from .records import add_endpoint, check_private


class StripeWorld:
    """Use as an async context manager.

    ``authority`` puts the API behind TLS and is trusted for https webhooks; without one all is plain HTTP. Pages for
    a browser are always plain. ``latency`` is the range, in seconds, of the delay of each API answer.
    """

    def __init__(
        self,
        authority: Authority | None = None,
        *,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        secret_key: str | None = None,
        clock: Clock = utc_now,
        policy: DeliveryPolicy | None = None,
        latency: tuple[float, float] = (0.01, 0.04),
        rng: random.Random | None = None,
        host: str = web.LOOPBACK,
        pages_host: str | None = None,
        port: int = 0,
        pages_port: int = 0,
    ) -> None:
        chance = rng or random.SystemRandom()
        self._authority = authority
        self._host, self._pages_host, self._ports = host, pages_host or host, (port, pages_port)
        self._account = Account(clock=clock, publish=self._publish)
        self._deliverer = Deliverer(self._account, policy or DeliveryPolicy(), rng=chance)
        self.secret_key = secret_key or f"sk_test_{secrets.token_urlsafe(24)}"
        self.traffic = Traffic(clock, injected)
        self._api = Api(self._account, self.traffic, secret_key=self.secret_key, latency=latency, rng=chance)
        self._secrets: tuple[str, ...] = (webhook_secret or new_id("whsec_", 32),)
        self._endpoint: Json | None = None
        self._stack = AsyncExitStack()
        self.api_url = ""
        self.pages_url = ""
        self.webhook_url = webhook_url

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._deliverer.open(self._authority.client_context() if self._authority else None)
            stack.push_async_callback(self._deliverer.close)
            pages = Pages(self._account).application()
            self.pages_url = await stack.enter_async_context(
                web.serve(pages, port=self._ports[1], host=self._pages_host)
            )
            self._api.pages_url = self.pages_url
            tls = self._authority.server_context() if self._authority else None
            api = self._api.application()
            self.api_url = await stack.enter_async_context(
                web.serve(api, tls=tls, port=self._ports[0], host=self._host)
            )
            stack.callback(self.traffic.release_all)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def sell(self, lookup_key: str, *, cents: int, name: str, description: str, price_id: str) -> None:
        """A product with a monthly price whose id is known beforehand, which Stripe itself would not allow."""
        with self._account.changes():
            product = add_product(self._account, {"name": name, "description": description})
            given = {
                "currency": "usd",
                "unit_amount": cents,
                "recurring": {"interval": "month"},
                "lookup_key": lookup_key,
            }
            add_price(self._account, {**given, "product": product["id"], "id": price_id})

    # Where events go

    @property
    def webhook_url(self) -> str | None:
        """Where all events are POSTed; may be set at any time and counts for later events."""
        return None if self._endpoint is None else str(self._endpoint["url"])

    @webhook_url.setter
    def webhook_url(self, url: str | None) -> None:
        if url is not None:
            check_private(url)
        if self._endpoint is None and url is not None:
            self._endpoint = add_endpoint(self._account, url=url, enabled_events=["*"])
            self._account.endpoint_secrets[self._endpoint["id"]] = self._secrets
        elif self._endpoint is not None and url is not None:
            self._endpoint["url"] = url
        elif self._endpoint is not None:
            del self._account.endpoints[self._endpoint["id"]]
            self._endpoint = None

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The signing secrets of ``webhook_url``; two while a secret is rolled, then events carry two signatures."""
        return self._secrets

    @webhook_secrets.setter
    def webhook_secrets(self, values: tuple[str, ...]) -> None:
        self._secrets = values
        if self._endpoint is not None:
            self._account.endpoint_secrets[self._endpoint["id"]] = values

    @property
    def webhook_secret(self) -> str:
        """The first of ``webhook_secrets``."""
        return self._secrets[0]

    @property
    def policy(self) -> DeliveryPolicy:
        """How events are delivered from now on."""
        return self._deliverer.policy

    @policy.setter
    def policy(self, policy: DeliveryPolicy) -> None:
        self._deliverer.policy = policy

    def pause(self) -> None:
        """Holds all deliveries."""
        self._deliverer.pause()

    def resume(self) -> None:
        """Lets deliveries go on."""
        self._deliverer.resume()

    async def settled(self) -> None:
        """Returns when every event so far was accepted with a 2xx, given up, or dropped."""
        await self._deliverer.settled()

    def resend(self, event_id: str) -> None:
        """Sends an event again to every endpoint, as the button of the real dashboard does."""
        event = self._account.get("events", event_id)
        for endpoint in list(self._account.endpoints.values()):
            event["pending_webhooks"] += 1
            self._deliverer.send(event, endpoint)

    # What people and cards do

    async def pay(self, session_id: str, *, email: str = "buyer@example.test", name: str | None = None) -> str:
        """Does what the Pay button does and returns the success URL.

        Raises:
            CheckoutClosedError: the session is complete or expired.
        """
        with self._account.changes():
            return lifecycle.complete_checkout(self._account, session_id, email=email, name=name)

    def cancel(self, subscription_id: str, *, at_period_end: bool = False) -> None:
        """Ends a subscription now, or plans its end."""
        with self._step(subscription_id) as subscription:
            if at_period_end:
                lifecycle.cancel_at_period_end(self._account, subscription, planned=True)
            else:
                lifecycle.cancel(self._account, subscription)

    def transition(self, subscription_id: str, status: str) -> None:
        """Brings a subscription to a status, with the events of the shortest way there."""
        with self._step(subscription_id) as subscription:
            lifecycle.transition(self._account, subscription, status)

    def end_period(self, subscription_id: str, *, card_works: bool = True) -> None:
        """The billing period ends now: the subscription renews, or ends if that was planned.

        With a card that does not work the new period is unpaid, too, and its invoice one more that is open.
        """
        with self._step(subscription_id) as subscription:
            lifecycle.end_period(self._account, subscription, card_works=card_works)

    def fail_payment(self, subscription_id: str) -> None:
        """The renewal is due and the card is declined: ``past_due``."""
        with self._step(subscription_id) as subscription:
            lifecycle.fail_payment(self._account, subscription)

    def pay_again(self, subscription_id: str) -> None:
        """The card works again: the open invoice is paid, the subscription active."""
        with self._step(subscription_id) as subscription:
            lifecycle.pay_again(self._account, subscription)

    @contextmanager
    def _step(self, subscription_id: str) -> Iterator[Json]:
        with self._account.changes():
            yield self._account.get("subscriptions", subscription_id)

    # What a test or the demo looks at

    @property
    def deliveries(self) -> list[Delivery]:
        """Every delivery attempt, oldest first."""
        return self._deliverer.deliveries

    @property
    def requests(self) -> list[Request]:
        """Every API request, oldest first."""
        return list(self.traffic.log)

    @property
    def events(self) -> list[Json]:
        """Every event, oldest first (copies)."""
        return copy.deepcopy(list(self._account.events.values()))

    def get(self, object_id: str) -> Json:
        """A copy of any object by its id.

        Raises:
            StripeError: there is none.
        """
        found = self._account.find(object_id)
        if found is None:
            raise missing("object", object_id)
        return copy.deepcopy(found)

    def subscriptions(self, customer_id: str) -> list[Json]:
        """Copies of a customer's subscriptions, oldest first."""
        found = [one for one in self._account.subscriptions.values() if one["customer"] == customer_id]
        return copy.deepcopy(found)

    def _publish(self, batch: list[Json]) -> None:
        self._deliverer.publish(batch)
