"""A subscription after its purchase: renewal, failure, cancelling, changes of its items."""

from __future__ import annotations

import datetime

import pytest
import stripe

from nbhd_local.stripe import StripeError, StripeWorld

from .conftest import price_of, session_for


@pytest.fixture
async def bought(world: StripeWorld, client: stripe.StripeClient) -> str:
    session = await session_for(client, await price_of(client))
    await world.pay(session.id)
    return str(world.get(session.id)["subscription"])


def kinds(world: StripeWorld, since: int) -> list[str]:
    return [event["type"] for event in world.events[since:]]


@pytest.mark.usefixtures("bought")
async def test_a_purchase_makes_these_events(world: StripeWorld) -> None:
    assert kinds(world, -8) == [
        "customer.created",
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.updated",
        "checkout.session.completed",
    ]
    created = next(event for event in world.events if event["type"] == "customer.subscription.created")
    updated = next(event for event in world.events if event["type"] == "customer.subscription.updated")
    assert created["data"]["object"]["status"] == "incomplete"
    assert updated["data"]["object"]["status"] == "active"
    assert updated["data"]["previous_attributes"] == {"status": "incomplete", "latest_invoice": None}


async def test_cancelling_at_once_ends_it(world: StripeWorld, client: stripe.StripeClient, bought: str) -> None:
    await client.v1.subscriptions.cancel_async(bought)
    ended = world.get(bought)
    assert (ended["status"], ended["cancellation_details"]["reason"]) == ("canceled", "cancellation_requested")
    assert ended["ended_at"] is not None
    assert kinds(world, -1) == ["customer.subscription.deleted"]
    assert (await client.v1.subscriptions.list_async({"customer": ended["customer"]})).data == []
    everything = await client.v1.subscriptions.list_async({"customer": ended["customer"], "status": "all"})
    assert [found.id for found in everything.data] == [bought]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.subscriptions.cancel_async(bought)
    assert caught.value.http_status == 404
    with pytest.raises(StripeError):
        world.pay_again(bought)


async def test_cancelling_at_period_end_is_planned_taken_back_and_carried_out(
    world: StripeWorld, client: stripe.StripeClient, bought: str
) -> None:
    planned = await client.v1.subscriptions.update_async(bought, {"cancel_at_period_end": True})
    assert planned.status == "active"
    assert planned.cancel_at == planned.items.data[0].current_period_end
    back = await client.v1.subscriptions.update_async(bought, {"cancel_at_period_end": False})
    assert (back.cancel_at, back.cancel_at_period_end) == (None, False)
    world.cancel(bought, at_period_end=True)
    world.end_period(bought)
    assert world.get(bought)["status"] == "canceled"


async def test_a_failed_card_is_past_due_and_paying_again_is_active(world: StripeWorld, bought: str) -> None:
    before = len(world.events)
    world.fail_payment(bought)
    failed = world.get(bought)
    assert failed["status"] == "past_due"
    start = failed["items"]["data"][0]["current_period_start"]
    assert abs(start - datetime.datetime.now(datetime.UTC).timestamp()) < 5
    assert kinds(world, before) == [
        "invoice.created",
        "invoice.finalized",
        "customer.updated",
        "invoice.payment_failed",
        "customer.subscription.updated",
    ]
    world.fail_payment(bought)
    assert world.get(world.get(bought)["latest_invoice"])["attempt_count"] == 2
    assert world.get(bought)["items"]["data"][0]["current_period_start"] == start
    world.pay_again(bought)
    assert world.get(bought)["status"] == "active"
    assert world.get(world.get(bought)["latest_invoice"])["status"] == "paid"


@pytest.mark.parametrize(
    "status", ["past_due", "unpaid", "paused", "trialing", "incomplete", "incomplete_expired", "canceled", "novel"]
)
async def test_every_status_can_be_reached(world: StripeWorld, bought: str, status: str) -> None:
    world.transition(bought, status)
    assert world.get(bought)["status"] == status
    if status not in {"canceled", "incomplete_expired"}:
        world.transition(bought, "active")
        assert world.get(bought)["status"] == "active"


async def test_an_item_moves_to_another_price(world: StripeWorld, client: stripe.StripeClient, bought: str) -> None:
    plus = await price_of(client, lookup_key="plus", amount=2000)
    item = world.get(bought)["items"]["data"][0]
    changed = await client.v1.subscriptions.update_async(bought, {"items": [{"id": item["id"], "price": plus.id}]})
    assert changed.items.data[0].price.lookup_key == "plus"
    previous = world.events[-1]["data"]["previous_attributes"]
    assert previous["items"]["data"][0]["price"]["lookup_key"] == "basic"
    assert world.events[-1]["request"]["id"].startswith("req_")


async def test_deleting_a_customer_ends_their_subscriptions(
    world: StripeWorld, client: stripe.StripeClient, bought: str
) -> None:
    customer = world.get(bought)["customer"]
    await client.v1.customers.delete_async(customer)
    assert world.get(bought)["status"] == "canceled"
    assert kinds(world, -2) == ["customer.subscription.deleted", "customer.deleted"]
    listed = await client.v1.subscriptions.list_async({"customer": customer, "status": "all"})
    assert [found.status for found in listed.data] == ["canceled"]
