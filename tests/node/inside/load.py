"""What goes on while the platform is replaced: somebody writes and pays, somebody leads; and what is counted of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator

from nbhd_crds.api.roles import LEASE
from nbhd_crds.client import Leases, connect
from nbhd_local.installed import NAMESPACE
from nbhd_local.people import Subscriber
from nbhd_local.waiting import eventually
from nbhd_local.world import World
from tests.node.inside.commands import kubectl


@contextlib.asynccontextmanager
async def under_load(world: World, number: int) -> AsyncIterator[None]:
    """A quick writer and a restless payer, for as long as the context lasts; then each message is answered, and once.

    The assistant answers what arrives during a turn together, so an answer may hold several.
    """
    erin = Subscriber.meet(world, f"erin{number}", number)
    await erin.subscribe("basic")
    await erin.say("before")
    done = asyncio.Event()
    sent: list[str] = []

    async def write() -> None:
        while not done.is_set() or len(sent) < 5:
            sent.append(f"message {len(sent)} of {number}")
            await erin.telegram.send(sent[-1])
            await asyncio.sleep(0.3)  # the pace of a quick writer, not a wait for anything

    async def pay_and_fail() -> None:
        while not done.is_set():
            world.stripe.fail_payment(erin.subscription_id)
            world.stripe.pay_again(erin.subscription_id)
            await asyncio.sleep(0.5)

    def state() -> str:
        return f"Telegram holds {len(world.telegram.pending)} updates; its attempts: {world.telegram.attempts[-5:]}"

    async with asyncio.TaskGroup() as load:
        load.create_task(write())
        load.create_task(pay_and_fail())
        try:
            yield
        finally:
            done.set()

    def unanswered() -> list[str]:
        said = "\n".join(erin.heard)
        return [text for text in sent if not re.search(rf"{text}\b", said)]

    # Telegram, and OpenClaw with an answer, wait longer and longer before they try again.
    await eventually(lambda: not unanswered(), lambda: f"answers to {unanswered()}, {state()}", 180)
    await world.stripe.settled()
    await world.until(erin.tenant, lambda t: t is not None and t.status.phase == "Ready", "phase Ready")
    said = "\n".join(erin.heard)
    counts = {text: len(re.findall(rf"{text}\b", said)) for text in sent}
    print(f"{len(sent)} messages, {sum(counts.values())} answers")
    assert set(counts.values()) == {1}, {text: count for text, count in counts.items() if count != 1}


@contextlib.asynccontextmanager
async def leaders(world: World) -> AsyncIterator[list[float]]:
    """Seconds without a leading operator, for each change of leader while the context lasts."""
    gaps: list[float] = []

    async def watch(leases: Leases) -> None:
        holder, seen = "", time.monotonic()
        while True:
            found = await leases.get()
            now = time.monotonic()
            if found and found.holder:
                if holder not in ("", found.holder):
                    gaps.append(now - seen)
                holder, seen = found.holder, now
            await asyncio.sleep(0.1)

    async with await connect(world.cluster.kubeconfig) as api:
        watching = asyncio.create_task(watch(Leases(api, NAMESPACE, LEASE)))
        try:
            yield gaps
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def pod(world: World, service: str) -> str:
    """Name of the service's one Pod that stays."""
    chosen = f"--selector=app.kubernetes.io/name={service}"
    found = json.loads(await kubectl(world, "get", "pods", chosen, "-o", "json"))["items"]
    (name,) = [one["metadata"]["name"] for one in found if "deletionTimestamp" not in one["metadata"]]
    return str(name)
