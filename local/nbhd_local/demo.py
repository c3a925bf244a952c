"""The demo: two subscribers pay, link and chat, their steps interleaved; one leaves and the other chats on.

Every step shows its evidence and checks it; nothing here knows more than a subscriber, kubectl, or Azure's own lists.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from nbhd_crds.client import Meta, Watch, connect
from nbhd_local import life
from nbhd_local.people import Subscriber
from nbhd_local.story import Story
from nbhd_local.waiting import eventually
from nbhd_local.world import World


async def tell(story: Story, world: World) -> None:
    """The whole story. Raises ``StoryError`` at the first step that does not hold."""
    alice = Subscriber.meet(world, "alice", 1001)
    bob = Subscriber.meet(world, "bob", 2002)
    scene = Scene(world, alice)
    story.scene = scene.line
    watching = asyncio.create_task(scene.watch())
    try:
        await _tell(story, world, alice, bob)
    finally:
        watching.cancel()


async def _tell(story: Story, world: World, alice: Subscriber, bob: Subscriber) -> None:
    both = (alice, bob)

    with story.step("Alice and Bob choose a plan on the website and pay on Stripe's page"):
        for person, plan in ((alice, "basic"), (bob, "plus")):
            story.show(f"{person.name}: {plan} → {await person.choose(plan)}")
        await asyncio.gather(alice.pay(), bob.pay())
        for person in both:
            story.show(f"{person.name} is Stripe customer {person.customer_id}")

    with story.step("Stripe's events made two Tenants; their identities, secrets and roles are made at payment"):
        for person in both:
            await world.until(person.tenant, lambda t: _true(t, "SecretsReady"), "SecretsReady")
        await _kubectl(story, world, "get", "tenants")
        inventory = world.azure.inventory()
        _show_azure(story, inventory)
        for person in both:
            story.check(
                life.owned(world, person) == ["identities", "roleAssignments", "secrets"],
                f"{person.name} has an identity, a secret and a role of their own, and no container yet",
            )

    with story.step("Both open the link of the welcome page, confirm in the chat, and write at once"):
        for person in both:
            await person.link()
        await asyncio.gather(
            alice.telegram.send("hello from Alice, the first message"),
            bob.telegram.send("hello from Bob, the first message"),
        )

    with story.step("Their containers are made, start from zero, and answer the messages that waited"):
        await asyncio.gather(*(p.telegram.expect(f"hello from {p.name.title()}", timeout=60) for p in both))
        for person in both:
            await _kubectl(story, world, "wait", "--for=condition=Ready", f"tenant/{person.tenant}", "--timeout=60s")
        await _kubectl(story, world, "get", "tenants", "-o", "wide")
        _show_azure(story, world.azure.inventory())

    with story.step("Both chat at the same time; neither sees a word of the other"):
        for word in ("one", "two", "three"):
            await asyncio.gather(*(p.say(f"{p.name} says {word}") for p in both))
        for person, other in ((alice, bob), (bob, alice)):
            story.show(person.telegram.transcript_text())
            story.check(
                other.name not in " ".join(person.heard).lower(), f"nothing of {other.name} reached {person.name}"
            )

    with story.step("Alice's assistant is told to write to Bob's chat: the router refuses"):
        before = len(bob.telegram.transcript)
        answer = await alice.say(f"send {bob.telegram.id} gotcha", expected="403")
        story.show(answer)
        story.check(len(bob.telegram.transcript) == before, "Bob's chat got nothing")

    with story.step("Bob cancels: his app stops at once, his data is kept until the date in status"):
        world.stripe.cancel(bob.subscription_id)
        await world.until(bob.tenant, lambda t: t is not None and t.status.phase == "Ended", "phase Ended")
        await _kubectl(story, world, "get", "tenants")
        story.check(len(life.owned(world, bob)) == 4, "identity, role, secret and app are kept for thirty days")

    with story.step("Thirty-one days later (the world's clock jumps): all of Bob's is gone, Alice chats on"):
        world.clock.jump(life.RETENTION + life.DAY)
        await eventually(lambda: not life.owned(world, bob), "Bob's Azure resources to go")
        _show_azure(story, world.azure.inventory())
        story.check(life.owned(world, bob) == [], "no identity, role, secret or container of Bob's is left")
        await alice.say("still there?")
        story.check(len(life.owned(world, alice)) == 4, "Alice has all of hers, and an answer")

    with story.step("Bob's ended Tenant is deleted"):
        await _kubectl(story, world, "delete", "tenant", bob.tenant, "--timeout=30s")
        await _kubectl(story, world, "get", "tenants")

    await life.stay(world, alice, lambda title: story.step(f"Alice {title}"))
    story.tell("\n── Alice's chat, as she saw it")
    story.show(alice.telegram.transcript_text())


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""
    reason: str = ""


class _Status(msgspec.Struct):
    phase: str = ""
    conditions: list[_Condition] = []


class _View(msgspec.Struct):
    metadata: Meta
    status: _Status = msgspec.field(default_factory=_Status)


@dataclass
class Scene:
    """What ``kubectl get tenants -w`` would show of one subscriber at any moment."""

    world: World
    person: Subscriber
    tenants: dict[str, _View] = field(default_factory=dict)

    async def watch(self) -> None:
        """Follows the Tenants until cancelled."""
        async with await connect(self.world.cluster.kubeconfig) as api:
            await Watch(
                api,
                _View,
                "tenants",
                namespace=self.world.namespace,
                on_set=lambda found: self.tenants.__setitem__(found.metadata.name, found),
                on_delete=lambda found: self.tenants.__delitem__(found.metadata.name),
            ).run()

    def line(self) -> str:
        """The world's date, the phase, and why."""
        found = self.tenants.get(self.person.tenant) if self.person.customer_id else None
        status = found.status if found else _Status()
        reasons = {condition.type: condition.reason for condition in status.conditions}
        why = " ".join(reasons.get(kind, "-") for kind in ("Reconciling", "BillingCurrent", "Linked", "AppReady"))
        return f"{self.world.clock():%d %b %H:%M}  {status.phase or '-':<12}  {why:<46}"


def _true(tenant: Any, condition: str) -> bool:
    found = tenant.condition(condition) if tenant else None
    return found is not None and found.status == "True"


async def _kubectl(story: Story, world: World, *args: str) -> None:
    story.tell(f"   $ kubectl {' '.join(args)}")
    story.show(await world.kubectl_wait(*args, timeout=90))


def _show_azure(story: Story, inventory: dict[str, Any]) -> None:
    for kind, found in inventory.items():
        names = sorted(str(item) for item in found)
        story.show(f"Azure {kind}: {len(names)}" + "".join(f"\n  {name}" for name in names))
