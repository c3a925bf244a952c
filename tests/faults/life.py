"""Living one life while a service is killed at a point, and what is left at its end, without what may differ."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

from nbhd_local.life import live
from nbhd_local.people import Subscriber
from nbhd_local.services import ServiceError
from nbhd_local.world import World
from tests.faults.points import Point, gate

# Notes that the router sends only when something takes long, as it does while a service is dead.
ABOUT_WAITING = ("is being set up. Your message is kept", "was asleep and is waking up")


@contextlib.contextmanager
def quietly(_: str) -> Iterator[None]:
    """A chapter that nobody listens to."""
    yield


async def lived(world: World, point: Point | None) -> dict[str, Any]:
    """Lives the life, with one kill, and returns the end state."""
    alice = Subscriber.meet(world, "alice", 1001)
    if point is None:
        await live(world, alice, quietly)
    else:
        killer = asyncio.create_task(kill(world, point))
        story = asyncio.create_task(live(world, alice, quietly))
        done, _ = await asyncio.wait((killer, story), return_when=asyncio.FIRST_EXCEPTION)
        for task in (killer, story):
            if task not in done:
                task.cancel()
        await asyncio.gather(killer, story)
    return await end_state(world, alice)


async def kill(world: World, point: Point) -> None:
    """Waits until the service is at the point, kills it there, and starts it again."""
    effect, service = point.effect, world.services[point.effect.service]
    held = gate(world, effect.gate).hold(effect.method, effect.path, nth=effect.nth, after_commit=point.when == "after")
    starting: asyncio.Task[None] | None = None
    if effect.at_start:
        await service.kill()
        starting = asyncio.create_task(service.start())
    await held.reached(timeout=200)
    await service.kill()
    held.drop()
    if starting:
        with contextlib.suppress(ServiceError):
            await starting
    await service.start()


async def end_state(world: World, person: Subscriber) -> dict[str, Any]:
    """The Tenant, Azure and the chat, in words that do not differ from run to run."""
    tenant = await world.tenant(person.tenant)
    if tenant is None:
        raise AssertionError("the Tenant is gone")
    names = {
        person.tenant: "TENANT",
        person.tenant[-6:].upper(): "CODE",
        person.customer_id: "CUSTOMER",
        world.frontend_url: "https://example.com",
    }

    def plain(text: str) -> str:
        for name, word in names.items():
            text = text.replace(name, word)
        text = re.sub(r"\d{1,2} \w+ \d{4}|\d{4}-\d\d-\d\d", "DATE", text)
        return re.sub(r"\n?\(turn \d+, [^)]*\)", "", text)

    status = tenant.status
    return {
        "phase": status.phase,
        "plan": status.plan,
        "entitlement": status.entitlement.state if status.entitlement else None,
        "conditions": sorted(f"{c.type}={c.status} {c.reason}" for c in status.conditions),
        "billing": tenant.spec.billing.status if tenant.spec.billing else None,
        "telegram": tenant.spec.telegram.wire() if tenant.spec.telegram else None,
        "azure": inventory(world, plain),
        "chat": transcript(person, plain),
    }


def inventory(world: World, plain: Any) -> list[str]:
    """Every Azure resource by kind and name or scope."""
    found = []
    for kind, resources in world.azure.inventory().items():
        for name, facts in resources.items():
            what = facts["scope"].rpartition("/")[2] if kind == "roleAssignments" else name
            found.append(f"{kind} {plain(what)}")
    return sorted(found)


def transcript(person: Subscriber, plain: Any) -> list[str]:
    """What both said, as a subscriber sees it, without notes about waiting."""
    lines = []
    for line in person.telegram.transcript:
        if line.kind in ("message", "edit") and not any(note in line.text for note in ABOUT_WAITING):
            buttons = "".join(f" [{text}]" for text in line.buttons)
            mark = " (edit)" if line.kind == "edit" else ""
            lines.append(f"{line.direction}{mark}: {plain(line.text)}{buttons}")
    return lines


def duplicates(disturbed: list[str], undisturbed: list[str]) -> list[str]:
    """Lines that were said again. Raises ``AssertionError`` for any other difference from the undisturbed life.

    The bot's sentences are said at least once: a router that dies between Telegram's answer and the record of it
    repeats the last one, and so does a container whose reply was passed on but not confirmed.
    """
    left, extra = list(undisturbed), []
    said: set[str] = set()
    whole = json.dumps(disturbed, indent=1)
    for line in disturbed:
        if left and line == left[0]:
            left.pop(0)
        elif line in said and line.startswith("bot"):
            extra.append(line)
        else:
            raise AssertionError(f"the chat differs: {line!r} instead of {left[:1]}\n{whole}")
        said.add(line)
    if left:
        raise AssertionError(f"the chat lacks {left}\n{whole}")
    return extra
