"""A Checkout session from creation to payment: by driver, and by the page that a browser shows."""

from __future__ import annotations

import datetime

import aiohttp
import pytest
import stripe

from nbhd_local.stripe import CheckoutClosedError, StripeWorld

from .conftest import price_of, running, session_for


async def test_paying_makes_a_customer_an_active_subscription_and_a_paid_invoice(
    world: StripeWorld, client: stripe.StripeClient
) -> None:
    price = await price_of(client)
    session = await session_for(
        client, price, client_reference_id="t1", subscription_data={"metadata": {"tenant_id": "t1"}}
    )
    assert (session.status, session.payment_status, session.customer) == ("open", "unpaid", None)
    assert session.url is not None

    target = await world.pay(session.id, email="ada@example.test")
    assert target == f"http://127.0.0.1:9/welcome?session={session.id}"

    done = await client.v1.checkout.sessions.retrieve_async(
        session.id, {"expand": ["customer", "subscription.latest_invoice", "line_items"]}
    )
    assert (done.status, done.payment_status, done.client_reference_id) == ("complete", "paid", "t1")
    assert isinstance(done.customer, stripe.Customer)
    assert done.customer.email == "ada@example.test"
    assert isinstance(done.subscription, stripe.Subscription)
    assert done.subscription.status == "active"
    assert done.subscription.metadata.to_dict() == {"tenant_id": "t1"}
    assert isinstance(done.subscription.latest_invoice, stripe.Invoice)
    invoice = done.subscription.latest_invoice
    assert (invoice.status, invoice.amount_paid, invoice.billing_reason) == ("paid", 500, "subscription_create")
    assert invoice.parent is not None
    assert invoice.parent.subscription_details is not None
    assert invoice.parent.subscription_details.subscription == done.subscription.id
    assert done.line_items is not None
    assert done.line_items.data[0].price is not None
    assert done.line_items.data[0].price.id == price.id
    item = done.subscription.items.data[0]
    assert item.price.lookup_key == "basic"
    assert item.current_period_end - item.current_period_start in {days * 86400 for days in (28, 29, 30, 31)}
    assert "current_period_end" not in done.subscription.to_dict()

    with pytest.raises(CheckoutClosedError):
        await world.pay(session.id)


async def test_a_session_for_a_known_customer_uses_that_customer(
    world: StripeWorld, client: stripe.StripeClient
) -> None:
    price = await price_of(client)
    customer = await client.v1.customers.create_async({"metadata": {"tenant_id": "t1"}})
    session = await session_for(client, price, customer=customer.id)
    await world.pay(session.id, email="late@example.test")
    listed = await client.v1.subscriptions.list_async({"customer": customer.id, "status": "all"})
    assert len(listed.data) == 1
    assert len((await client.v1.customers.list_async()).data) == 1
    assert world.get(customer.id)["email"] == "late@example.test"


async def test_the_page_shows_the_price_takes_a_declined_card_and_then_a_good_one(
    world: StripeWorld, client: stripe.StripeClient
) -> None:
    session = await session_for(client, await price_of(client))
    assert session.url is not None
    async with aiohttp.ClientSession() as browser:
        async with browser.get(session.url) as response:
            page = await response.text()
            assert response.status == 200
            assert "Assistant basic" in page
            assert "$5.00" in page
        declined = {"email": "bo@example.test", "card": "declined"}
        async with browser.post(session.url, data=declined, allow_redirects=False) as response:
            page = await response.text()
            assert response.status == 402
            assert "declined" in page
            assert 'value="bo@example.test"' in page
        assert world.get(session.id)["status"] == "open"
        works = {"email": "bo@example.test", "card": "works"}
        async with browser.post(session.url, data=works, allow_redirects=False) as response:
            assert response.status == 303
            assert response.headers["Location"] == f"http://127.0.0.1:9/welcome?session={session.id}"
        async with browser.post(session.url, data=works, allow_redirects=False) as response:
            assert response.status == 200
            assert "all done here" in await response.text()
        async with browser.get(f"{world.pages_url}/c/pay/cs_test_none") as response:
            assert response.status == 404
    assert len((await client.v1.subscriptions.list_async()).data) == 1


async def test_an_old_session_expires() -> None:
    moment = datetime.datetime.now(datetime.UTC)
    async with running(clock=lambda: moment) as (world, client):
        session = await session_for(client, await price_of(client))
        moment += datetime.timedelta(hours=25)
        assert (await client.v1.checkout.sessions.retrieve_async(session.id)).status == "expired"
        with pytest.raises(CheckoutClosedError):
            await world.pay(session.id)
        assert world.events[-1]["type"] == "checkout.session.expired"


async def test_the_dashboard_lists_subscriptions_and_its_buttons_act(
    world: StripeWorld, client: stripe.StripeClient
) -> None:
    session = await session_for(client, await price_of(client))
    await world.pay(session.id, email="<b>@example.test")
    subscription = world.get(session.id)["subscription"]
    async with aiohttp.ClientSession() as browser:
        async with browser.get(world.pages_url) as response:
            assert "&lt;b&gt;@example.test" in await response.text()
        for action, status in (("fail_payment", "past_due"), ("pay_again", "active"), ("cancel", "canceled")):
            async with browser.post(f"{world.pages_url}/subscriptions/{subscription}/{action}") as response:
                assert response.status == 200
            assert world.get(subscription)["status"] == status
