"""The platform in real Pods: the whole story, updates under load, a second install that changes nothing, the end.

These run in order in one process inside the node's network: each goes on from where the last one left the platform.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time

import pytest

from nbhd_local import demo
from nbhd_local.cluster import ClusterError
from nbhd_local.installed import NAMESPACE, RELEASE, chart
from nbhd_local.people import Subscriber
from nbhd_local.story import Story
from nbhd_local.waiting import eventually
from nbhd_local.world import World
from tests.node.inside.commands import helm, kubectl, release
from tests.node.inside.load import leaders, pod, under_load

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

SERVICES = ("operator", "router", "webhooks")


async def test_the_whole_story(world: World) -> None:
    await demo.tell(Story(), world)


async def test_helm_test_passes(world: World) -> None:
    started = time.monotonic()
    shown = await helm(world, "test", RELEASE, "--timeout=120s")
    assert "Succeeded" in shown
    assert "Failed" not in shown
    print(f"helm test: {time.monotonic() - started:.1f} s")


async def test_a_second_apply_changes_nothing(world: World) -> None:
    """Neither do Stripe's and the operator's writes meanwhile disturb it."""
    dora = Subscriber.meet(world, "dora", 4004)
    before = await release(world)
    writing = asyncio.create_task(dora.subscribe("basic"))
    await helm(world, "upgrade", *chart(world.folder))
    assert await release(world) == before
    await writing
    await dora.say("nothing was disturbed")


async def test_an_upgrade_and_a_rollback_lose_nothing(world: World) -> None:
    """Every service is replaced twice while messages and events go on; tenants live through it."""
    before = {service: await pod(world, service) for service in SERVICES}
    async with under_load(world, 5001), leaders(world) as gaps:
        await helm(world, "upgrade", *chart(world.folder, "platform.logLevel=DEBUG"))
        upgraded = {service: await pod(world, service) for service in SERVICES}
        await helm(world, "rollback", RELEASE, "--wait", "--timeout=120s")
    for service in SERVICES:
        assert len({before[service], upgraded[service], await pod(world, service)}) == 3
    assert gaps, "no operator was replaced"
    print(f"no operator led for {', '.join(f'{gap:.1f} s' for gap in gaps)}")
    assert max(gaps) < 15


async def test_a_node_that_crashes_loses_nothing(world: World) -> None:
    """The node loses power while messages and events go on: all its Pods end at once, and start again."""
    before = {service: await restarts(world, service) for service in SERVICES}
    async with under_load(world, 5002):
        known = await readiness(world)
        started = time.monotonic()
        os.kill(int(os.environ["NBHD_NODE_PROCESS"]), signal.SIGUSR1)

        async def back() -> bool:
            now = await readiness(world)
            return now["status"] == "True" and now["lastTransitionTime"] != known["lastTransitionTime"]

        await eventually(back, "the node to be ready again", 90)
        for service in SERVICES:

            async def again(service: str = service) -> bool:
                return await restarts(world, service) > before[service]

            await eventually(again, f"{service} to be started again", 90)
            await kubectl(world, "rollout", "status", f"deployment/{service}", "--timeout=120s")
        print(f"crash of the node: all services ready again after {time.monotonic() - started:.1f} s")


async def restarts(world: World, service: str) -> int:
    """How often the container of the service's Pod was started again."""
    found = json.loads(await kubectl(world, "get", "pod", await pod(world, service), "-o", "json"))
    (container,) = found["status"]["containerStatuses"]
    return int(container["restartCount"])


async def readiness(world: World) -> dict[str, str]:
    """The node's condition Ready."""
    node = json.loads(await kubectl(world, "get", "node", "local", "-o", "json"))
    found: dict[str, str] = next(one for one in node["status"]["conditions"] if one["type"] == "Ready")
    return found


async def test_what_it_takes(world: World) -> None:
    """Memory that is asked for, next to what was used."""
    stats = json.loads(await kubectl(world, "get", "--raw", "/api/v1/nodes/local/proxy/stats/summary"))
    used = {
        pod["podRef"]["name"].split("-")[0]: pod["memory"]["workingSetBytes"] / 2**20
        for pod in stats["pods"]
        if pod["podRef"]["namespace"] == NAMESPACE and "memory" in pod
    }
    for service in SERVICES:
        spec = json.loads(await kubectl(world, "get", "deployment", service, "-o", "json"))
        (container,) = spec["spec"]["template"]["spec"]["containers"]
        asked = float(container["resources"]["requests"]["memory"].removesuffix("Mi"))
        print(f"{service}: asks for {asked:.0f} MiB, uses {used[service]:.0f} MiB")
        assert used[service] < float(container["resources"]["limits"]["memory"].removesuffix("Mi"))


async def test_uninstall_is_refused_while_there_are_tenants(world: World) -> None:
    with pytest.raises(ClusterError):
        await helm(world, "uninstall", RELEASE, "--timeout=60s")
    for service in SERVICES:
        await kubectl(world, "rollout", "status", f"deployment/{service}", "--timeout=10s")
