"""A cluster built anew from Git: uids new, status lost. It says whose the cell is, takes over, and restarts nobody.

Another namespace stands for the new cluster: its uid is in the claim, and nothing of the old one is known there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from nbhd_crds.api import Tenant
from nbhd_local import world as worlds
from nbhd_local.cluster import Cluster
from nbhd_local.waiting import eventually
from nbhd_local.world import World
from tests.e2e.conftest import StartWorld
from tests.e2e.operators import put, replica

IDS = ("adopted00001", "adopted00002", "adopted00003")


@pytest.fixture
def anew(cluster: Cluster, namespace: str) -> Iterator[str]:
    """The new cluster's namespace; its Tenants go without an operator."""
    name = f"{namespace}-anew"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    release = json.dumps([{"op": "remove", "path": "/metadata/finalizers"}])
    for tenant in cluster.kubectl("-n", name, "get", "tenants", "-o", "name").split():
        cluster.kubectl("-n", name, "patch", tenant, "--type=json", "-p", release)
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def spec(number: int) -> dict[str, Any]:
    chat = 7000 + number
    return {
        "id": IDS[number],
        "complimentary": True,
        "planRef": {"name": "basic"},
        "telegram": {"chatId": chat, "userId": chat, "generation": 1},
    }


@pytest.mark.timeout(240)
async def test_a_cluster_built_anew_adopts_every_tenant(start_world: StartWorld, anew: str) -> None:
    async with start_world(only=("router",)) as world:
        old = replica(world, "old")
        await old.start()
        for number in range(len(IDS)):
            await put(world, f"tenant-{number}", **spec(number))
        before = await all_ready(world, world.namespace)
        await old.stop()
        things, made, started = world.azure.inventory(), app_writes(world), replicas(world)
        claim = world.azure.subscription.groups[world.azure.resource_group].tags["nbhd-claim"]

        await asyncio.to_thread(world.cluster.apply, *worlds.plans(), worlds.cell(world.azure), namespace=anew)
        for number in range(len(IDS)):
            await put(world, f"tenant-{number}", namespace=anew, **spec(number))
        new = replica(world, "new", NBHD_NAMESPACE=anew)
        await new.start()
        try:
            await kubectl(world, anew, "wait", "--for=condition=Stalled", "cell/local-1", "--timeout=30s")
            told = json.loads(await kubectl(world, anew, "get", "cell", "local-1", "-o", "json"))["status"][
                "conditions"
            ]
            (stalled,) = [one for one in told if one["type"] == "Stalled"]
            assert stalled["reason"] == "CellClaimed"
            annotation = stalled["message"].rsplit(" ", 1)[1]
            assert annotation == f"nbhd.united/take-over={claim}"
            assert all(not tenant.status.cell for tenant in await world.tenants.list(anew))
            await kubectl(world, anew, "annotate", "cell", "local-1", annotation)
            after = await all_ready(world, anew)
        finally:
            await new.stop()
        assert after == before
        assert (world.azure.inventory(), app_writes(world), replicas(world)) == (things, made, started)
        assert world.azure.subscription.groups[world.azure.resource_group].tags["nbhd-claim"] != claim


async def kubectl(world: World, namespace: str, *args: str) -> str:
    return await asyncio.to_thread(world.cluster.kubectl, "-n", namespace, *args)


def app_writes(world: World) -> list[str]:
    """Every change of an app that anybody asked for."""
    log = world.azure.traffic.log
    return [f"{one.method} {one.path}" for one in log if one.is_write and "containerapps" in one.path.lower()]


def replicas(world: World) -> dict[str, list[str]]:
    """The revisions of each app."""
    return {app.name: list(app.revisions) for app in world.azure.subscription.apps.values()}


async def all_ready(world: World, namespace: str) -> dict[str, Any]:
    """Once all are ready: what of each status another cluster must find again."""
    there: list[Tenant] = []

    async def ready() -> bool:
        there[:] = await world.tenants.list(namespace)
        moving = [one.condition("Reconciling") for one in there]
        calm = all(condition is not None and condition.status == "False" for condition in moving)
        return len(there) == len(IDS) and calm and all(one.status.phase == "Ready" for one in there)

    await eventually(ready, lambda: str([one.status.model_dump_json(exclude_none=True) for one in there]), 90)
    facts = ("cell", "plan", "endpoint", "chat_id", "identity", "secret_id", "credentials", "revision", "runtime")
    return {one.metadata.name: {fact: getattr(one.status, fact) for fact in facts} for one in there}
