"""The release before this one with subscribers who pay, link and chat; the upgrade, the way back, and a new runtime.

These run in order in one process inside the node's network: each goes on from where the last one left the platform.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from nbhd_crds.api.policies import SERVICES
from nbhd_local import release
from nbhd_local.installed import RELEASE, chart
from nbhd_local.people import Subscriber
from nbhd_local.world import World
from tests.node.inside.commands import helm
from tests.node.inside.load import pod, under_load

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

OLD = release.previous()
# One tenant of a plan is changed at a time; and nobody falls asleep, which would look like a container that ended.
BOUNDED = [f"plans.{plan}.{value}" for plan in ("basic", "plus") for value in ("rollout.maxInFlight=1", "cooldown=1h")]
OTHER_RUNTIME = "openclaw.image=registry.local/openclaw/openclaw@sha256:" + "1" * 64
BACK = ("rollback", RELEASE, "1", "--wait", "--timeout=120s")


@dataclass
class Site:
    """The platform, and two of those who live on it."""

    world: World
    people: list[Subscriber] = field(default_factory=list)

    async def known(self) -> dict[str, Any]:
        """Of each of the two, what must not change: who they are to Kubernetes, and what people and services said."""
        found = [await self.world.tenant(person.tenant) for person in self.people]
        return {one.metadata.name: (one.metadata.uid, one.spec) for one in found if one is not None}

    async def chat(self, text: str) -> None:
        """Everybody writes, and is answered."""
        await asyncio.gather(*(person.say(f"{person.name} {text}") for person in self.people))


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def before(site: World) -> Site:
    """The previous release, with a subscriber on each plan."""
    repository, _, tag = os.environ["NBHD_NODE_PREVIOUS_IMAGE"].rpartition(":")
    image = (f"image.repository={repository}", f"image.tag={tag}")
    await helm(site, "install", *chart(site.folder, *BOUNDED, *image, at=OLD.chart))
    found = Site(site, [Subscriber.meet(site, "ada", 6001), Subscriber.meet(site, "bob", 6002)])
    await asyncio.gather(*(one.subscribe(plan) for one, plan in zip(found.people, ("basic", "plus"), strict=True)))
    await found.chat("was here before")
    return found


def containers(world: World) -> dict[str, tuple[str, int]]:
    """Each app's revision, and how often one of its containers was started."""
    runtime = world.azure.runtime
    assert runtime is not None
    started = Counter(event.app for event in runtime.events if event.kind == "started")
    return {name: (str(app["latestRevision"]), started[name]) for name, app in world.azure.inventory()["apps"].items()}


@contextlib.asynccontextmanager
async def replaced(world: World) -> AsyncIterator[Counter[str]]:
    """How many apps of each plan were under way at the same time, at most, while the context lasts."""
    most = Counter[str]()

    async def watch() -> None:
        while True:
            busy = Counter[str]()
            for name, app in world.azure.inventory()["apps"].items():
                if app["latestRevision"] != app["latestReadyRevision"] or app["provisioningState"] != "Succeeded":
                    tenant = await world.tenant(name.removeprefix("nbhd-"))
                    busy[(tenant.status.plan or "") if tenant else ""] += 1
            most.update(busy - most)
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    try:
        yield most
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def pods(world: World) -> set[str]:
    """Names of the services' Pods."""
    return {await pod(world, service) for service in SERVICES}


async def lived_through(before: Site, number: int, *steps: tuple[str, ...], replacing: bool) -> None:
    """Helm does these steps under load; afterwards nobody has lost anything."""
    world = before.world
    known, running = await before.known(), await pods(world)
    async with under_load(world, number), replaced(world) as most:
        there, writes, started = containers(world), world.azure.writes, time.monotonic()
        for step in steps:
            await helm(world, *step)
            now = await pods(world)
            assert not running & now, "every service was replaced"
            running = now
        if replacing:
            await world.kubectl_wait("wait", "--for=condition=Ready", "plans", "--all", "--timeout=120s", timeout=130)
        await before.chat(f"was here during {number}")
        took, wrote = time.monotonic() - started, world.azure.writes - writes
        print(f"helm {' and '.join(step[0] for step in steps)}: {took:.1f} s, {wrote} writes to Azure")
    after = containers(world)
    if replacing:
        assert {name for name, was in there.items() if after[name][0] == was[0]} == set(), (
            "every app has the new runtime"
        )
        assert set(most.values()) == {1}, most
    else:
        assert (after, most) == (there, Counter())
    assert await before.known() == known
    await before.chat(f"was here after {number}")


async def test_an_upgrade_under_load(before: Site) -> None:
    upgrade = ("upgrade", *chart(before.world.folder, *BOUNDED))
    await lived_through(before, 6003, upgrade, replacing=OLD.containers == "replaced")


async def test_a_rollback_under_load(before: Site) -> None:
    await lived_through(before, 6004, BACK, replacing=OLD.containers == "replaced")


async def test_an_upgrade_with_another_runtime_replaces_containers_one_by_one(before: Site) -> None:
    upgrade = ("upgrade", *chart(before.world.folder, *BOUNDED, OTHER_RUNTIME))
    await lived_through(before, 6005, upgrade, replacing=True)


async def test_its_rollback_does_so_too(before: Site) -> None:
    await lived_through(before, 6006, BACK, replacing=True)
