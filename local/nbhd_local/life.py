"""The whole life of one subscription, on a clock that the story moves: the demo tells it, the fault tests disturb it.

Each chapter waits for what a subscriber or an operator would see, never for a time, so it tells the same story however
often a service dies in it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import AbstractContextManager

from nbhd_crds.api import Tenant
from nbhd_local.people import Subscriber
from nbhd_local.waiting import eventually
from nbhd_local.world import World, stripe_client

Chapter = Callable[[str], AbstractContextManager[None]]
DAY = datetime.timedelta(days=1)
GRACE, RETENTION = 7 * DAY, 30 * DAY  # the plans' defaults


async def live(world: World, person: Subscriber, chapter: Chapter) -> None:
    """From the first payment to the last deletion, and back."""
    await join(world, person, chapter)
    await stay(world, person, chapter)


async def join(world: World, person: Subscriber, chapter: Chapter) -> None:
    """Pays, connects the chat, writes."""
    with chapter("pays on the website"):
        await person.choose("basic")
        await person.pay()
        await _until(world, person, "AwaitingLink", secrets=True)
    with chapter("connects the chat and writes"):
        await person.link()
        await person.say("hello")
        await _until(world, person, "Ready")


async def stay(world: World, person: Subscriber, chapter: Chapter) -> None:
    """Sleep, lapse, return, another plan, the end, and coming back."""
    with chapter("says nothing for a while; the app sleeps, and wakes with the next message"):
        await sleep(world, person)
        await person.say("good morning")
    with chapter("has a card that fails: service goes on, the chat says so once"):
        world.stripe.fail_payment(person.subscription_id)
        await person.telegram.expect("needs your attention", timeout=60)
        await person.say("still there?")
    with chapter("does nothing for eight days: service stops without an event, nothing is deleted"):
        world.clock.jump(GRACE + DAY)
        await _until(world, person, "Suspended")
        await person.telegram.expect("is paused now", timeout=60)
        await person.telegram.send("anybody?")
        await person.telegram.expect("was not delivered", timeout=60)
    with chapter("pays again: works as before"):
        world.stripe.pay_again(person.subscription_id)
        await _until(world, person, "Ready")
        await person.telegram.expect("works again", timeout=60)
        await person.say("back again")
    with chapter("moves to Plus: more resources, no message lost"):
        await change_plan(world, person, "plus")
        await person.say("bigger now")
        await _until(world, person, "Ready", plan="plus")
    with chapter("plans the end: the chat names the day, service goes on"):
        world.stripe.cancel(person.subscription_id, at_period_end=True)
        await person.telegram.expect("set to end on", timeout=60)
        await person.say("until then")
    with chapter("comes to the end of the period: the app stops, everything is kept until the date in status"):
        world.clock.jump(period_left(world, person) + datetime.timedelta(hours=1))
        await _until(world, person, "Ended")  # no event was needed; Stripe's only fixes the date
        world.stripe.end_period(person.subscription_id)
        await person.telegram.expect("Its data is kept until", timeout=60)
        await person.telegram.send("one more question")
        await person.telegram.expect("account is closed", timeout=60)
        check(len(owned(world, person)) == 4, "identity, role, secret and app are still there")
    with chapter("is past the retention: everything is gone from Azure"):
        world.clock.jump(RETENTION + DAY)
        await eventually(lambda: not owned(world, person), "all of it to go", 60)
        name = f"nbhd-{person.tenant}"
        await eventually(
            lambda: name in world.azure.inventory()["deletedSecrets"],
            "the secret to be soft-deleted, as Azure does it in its own time",
            60,
        )
    with chapter("comes back: a new subscription of the same customer, the same assistant's identity"):
        await person.return_to("basic")
        await person.telegram.expect("Welcome back", timeout=60)
        await person.say("hello again")
        await _until(world, person, "Ready", plan="basic")


async def sleep(world: World, person: Subscriber) -> None:
    """Lets the cooldown pass and waits until the app has no replica."""
    world.clock.jump(datetime.timedelta(seconds=90))
    runtime = world.azure.runtime
    check(runtime is not None, "containers run")
    if runtime is not None:
        await eventually(lambda: runtime.replica_state(f"nbhd-{person.tenant}") is None, "the app to sleep", 60)


async def change_plan(world: World, person: Subscriber, plan: str) -> None:
    """What Stripe's customer portal does."""
    async with stripe_client(world.stripe, world.authority) as client:
        (subscription,) = [s for s in world.stripe.subscriptions(person.customer_id) if s["status"] != "canceled"]
        item = subscription["items"]["data"][0]["id"]
        change = {"items": [{"id": item, "price": world.prices[plan]}], "proration_behavior": "none"}
        await client.v1.subscriptions.update_async(subscription["id"], change)  # type: ignore[arg-type] # a TypedDict


def period_left(world: World, person: Subscriber) -> datetime.timedelta:
    """Until the end of the paid period."""
    subscription = world.stripe.get(person.subscription_id)
    end = subscription["items"]["data"][0]["current_period_end"]
    return datetime.datetime.fromtimestamp(end, datetime.UTC) - world.clock()


def owned(world: World, person: Subscriber) -> list[str]:
    """Kinds of live Azure resources that are the tenant's."""
    name = f"nbhd-{person.tenant}"
    return sorted(k for k, found in world.azure.inventory().items() if k != "deletedSecrets" and name in str(found))


def check(holds: bool, claim: str) -> None:
    """Raises ``AssertionError`` with the claim unless it holds."""
    if not holds:
        raise AssertionError(f"it does not hold that {claim}")


async def _until(
    world: World, person: Subscriber, phase: str, *, plan: str | None = None, secrets: bool = False
) -> None:
    def holds(tenant: Tenant | None) -> bool:
        if tenant is None or tenant.status.phase != phase or plan not in (None, tenant.status.plan):
            return False
        conditions = {condition.type: condition.status for condition in tenant.status.conditions}
        if conditions.get("Reconciling") == "True":
            return False
        return not secrets or conditions.get("SecretsReady") == "True"

    await world.until(person.tenant, holds, f"phase {phase}")
