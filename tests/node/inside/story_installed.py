"""The platform in real Pods: the whole story, updates under load, a second install that changes nothing, the end.

These run in order in one process inside the node's network: each goes on from where the last one left the platform.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from nbhd_local import demo
from nbhd_local.cluster import ClusterError
from nbhd_local.installed import NAMESPACE, RELEASE, Helm, chart
from nbhd_local.people import Subscriber
from nbhd_local.story import Story
from nbhd_local.waiting import eventually
from nbhd_local.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

SERVICES = ("operator", "router", "webhooks")
# Their generation counts, not their version: a Deployment's status follows its Pods, and a policy gets a new version
# by any apply once the controller manager has written its status.
WITH_STATUS = {"Deployment", "ValidatingAdmissionPolicy"}


async def helm(world: World, *arguments: str) -> str:
    return await asyncio.to_thread(Helm(world.cluster), *arguments)


async def kubectl(world: World, *arguments: str, timeout: float = 120) -> str:
    return await asyncio.to_thread(world.cluster.kubectl, "-n", NAMESPACE, *arguments, timeout=timeout)


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
    before = await objects(world)
    writing = asyncio.create_task(dora.subscribe("basic"))
    await helm(world, "upgrade", *chart(world.folder))
    assert await objects(world) == before
    await writing
    await dora.say("nothing was disturbed")


async def objects(world: World) -> dict[str, tuple[int, str]]:
    """Generation and version of all that the release made."""
    shown = await helm(world, "get", "manifest", RELEASE)
    found = json.loads(await asyncio.to_thread(world.cluster.kubectl, "get", "-f", "-", "-o", "json", stdin=shown))
    versions: dict[str, tuple[int, str]] = {}
    for item in found["items"]:
        meta: dict[str, Any] = item["metadata"]
        version = "" if item["kind"] in WITH_STATUS else meta["resourceVersion"]
        versions[f"{item['kind']}/{meta['name']}"] = (meta.get("generation", 0), version)
    assert len(versions) > 10
    return versions


@pytest.mark.parametrize("service", SERVICES)
async def test_a_rolling_update_loses_nothing(world: World, service: str) -> None:
    """Messages and events go on while the service's Pods are replaced; each is answered, and once.

    The assistant answers what arrives during a turn together, so an answer may hold several.
    """
    number = 5001 + SERVICES.index(service)
    erin = Subscriber.meet(world, f"erin{number}", number)
    await erin.subscribe("basic")
    await erin.say("before")
    done = asyncio.Event()
    sent: list[str] = []

    async def write() -> None:
        while not done.is_set() or len(sent) < 5:
            sent.append(f"message {len(sent)} while {service} is replaced")
            await erin.telegram.send(sent[-1])
            await asyncio.sleep(0.3)  # the pace of a quick writer, not a wait for anything

    async def pay_and_fail() -> None:
        while not done.is_set():
            world.stripe.fail_payment(erin.subscription_id)
            world.stripe.pay_again(erin.subscription_id)
            await asyncio.sleep(0.5)

    async def update() -> None:
        await kubectl(world, "rollout", "restart", f"deployment/{service}")
        await kubectl(world, "rollout", "status", f"deployment/{service}", "--timeout=120s")
        done.set()

    await asyncio.gather(write(), pay_and_fail(), update())
    await eventually(lambda: all(text in "\n".join(erin.heard) for text in sent), "every answer", 60)
    await world.stripe.settled()
    await world.until(erin.tenant, lambda t: t is not None and t.status.phase == "Ready", "phase Ready")
    said = "\n".join(erin.heard)
    assert [said.count(text) for text in sent] == [1] * len(sent)


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
