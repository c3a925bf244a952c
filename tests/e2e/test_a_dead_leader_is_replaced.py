"""Two operators with a Lease: one works, and when it is killed, frozen or told to stop the other goes on in time."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Sequence

import aiohttp
import pytest

from nbhd_crds.api.roles import LEASE, lease_role
from nbhd_local.services import Service
from nbhd_local.waiting import eventually
from nbhd_local.world import World
from tests.e2e.conftest import StartWorld
from tests.e2e.operators import leads, metric, put, replica
from tests.e2e.test_two_operators_at_once_end_as_one_does import spec

SECONDS = 15
"""How soon another one leads after a leader died."""
AT_ONCE = 5
"""The same after a leader was told to stop; most of it is the dying process."""


async def leader(operators: Sequence[Service]) -> Service:
    """The one that leads, once there is one."""
    found: list[Service] = []

    async def one_leads() -> bool:
        found[:] = [operator for operator in operators if await leads(operator)]
        assert len(found) <= 1, "two lead"
        return bool(found)

    await eventually(one_leads, "a leader", 2 * SECONDS, every=0.05)
    return found[0]


async def ready(world: World, number: int) -> None:
    await world.kubectl_wait("wait", "--for=condition=Ready", f"tenant/one-{number}", "--timeout=60s", timeout=70)


@pytest.mark.timeout(300)
async def test_a_dead_leader_is_replaced(start_world: StartWorld) -> None:
    async with start_world(only=("router",)) as world:
        world.cluster.apply(*lease_role(world.namespace))
        operators = [replica(world, f"operator-{n}", NBHD_LEASE_NAMESPACE=world.namespace) for n in (1, 2)]
        try:
            await asyncio.gather(*(operator.start() for operator in operators))
            await story(world, operators)
        finally:
            await asyncio.gather(*(operator.stop() for operator in operators))


async def story(world: World, operators: Sequence[Service]) -> None:
    first = await leader(operators)
    (second,) = [operator for operator in operators if operator is not first]
    await put(world, "one-0", **spec("one", 0))
    await ready(world, 0)
    assert not await metric(second, "nbhd_operator_reconciles_total")  # ready, with nothing to do
    assert await metric(second, "nbhd_operator_tenants") is None

    # Killed between two calls to Azure.
    held = world.azure.traffic.hold("PUT", "containerApps/nbhd-onetenant1")
    await put(world, "one-1", **spec("one", 1))
    await held.reached()
    await first.kill()
    killed = time.monotonic()
    held.drop()
    assert await leader(operators) is second
    took = time.monotonic() - killed
    print(f"a killed leader was replaced after {took:.1f} s")
    assert took < SECONDS
    await ready(world, 1)
    lease = json.loads(await world.kubectl_wait("get", f"lease/{LEASE}", "-o", "json"))
    assert lease["spec"]["leaseTransitions"] == 2

    # Frozen, as a machine that is suspended: when it wakes up it finds that it leads no more.
    await first.start()
    assert second.process is not None
    second.process.send_signal(signal.SIGSTOP)
    frozen = time.monotonic()
    assert await leader([first]) is first
    took = time.monotonic() - frozen
    print(f"a frozen leader was replaced after {took:.1f} s")
    assert took < SECONDS
    await put(world, "one-2", **spec("one", 2))
    await ready(world, 2)
    second.process.send_signal(signal.SIGCONT)
    await second.wait_ready()
    await eventually(lambda: "standing by" in second.log.read_text(), "the frozen one to stand by")
    assert await leader(operators) is first

    # Told to stop: it gives the Lease up.
    assert first.process is not None
    told = time.monotonic()
    first.process.send_signal(signal.SIGTERM)
    assert await leader([second]) is second
    took = time.monotonic() - told
    print(f"a leader that was told to stop was replaced after {took:.1f} s")
    assert took < AT_ONCE
    assert await first.process.wait() == 0
    async with aiohttp.ClientSession() as session, session.get(second.ready_url) as answer:
        assert answer.status == 200
