"""Each service is killed once at its worst moment; the story ends the same."""

from __future__ import annotations

from nbhd_local.people import Subscriber
from nbhd_local.waiting import eventually
from tests.e2e.conftest import StartWorld


async def test_the_router_dies_with_spooled_messages(start_world: StartWorld) -> None:
    async with start_world() as world:
        alice = Subscriber.meet(world, "alice", 1001)
        await alice.subscribe()
        # The container is still being made: these wait in the spool.
        for number in range(3):
            await alice.telegram.send(f"spooled {number}")
        await eventually(lambda: not world.telegram.pending, "the router to take all updates")
        await world.router.kill()
        await world.router.start()
        await alice.telegram.expect("spooled 2", timeout=60)
        answers = [text for text in alice.heard if "spooled" in text]
        positions = [next(i for i, text in enumerate(answers) if f"spooled {n}" in text) for n in range(3)]
        assert positions == sorted(positions)
        assert sum(text.count("spooled 1") for text in answers) == 1


async def test_the_operator_dies_between_two_azure_calls(start_world: StartWorld) -> None:
    async with start_world() as world:
        alice = Subscriber.meet(world, "alice", 1001)
        await alice.choose("basic")
        held = world.azure.traffic.hold("PUT", r"/roleAssignments/")
        await alice.pay()
        await held.reached()  # identity and secret exist, the role is being asked for
        await world.operator.kill()
        held.drop()
        await world.operator.start()
        await alice.link()
        await alice.say("hello after the crash")
        inventory = world.azure.inventory()
        assert [name for name in inventory["identities"] if alice.tenant in name] == [f"nbhd-{alice.tenant}"]
        scopes = [held["scope"] for held in inventory["roleAssignments"].values()]
        assert len([scope for scope in scopes if alice.tenant in scope]) == 1


async def test_webhooks_dies_between_fetch_and_apply(start_world: StartWorld) -> None:
    async with start_world() as world:
        alice = Subscriber.meet(world, "alice", 1001)
        await alice.choose("basic")
        held = world.stripe.traffic.hold("GET", r"^/v1/subscriptions", after_commit=True)
        await alice.pay()
        await held.reached()
        await world.webhooks.kill()
        held.drop()
        assert await world.tenant(alice.tenant) is None
        await world.webhooks.start()
        await alice.link()
        await alice.say("hello after the crash")
        assert len(await world.tenants.list(world.namespace)) == 1
