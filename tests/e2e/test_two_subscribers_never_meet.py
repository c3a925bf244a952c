"""Two subscribers, messages interleaved, on real sockets: neither receives, sees or can send the other's."""

from __future__ import annotations

import asyncio

import aiohttp

from nbhd_crds.identity import Keyring, bot_token, mint_link
from nbhd_local.people import Subscriber
from nbhd_local.waiting import eventually
from nbhd_local.wiring import BOT_ID, BOT_USERNAME, PLATFORM
from nbhd_local.world import World
from tests.e2e.conftest import StartWorld


async def two(world: World) -> tuple[Subscriber, Subscriber]:
    alice, bob = Subscriber.meet(world, "alice", 1001), Subscriber.meet(world, "bob", 2002)
    await asyncio.gather(alice.choose("basic"), bob.choose("plus"))
    await asyncio.gather(alice.pay(), bob.pay())
    await asyncio.gather(alice.link(), bob.link())
    return alice, bob


def heard(person: Subscriber) -> str:
    return "\n".join(person.heard)


async def test_two_subscribers_never_meet(start_world: StartWorld) -> None:
    async with start_world() as world:
        alice, bob = await two(world)
        for number in range(5):
            await asyncio.gather(*(p.say(f"{p.name} line {number}") for p in (alice, bob)))
        assert "bob" not in heard(alice)
        assert "alice" not in heard(bob)

        # The agent inside tries to reach the neighbour through the Bot API.
        before = len(bob.telegram.transcript)
        assert "403" in await alice.say(f"send {bob.telegram.id} gotcha", expected="403")
        # It prints all that its container holds: none of it is anything of the platform or of the neighbour.
        environment = await alice.say("env", expected="TELEGRAM_BOT_TOKEN")
        for secret in world.secrets.all():
            assert secret not in environment
        # With Alice's stand-in token, Bob's root answers nothing; with Bob's id in the path neither.
        ring = Keyring.parse("bot", world.secrets.keyrings["BOT"])
        alices = bot_token(ring, BOT_ID, PLATFORM, alice.tenant, 1)
        egress = world.egress_url
        async with aiohttp.ClientSession() as session:
            url = f"{egress}/{bob.tenant}/bot{alices}/sendMessage"
            async with session.post(url, json={"chat_id": bob.telegram.id, "text": "gotcha"}) as answer:
                assert answer.status == 401
        assert len(bob.telegram.transcript) == before


async def test_a_reused_name_inherits_nothing(start_world: StartWorld) -> None:
    async with start_world() as world:
        alice, bob = await two(world)
        await asyncio.gather(alice.say("alice's secret"), bob.say("bob is here"))
        token = bot_token(Keyring.parse("bot", world.secrets.keyrings["BOT"]), BOT_ID, PLATFORM, alice.tenant, 1)
        first_app = f"nbhd-{alice.tenant}"
        world.stripe.cancel(alice.subscription_id)
        await world.until(alice.tenant, lambda t: t is not None and t.status.phase == "Ended", "Ended")
        await world.kubectl_wait("delete", "tenant", alice.tenant, "--timeout=60s", timeout=70)

        # A third person takes the Kubernetes name under another id.
        await asyncio.to_thread(
            world.cluster.apply,
            {
                "apiVersion": "nbhd.united/v1alpha1",
                "kind": "Tenant",
                "metadata": {"name": alice.tenant},
                "spec": {"id": "thirdperson01", "complimentary": True, "planRef": {"name": "basic"}},
            },
            namespace=world.namespace,
        )
        carol = Subscriber.meet(world, "carol", 3003)
        await carol.confirm(mint(world, "thirdperson01"))
        answer = await carol.say("what do you know?")
        assert "alice" not in answer
        inventory = world.azure.inventory()
        assert first_app not in str({kind: found for kind, found in inventory.items() if kind != "deletedSecrets"})
        egress = world.egress_url
        async with aiohttp.ClientSession() as session:
            for spec_id in (alice.tenant, "thirdperson01"):
                body = {"chat_id": 3003, "text": "gotcha"}
                async with session.post(f"{egress}/{spec_id}/bot{token}/sendMessage", json=body) as response:
                    assert response.status == 401
        # Alice, not linked any more, reaches nobody's container.
        await alice.telegram.send("hello?")
        await alice.telegram.expect(world.frontend_url)
        await eventually(lambda: "hello?" not in heard(carol), "Carol to hear nothing of Alice")


def mint(world: World, spec_id: str) -> str:
    """What ``kubectl nbhd link`` prints."""
    ring = Keyring.parse("link", world.secrets.keyrings["LINK"])
    token = mint_link(ring, PLATFORM, spec_id, 0, world.clock())
    return f"https://t.me/{BOT_USERNAME}?start={token}"
