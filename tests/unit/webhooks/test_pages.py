"""What a buyer sees, from the plans to the connected chat, against the local Stripe."""

from __future__ import annotations

import datetime
import html
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from kubernetes.aio.client.exceptions import ApiException
from pydantic import SecretStr

from nbhd_crds.api.meta import Condition
from nbhd_crds.api.tenant import TenantStatus
from nbhd_crds.identity import Keyring, account_code, read_link, tenant_id
from nbhd_local.stripe import StripeWorld
from nbhd_webhooks.events import EventHandler
from nbhd_webhooks.metrics import Metrics
from nbhd_webhooks.pages import Pages
from nbhd_webhooks.service import application
from nbhd_webhooks.stripe_api import StripeApi, StripeUnavailableError
from nbhd_webhooks.sync import Sync
from nbhd_webhooks.views import STYLE, STYLE_HASH, money

KEYS = Keyring("link", {"a1": bytes(32)})
Client = TestClient[web.Request, web.Application]


@pytest.fixture
def sync(api: StripeApi, tenants: Any) -> Sync:
    return Sync(api, tenants, platform="nbhd", namespace="tenants", lookup_keys={})


@pytest.fixture
async def client(api: StripeApi, sync: Sync, price: str, now: datetime.datetime) -> AsyncIterator[Client]:
    pages = Pages(
        api,
        sync,
        plans={"basic": price},
        live=False,
        frontend_url="http://127.0.0.1:1234",
        platform="nbhd",
        bot_username="nbhd_bot",
        telegram_link_url="https://t.me",
        link_keys=KEYS,
        clock=lambda: now,
    )
    secrets = [SecretStr("whsec_1")]
    events = EventHandler(
        sync.customer, api.customer_of, secrets=secrets, live=False, clock=lambda: now, metrics=Metrics()
    )
    async with TestClient(TestServer(application(events, pages, "http://127.0.0.1:1234"))) as made:
        yield made


async def see(client: Client, path: str) -> tuple[int, str]:
    async with client.get(path) as response:
        return response.status, await response.text()


async def checkout(client: Client) -> str:
    """Id of the session that the button leads to."""
    async with client.post("/subscribe/basic", allow_redirects=False) as response:
        assert response.status == 303
        return str(re.findall(r"cs_test_\w+", response.headers["Location"])[0])


async def paid(client: Client, world: StripeWorld) -> str:
    """Path that Checkout sends the buyer to."""
    url = urlsplit(await world.pay(await checkout(client)))
    assert f"{url.scheme}://{url.netloc}" == "http://127.0.0.1:1234"
    return f"{url.path}?{url.query}"


def only(tenants: Any) -> Any:
    (tenant,) = tenants.objects.values()
    return tenant


async def test_the_plans_and_their_prices(client: Client) -> None:
    status, page = await see(client, "/")
    assert status == 200
    assert "Basic &lt;b&gt;" in page
    assert "$5 / month" in page
    assert '<form method="post" action="/subscribe/basic">' in page
    assert 'aria-label="Subscribe to Basic &lt;b&gt;"' in page


