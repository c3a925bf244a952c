"""Our calls to Stripe against the local Stripe: pages of a list, thin events' objects, and failures of every kind."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from nbhd_local.stripe import StripeWorld
from nbhd_local.web import serve
from nbhd_webhooks.metrics import Metrics
from nbhd_webhooks.stripe_api import NotInStripeError, StripeApi, StripeUnavailableError, open_stripe


async def buy(api: StripeApi, world: StripeWorld, price: str) -> dict[str, Any]:
    urls = {"success_url": "http://127.0.0.1/welcome", "cancel_url": "http://127.0.0.1/"}
    made = await api.create_checkout_session(price_id=price, platform="nbhd", **urls)
    await world.pay(made["id"])
    return await api.checkout_session(made["id"])


async def test_a_bought_subscription(api: StripeApi, world: StripeWorld, price: str) -> None:
    session = await buy(api, world, price)
    assert session["metadata"] == {"nbhd-platform": "nbhd"}
    (found,) = await api.subscriptions(session["customer"])
    assert found["status"] == "active"
    assert found["items"]["data"][0]["price"]["lookup_key"] == "nbhd-basic"
    assert (await api.price(price))["product"]["name"] == "Basic <b>"


async def test_ended_subscriptions_are_listed_too(api: StripeApi, world: StripeWorld, price: str) -> None:
    session = await buy(api, world, price)
    world.cancel(session["subscription"])
    assert [one["status"] for one in await api.subscriptions(session["customer"])] == ["canceled"]


async def test_lists_of_several_pages_are_complete(
    api: StripeApi, world: StripeWorld, price: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nbhd_webhooks.stripe_api._PAGE", 2)
    bought = {(await buy(api, world, price))["subscription"] for _ in range(5)}
    assert {one["id"] async for one in api.all_subscriptions()} == bought


async def test_whom_a_thin_event_is_about(api: StripeApi, world: StripeWorld, price: str) -> None:
    session = await buy(api, world, price)
    customer = session["customer"]
    invoice = world.get(session["subscription"])["latest_invoice"]
    assert await api.customer_of("customer", customer) == customer
    assert await api.customer_of("subscription", session["subscription"]) == customer
    assert await api.customer_of("invoice", invoice) == customer
    assert await api.customer_of("checkout.session", session["id"]) == customer
    assert await api.customer_of("charge", "ch_1") is None
    with pytest.raises(NotInStripeError):
        await api.customer_of("subscription", "sub_nothere")


async def test_events_that_nobody_accepted(api: StripeApi, world: StripeWorld, price: str) -> None:
    world.webhook_url = "http://127.0.0.1:1/nobody/listens"
    session = await buy(api, world, price)
    found = [one async for one in api.undelivered_events(("customer.subscription.created", "invoice.paid"), 0)]
    assert {one["type"] for one in found} == {"customer.subscription.created", "invoice.paid"}
    assert {one["data"]["object"]["customer"] for one in found} == {session["customer"]}


async def test_what_stripe_does_not_have(api: StripeApi) -> None:
    with pytest.raises(NotInStripeError):
        await api.checkout_session("cs_test_nothere00")
    with pytest.raises(NotInStripeError):
        await api.subscriptions("cus_nothere")


async def test_a_refused_key_is_a_failure_and_is_not_shown(
    world: StripeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = "sk_test_wrongwrongwrong"
    async with open_stripe(world.api_url, SecretStr(key), Metrics()) as api:
        with pytest.raises(StripeUnavailableError) as caught:
            await api.subscriptions("cus_1")
    assert key not in str(caught.value)
    assert key not in "".join(str(vars(record)) for record in caplog.records)


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"object": "list", "da')
    if request.transport:
        request.transport.close()
    return response


async def _broken(_: web.Request) -> web.Response:
    return web.Response(status=500, text="<html>oops</html>")


async def _busy(_: web.Request) -> web.Response:
    return web.json_response({"error": {"type": "rate_limit_error", "message": "slow down"}}, status=429)


async def _not_json(_: web.Request) -> web.Response:
    return web.Response(text="<html>a captive portal</html>")


async def _silent(request: web.Request) -> web.StreamResponse:
    if request.transport:
        request.transport.close()
    return web.Response()


@pytest.mark.parametrize("handler", [_cut, _broken, _busy, _not_json, _silent])
async def test_every_failure_is_one_of_ours(handler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stripe.AIOHTTPClient._sleep_time_seconds", lambda *_: 0)
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    async with serve(app) as url, open_stripe(url, SecretStr("sk_test_1"), Metrics()) as api:
        with pytest.raises(StripeUnavailableError):
            await api.subscriptions("cus_1")


async def test_a_slow_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbhd_webhooks.stripe_api._TIMEOUT", 0.05)
    monkeypatch.setattr("nbhd_webhooks.stripe_api._RETRIES", 0)
    app = web.Application()

    async def never(request: web.Request) -> web.Response:
        await request.content.read()
        await asyncio.Event().wait()
        return web.Response()

    app.router.add_route("*", "/{tail:.*}", never)
    async with serve(app) as url, open_stripe(url, SecretStr("sk_test_1"), Metrics()) as api:
        with pytest.raises(StripeUnavailableError):
            await api.subscriptions("cus_1")
