"""A running Stripe emulator, the real client library pointed at it, and a receiver that verifies with that library."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import stripe
from aiohttp import web

from nbhd_local.stripe import DeliveryPolicy, StripeWorld
from nbhd_local.web import serve

FAST = DeliveryPolicy(delay=(0.0, 0.01), retries=(0.01, 0.01, 0.02, 0.02, 0.02), timeout=2)


@dataclass
class Receiver:
    """A webhook endpoint: verifies each body with the real library and answers what ``answer`` says."""

    secret: str = ""
    answer: Callable[[int], int] = lambda _count: 200
    bodies: list[dict[str, Any]] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.headers.append(dict(request.headers))
        parsed: dict[str, Any] = json.loads(body)
        self.bodies.append(parsed)
        try:
            stripe.WebhookSignature.verify_header(body, request.headers.get("Stripe-Signature"), self.secret, 300)
            if parsed["object"] == "event":
                stripe.Webhook.construct_event(body, request.headers["Stripe-Signature"], self.secret)
        except Exception as error:
            self.errors.append(error)
            return web.Response(status=400)
        status = self.answer(len(self.bodies))
        if status == 200:
            self.accepted.append(parsed["id"])
        return web.Response(status=status)


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/webhook", receiver.handle)
    async with serve(app) as url:
        yield receiver, f"{url}/webhook"


def client_for(world: StripeWorld, key: str | None = None) -> stripe.StripeClient:
    return stripe.StripeClient(
        key or world.secret_key,
        base_addresses={"api": world.api_url},
        http_client=stripe.AIOHTTPClient(timeout=5),
        max_network_retries=0,
    )


async def close(client: stripe.StripeClient) -> None:
    connection = client._requestor._client
    assert connection is not None
    await connection.close_async()  # type: ignore[no-untyped-call]  # the library leaves it untyped


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[tuple[StripeWorld, stripe.StripeClient]]:
    settings: dict[str, Any] = {"latency": (0.0, 0.001), "policy": FAST}
    async with StripeWorld(**settings | options) as world:
        client = client_for(world)
        try:
            yield world, client
        finally:
            await close(client)


async def price_of(client: stripe.StripeClient, *, lookup_key: str = "basic", amount: int = 500) -> stripe.Price:
    product = await client.v1.products.create_async({"name": f"Assistant {lookup_key}"})
    return await client.v1.prices.create_async(
        {
            "product": product.id,
            "currency": "usd",
            "unit_amount": amount,
            "recurring": {"interval": "month"},
            "lookup_key": lookup_key,
        }
    )


async def session_for(client: stripe.StripeClient, price: stripe.Price, **more: Any) -> stripe.checkout.Session:
    params: Any = {
        "mode": "subscription",
        "line_items": [{"price": price.id, "quantity": 1}],
        "success_url": "http://127.0.0.1:9/welcome?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "http://127.0.0.1:9/",
        **more,
    }
    return await client.v1.checkout.sessions.create_async(params)


@pytest.fixture
async def both() -> AsyncIterator[tuple[StripeWorld, stripe.StripeClient]]:
    async with running() as pair:
        yield pair


@pytest.fixture
def world(both: tuple[StripeWorld, stripe.StripeClient]) -> StripeWorld:
    return both[0]


@pytest.fixture
def client(both: tuple[StripeWorld, stripe.StripeClient]) -> stripe.StripeClient:
    return both[1]


@pytest.fixture
async def receiver(world: StripeWorld) -> AsyncIterator[Receiver]:
    async with receiving() as (receiver, url):
        receiver.secret = world.webhook_secret
        world.webhook_url = url
        yield receiver
