"""How one customer's Tenant follows Stripe, with other writers in between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.identity import tenant_id
from nbhd_webhooks.billing import ENTITLED, billing
from nbhd_webhooks.stripe_api import NotInStripeError, StripeUnavailableError
from nbhd_webhooks.sync import Outcome, Sync, UnavailableError

NAME = tenant_id("nbhd", "cus_1")


class FakeStripe:
    """Subscriptions of one customer; ``on_list`` runs after the answer was made, as time passing on the wire."""

    def __init__(self) -> None:
        self.current: list[dict[str, Any]] = []
        self.bills: list[dict[str, Any]] = []
        self.calls = 0
        self.failure: Exception | None = None
        self.on_list: Callable[[], None] = lambda: None
        self.steps: Callable[[], int] = lambda: 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.called = asyncio.Event()

    async def subscriptions(self, customer_id: str) -> list[dict[str, Any]]:
        assert customer_id == "cus_1"
        self.calls += 1
        self.called.set()
        answer = [dict(one) for one in self.current]
        await self.gate.wait()
        for _ in range(self.steps()):
            await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        self.on_list()
        return answer

    async def invoices(self, customer_id: str) -> list[dict[str, Any]]:
        assert customer_id == "cus_1"
        return list(self.bills)


def subscription(status: str = "active", name: str = "sub_1") -> dict[str, Any]:
    return {"id": name, "status": status, "created": 1_790_000_000}


@pytest.fixture
def stripe() -> FakeStripe:
    return FakeStripe()


def make_sync(stripe: FakeStripe, tenants: Any) -> Sync:
    return Sync(stripe, tenants, platform="nbhd", namespace="tenants", lookup_keys={})


@pytest.fixture
def sync(stripe: FakeStripe, tenants: Any) -> Sync:
    return make_sync(stripe, tenants)


def shown(tenants: Any) -> str | None:
    found = tenants.objects[NAME].spec.billing
    return found.status if found else None


@pytest.mark.parametrize("status", ["active", "trialing", "past_due"])
async def test_the_first_event_makes_the_tenant(sync: Sync, stripe: FakeStripe, tenants: Any, status: str) -> None:
    stripe.current = [subscription(status)]
    assert await sync.customer("cus_1") is Outcome.APPLIED
    assert tenants.objects[NAME].spec.id == NAME
    assert shown(tenants) == status
    assert tenants.writes == ["create", "apply billing"]


@pytest.mark.parametrize("status", ["incomplete", "incomplete_expired", "canceled", "unpaid", "paused", "brand_new"])
async def test_nothing_is_made_for_who_does_not_pay(sync: Sync, stripe: FakeStripe, tenants: Any, status: str) -> None:
    stripe.current = [subscription(status)]
    assert await sync.customer("cus_1") is Outcome.NOT_ENTITLED
    assert tenants.objects == {}


async def test_nothing_is_written_when_nothing_changed(sync: Sync, stripe: FakeStripe, tenants: Any) -> None:
    stripe.current = [subscription()]
    await sync.customer("cus_1")
    tenants.writes.clear()
    assert await sync.customer("cus_1") is Outcome.UNCHANGED
    assert tenants.writes == []


async def test_the_end_reaches_the_tenant(sync: Sync, stripe: FakeStripe, tenants: Any) -> None:
    stripe.current = [subscription()]
    await sync.customer("cus_1")
    stripe.current = [subscription("canceled")]
    assert await sync.customer("cus_1") is Outcome.APPLIED
    assert shown(tenants) == "canceled"


async def test_other_parts_of_the_spec_are_left_alone(sync: Sync, stripe: FakeStripe, tenants: Any) -> None:
    tenants.put(NAME, suspended=True, plan_ref={"name": "gold"})
    stripe.current = [subscription()]
    await sync.customer("cus_1")
    assert tenants.objects[NAME].spec.suspended
    assert tenants.objects[NAME].spec.plan_ref.name == "gold"


@pytest.mark.parametrize("moment", ["after our fetch", "before our apply"])
async def test_a_stale_fetch_loses(sync: Sync, stripe: FakeStripe, tenants: Any, moment: str) -> None:
    """Another replica applies newer facts between our fetch and our apply: we start over and agree with it."""
    stripe.current = [subscription()]
    await sync.customer("cus_1")
    stripe.current = [subscription("past_due")]

    def overtaken() -> None:
        tenants.on_apply = stripe.on_list = lambda: None
        stripe.current = [subscription("canceled")]
        tenants.put(NAME, billing=billing("cus_1", stripe.current, {}))

    if moment == "after our fetch":
        stripe.on_list = overtaken
    else:
        tenants.on_apply = overtaken
    assert await sync.customer("cus_1") is Outcome.UNCHANGED
    assert shown(tenants) == "canceled"


async def test_a_stale_apply_that_slips_through_is_put_right(sync: Sync, stripe: FakeStripe, tenants: Any) -> None:
    """Another replica's writes end where they began, so our precondition holds and yet our facts are old."""
    stripe.current = [subscription("past_due")]
    await sync.customer("cus_1")
    stripe.current = [subscription("active")]

    def there_and_back() -> None:
        tenants.on_apply = lambda: None
        for status in ("active", "past_due"):
            stripe.current = [subscription(status)]
            tenants.put(NAME, billing=billing("cus_1", stripe.current, {}))

    tenants.on_apply = there_and_back
    assert await sync.customer("cus_1") is Outcome.APPLIED
    assert shown(tenants) == "past_due"


