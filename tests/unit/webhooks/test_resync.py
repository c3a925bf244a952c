"""What no event told us is found: undelivered events, and a look at all subscriptions."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest
from aiohttp import ClientConnectionError

from nbhd_local.stripe import DeliveryPolicy, StripeWorld
from nbhd_local.waiting import eventually
from nbhd_webhooks.metrics import Metrics
from nbhd_webhooks.resync import Resync
from nbhd_webhooks.stripe_api import StripeApi, StripeUnavailableError
from nbhd_webhooks.sync import Sync


@pytest.fixture
def sync(api: StripeApi, tenants: Any) -> Sync:
    return Sync(api, tenants, platform="nbhd", namespace="tenants", lookup_keys={})


@pytest.fixture
def resync(sync: Sync, api: StripeApi, metrics: Metrics) -> Resync:
    return Resync(
        sync,
        api,
        lookup_keys={},
        every=datetime.timedelta(milliseconds=1),
        clock=lambda: datetime.datetime.now(datetime.UTC),
        metrics=metrics,
    )


async def buy(api: StripeApi, world: StripeWorld, price: str) -> str:
    urls = {"success_url": "http://127.0.0.1/welcome", "cancel_url": "http://127.0.0.1/"}
    session = await api.create_checkout_session(price_id=price, platform="nbhd", **urls)
    await world.pay(session["id"])
    return str(world.get(session["id"])["subscription"])


def statuses(tenants: Any) -> list[str]:
    return sorted(tenant.spec.billing.status for tenant in tenants.objects.values())


async def test_events_that_were_never_sent(
    resync: Resync, api: StripeApi, world: StripeWorld, price: str, tenants: Any
) -> None:
    world.webhook_url = "http://127.0.0.1:1/"
    world.policy = DeliveryPolicy(drop=1)
    await buy(api, world, price)
    subscription = await buy(api, world, price)
    await resync.undelivered()
    assert statuses(tenants) == ["active", "active"]
    world.cancel(subscription)
    await resync.undelivered()
    assert statuses(tenants) == ["active", "canceled"]


async def test_a_sweep_finds_what_has_no_event_and_writes_nothing_else(
    resync: Resync, api: StripeApi, world: StripeWorld, price: str, tenants: Any
) -> None:
    subscription = await buy(api, world, price)
    await buy(api, world, price)
    await resync.sweep()
    assert statuses(tenants) == ["active", "active"]
    world.fail_payment(subscription)
    tenants.writes.clear()
    await resync.sweep()
    assert statuses(tenants) == ["active", "past_due"]
    await resync.sweep()
    assert tenants.writes == ["apply billing"]


async def test_grace_keeps_its_start_when_the_next_period_is_not_paid_either(
    resync: Resync, sync: Sync, api: StripeApi, world: Any, price: str, tenants: Any
) -> None:
    subscription = await buy(api, world, price)
    world.fail_payment(subscription)
    await resync.sweep()
    (tenant,) = tenants.objects.values()
    since = tenant.spec.billing.grace_since
    world.clock_moves(datetime.timedelta(days=31))
    world.end_period(subscription, card_works=False)
    await resync.sweep()
    (tenant,) = tenants.objects.values()
    assert tenant.spec.billing.grace_since == since
    assert tenant.spec.billing.current_period_end > since + datetime.timedelta(days=50)
    world.pay_again(subscription)
    await sync.customer(tenant.spec.billing.customer_id)
    world.end_period(subscription, card_works=False)
    await sync.customer(tenant.spec.billing.customer_id)
    (tenant,) = tenants.objects.values()
    assert tenant.spec.billing.grace_since > since + datetime.timedelta(days=30)


async def test_an_api_server_that_is_away_is_one_line_of_the_log(
    resync: Resync, tenants: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tenants.failure = ClientConnectionError()
    running = asyncio.create_task(resync.run())
    await eventually(lambda: len(caplog.records) > 1, "two passes", every=0.005)
    running.cancel()
    assert {record.message for record in caplog.records} == {"resync failed"}
    assert not any(record.exc_info for record in caplog.records)


async def test_one_failing_customer_does_not_stop_the_others(
    resync: Resync, api: StripeApi, world: StripeWorld, price: str, tenants: Any
) -> None:
    await buy(api, world, price)
    await buy(api, world, price)
    await resync.sweep()
    first, _ = sorted(tenants.objects.values(), key=lambda t: t.spec.billing.customer_id)
    _resubscribe(tenants, first)
    tenants.objects = {name: tenant for name, tenant in tenants.objects.items() if tenant.deleting}
    await resync.sweep()
    assert statuses(tenants) == ["active", "canceled"]


def _resubscribe(tenants: Any, tenant: Any) -> None:
    """Its Tenant is still being deleted for an older subscription, which a sync cannot finish."""
    old = tenant.spec.billing.model_copy(update={"status": "canceled", "subscription_id": "sub_old"})
    tenants.put(tenant.metadata.name, deleting=True, billing=old)


async def test_a_failing_pass_is_followed_by_the_next(resync: Resync, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = asyncio.Queue[None]()

    async def undelivered() -> None:
        passes.put_nowait(None)
        raise StripeUnavailableError("down") if passes.qsize() == 1 else KeyError("data")

    monkeypatch.setattr(resync, "undelivered", undelivered)
    running = asyncio.create_task(resync.run())
    async with asyncio.timeout(10):
        for _ in range(3):
            await passes.get()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