async def test_every_answer_keeps_to_itself(client: Client) -> None:
    for path in ("/", "/welcome", "/nothing/here"):
        async with client.get(path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; ")
            assert STYLE_HASH in policy
            assert "; img-src data:; " in policy
            assert "form-action 'self' https: http://127.0.0.1:* http://localhost:*;" in policy
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert response.headers["Cache-Control"] == "no-store"
            text = await response.text()
            assert not re.search(r'(src|href)="(https?:)?//(?!t\.me/)', text)
            assert "<script" not in text
    assert "url(" not in STYLE


async def test_addresses_that_are_not_pages_lead_back_to_the_plans(client: Client) -> None:
    for path, wanted in (("/nothing/here", 404), ("/subscribe/basic", 405)):
        status, page = await see(client, path)
        assert (status, "No such page" in page, '<a href="/">' in page) == (wanted, True, True)
    async with client.post("/nothing/here") as response:
        assert (response.status, await response.text()) == (404, "404: Not Found")


async def test_a_plan_that_is_not_sold(client: Client) -> None:
    async with client.post("/subscribe/gold") as response:
        assert response.status == 404


@pytest.mark.parametrize("session", ["", "x", "cs_test_nothere00", "cs_test_%3Cscript%3E", "../v1/customers"])
async def test_nobody_gets_in_without_a_finished_checkout(client: Client, session: str) -> None:
    status, page = await see(client, f"/welcome?session_id={session}")
    assert (status, "t.me" in page, "script" in page) == (404, False, False)


async def test_an_open_checkout_does_not_count(client: Client) -> None:
    assert (await see(client, f"/welcome?session_id={await checkout(client)}"))[0] == 404


async def test_a_checkout_of_another_product_does_not_count(
    client: Client, api: StripeApi, world: StripeWorld, price: str
) -> None:
    urls = {"success_url": "http://127.0.0.1/", "cancel_url": "http://127.0.0.1/"}
    session = await api.create_checkout_session(price_id=price, platform="another", **urls)
    await world.pay(session["id"])
    assert (await see(client, f"/welcome?session_id={session['id']}"))[0] == 404


async def test_the_link_after_payment(client: Client, world: StripeWorld, tenants: Any, now: datetime.datetime) -> None:
    """No event has arrived at all: the buyer's own visit makes the Tenant."""
    status, page = await see(client, await paid(client, world))
    assert status == 200
    customer = only(tenants).spec.billing.customer_id
    spec_id = tenant_id("nbhd", customer)
    link = html.unescape(re.findall(r'href="(https://t\.me/[^"]+)"', page)[0])
    bot, _, token = link.removeprefix("https://t.me/").partition("?start=")
    assert bot == "nbhd_bot"
    read = read_link(KEYS, "nbhd", token, now)
    assert (read.spec_id, read.generation) == (spec_id, 0)
    assert account_code(spec_id) in page
    assert page.index(account_code(spec_id)) < page.index("<svg"), "the code to compare comes before the scanning"
    assert "15 minutes" in page
    assert spec_id not in page
    assert customer not in page


async def test_a_chat_that_is_connected(client: Client, world: StripeWorld, tenants: Any) -> None:
    path = await paid(client, world)
    await see(client, path)
    made = only(tenants)
    telegram = {"chat_id": 42, "user_id": 42, "generation": 3}
    tenants.put(made.metadata.name, billing=made.spec.billing, telegram=telegram)
    status, page = await see(client, path)
    assert (status, "You are connected" in page, "?start=" in page) == (200, True, False)


async def test_a_chat_that_serves_another_subscription(
    client: Client, world: StripeWorld, tenants: Any, now: datetime.datetime
) -> None:
    path = await paid(client, world)
    await see(client, path)
    made = only(tenants)
    name = made.metadata.name
    telegram = {"chat_id": 42, "user_id": 42, "generation": 3}
    linked = tenants.put(name, billing=made.spec.billing, telegram=telegram)
    refused = Condition(
        type="Linked", status="False", observed_generation=1, last_transition_time=now, reason="ChatTaken", message=""
    )
    tenants.objects[name] = linked.model_copy(update={"status": TenantStatus(conditions=(refused,))})
    _, page = await see(client, path)
    assert "already belongs to another subscription" in page
    token = re.findall(r"start=([\w-]+)", page)[0]
    assert read_link(KEYS, "nbhd", token, now).generation == 3


async def test_a_payment_that_is_not_confirmed_yet(client: Client, world: StripeWorld, tenants: Any) -> None:
    path = await paid(client, world)
    (subscription,) = (one for one in world.events if one["type"] == "customer.subscription.created")
    world.transition(subscription["data"]["object"]["id"], "incomplete_expired")
    status, page = await see(client, path)
    assert status == 200
    assert 'http-equiv="refresh"' in page
    assert tenants.objects == {}


async def test_a_subscription_that_ended(client: Client, world: StripeWorld, tenants: Any) -> None:
    path = await paid(client, world)
    await see(client, path)
    made = only(tenants)
    tenants.put(made.metadata.name, billing=made.spec.billing.model_copy(update={"status": "canceled"}))
    _, page = await see(client, path)
    assert "No active subscription" in page
    assert "t.me" not in page


async def test_kubernetes_down(client: Client, world: StripeWorld, tenants: Any) -> None:
    path = await paid(client, world)
    tenants.failure = ApiException(status=500, reason="Internal")
    status, page = await see(client, path)
    assert (status, "One moment" in page, 'http-equiv="refresh"' in page) == (503, True, True)
    tenants.failure = None
    assert (await see(client, path))[0] == 200


async def test_stripe_down(client: Client, api: StripeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(_: str) -> None:
        raise StripeUnavailableError("price: APIConnectionError")

    monkeypatch.setattr(api, "price", down)
    status, page = await see(client, "/")
    assert (status, "One moment" in page, "APIConnectionError" in page) == (503, True, False)


@pytest.mark.parametrize(
    ("amount", "currency", "interval", "text"),
    [
        (500, "usd", "month", "$5 / month"),
        (1250, "eur", "year", "€12.50 / year"),
        (500, "jpy", "month", "500 JPY / month"),
        (999, "chf", None, "9.99 CHF"),
    ],
)
def test_money(amount: int, currency: str, interval: str | None, text: str) -> None:
    assert money(amount, currency, interval) == text