async def test_a_tenant_that_is_deleted_meanwhile_does_not_come_back(
    sync: Sync, stripe: FakeStripe, tenants: Any
) -> None:
    tenants.put(NAME)
    stripe.current = [subscription()]
    tenants.on_apply = tenants.objects.clear
    assert await sync.customer("cus_1") is Outcome.DELETED
    assert tenants.objects == {}


async def test_a_tenant_that_is_being_deleted_is_left_alone(sync: Sync, stripe: FakeStripe, tenants: Any) -> None:
    stripe.current = [subscription()]
    await sync.customer("cus_1")
    tenants.put(NAME, deleting=True, billing=tenants.objects[NAME].spec.billing)
    stripe.current = [subscription("canceled")]
    tenants.writes.clear()
    assert await sync.customer("cus_1") is Outcome.DELETING
    assert tenants.writes == []


async def test_who_subscribes_again_while_the_old_tenant_goes_gets_a_new_one(
    sync: Sync, stripe: FakeStripe, tenants: Any
) -> None:
    old = billing("cus_1", [subscription("canceled", "sub_old")], {})
    tenants.put(NAME, deleting=True, billing=old)
    stripe.current = [subscription("canceled", "sub_old"), subscription("active", "sub_new")]
    with pytest.raises(UnavailableError):
        await sync.customer("cus_1")
    tenants.objects.clear()
    assert await sync.customer("cus_1") is Outcome.APPLIED


async def test_a_name_that_belongs_to_somebody_else_is_not_touched(
    sync: Sync, stripe: FakeStripe, tenants: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tenants.put(NAME, id="somebodyelse")
    stripe.current = [subscription()]
    assert await sync.customer("cus_1") is Outcome.NAME_TAKEN
    assert tenants.writes == []
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert await sync.tenant("cus_1") is None


@pytest.mark.parametrize("customer", ["", "cus_", "cus_1/../x", "acct_1", "cus_" + "1" * 300])
async def test_a_customer_id_of_another_form_is_not_ours(sync: Sync, stripe: FakeStripe, customer: str) -> None:
    assert await sync.customer(customer) is Outcome.UNKNOWN_CUSTOMER
    assert stripe.calls == 0


async def test_a_customer_that_stripe_does_not_know_ends_nothing(sync: Sync, stripe: FakeStripe, tenants: Any) -> None:
    stripe.current = [subscription()]
    await sync.customer("cus_1")
    stripe.failure = NotInStripeError("list")
    assert await sync.customer("cus_1") is Outcome.UNKNOWN_CUSTOMER
    assert shown(tenants) == "active"


@pytest.mark.parametrize(
    "failure",
    [ApiException(status=500, reason="Internal"), aiohttp.ClientConnectionError("down"), TimeoutError(), OSError(111)],
)
async def test_kubernetes_down(sync: Sync, stripe: FakeStripe, tenants: Any, failure: Exception) -> None:
    stripe.current = [subscription()]
    tenants.failure = failure
    with pytest.raises(UnavailableError, match="Kubernetes"):
        await sync.customer("cus_1")
    tenants.failure = None
    assert await sync.customer("cus_1") is Outcome.APPLIED


async def test_stripe_down(sync: Sync, stripe: FakeStripe) -> None:
    stripe.failure = StripeUnavailableError("list: APIConnectionError")
    with pytest.raises(UnavailableError, match="Stripe"):
        await sync.customer("cus_1")


async def test_a_tenant_that_never_rests_is_left_to_the_next_try(sync: Sync, stripe: FakeStripe, tenants: Any) -> None:
    tenants.put(NAME)
    stripe.current = [subscription()]
    endings = iter(range(100))
    tenants.on_apply = lambda: tenants.put(NAME, billing=billing("cus_1", [subscription(f"s{next(endings)}")], {}))
    with pytest.raises(UnavailableError, match="kept changing"):
        await sync.customer("cus_1")


async def test_calls_for_one_customer_share_runs(sync: Sync, stripe: FakeStripe) -> None:
    """Those that came during a run get a run of their own, one for all of them: it sees what happened since."""
    stripe.gate.clear()
    first = asyncio.create_task(sync.customer("cus_1"))
    await stripe.called.wait()
    late = [asyncio.create_task(sync.customer("cus_1")) for _ in range(50)]
    await asyncio.sleep(0)
    stripe.current = [subscription()]
    stripe.gate.set()
    assert await first is Outcome.NOT_ENTITLED
    assert {await one for one in late} == {Outcome.APPLIED}
    assert stripe.calls == 4  # the first; then one that creates, one that applies, one that finds both sides agree
    assert sync._queues == {}


async def test_a_caller_who_gives_up_does_not_take_the_others_along(sync: Sync, stripe: FakeStripe) -> None:
    stripe.gate.clear()
    stripe.current = [subscription()]
    first = asyncio.create_task(sync.customer("cus_1"))
    await stripe.called.wait()
    second = asyncio.create_task(sync.customer("cus_1"))
    await asyncio.sleep(0)
    first.cancel()
    stripe.gate.set()
    assert await second is Outcome.APPLIED


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(["active", "past_due", "canceled", "trialing", "unpaid"]), max_size=8),
    st.randoms(use_true_random=True),
)
def test_replicas_agree_with_stripe_in_the_end(
    new_tenants: Callable[[], Any], statuses: list[str], chance: random.Random
) -> None:
    """Any history, handled by three replicas with events at any moment and in any order: the last state wins."""

    async def story() -> None:
        tenants, stripe = new_tenants(), FakeStripe()
        tenants.steps = stripe.steps = lambda: chance.randrange(4)
        replicas = [make_sync(stripe, tenants) for _ in range(3)]
        stripe.current = [subscription()]
        pending = [asyncio.create_task(replicas[0].customer("cus_1"))]
        for status in statuses:
            stripe.current = [subscription(status)]
            pending += [asyncio.create_task(chance.choice(replicas).customer("cus_1")) for _ in range(2)]
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
        for result in await asyncio.gather(*pending, return_exceptions=True):
            if isinstance(result, UnavailableError):  # Stripe sends it again
                await replicas[1].customer("cus_1")
            else:
                assert isinstance(result, Outcome)
        last = billing("cus_1", stripe.current, {})
        made = tenants.objects.get(NAME)
        if made is None:
            assert last.status not in ENTITLED
        else:
            assert made.spec.billing == last

    asyncio.run(story())
