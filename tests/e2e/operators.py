"""More than one operator of the same world, each a process with a log and a health port of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from nbhd_crds.api.policies import BREAK_GLASS_GROUP
from nbhd_local.ports import free_port
from nbhd_local.services import Service
from nbhd_local.world import World


def replica(world: World, name: str, **environment: str) -> Service:
    """Another operator, not started yet; ``environment`` changes settings."""
    port = free_port()
    own = {"NBHD_HEALTH_LISTEN": f"127.0.0.1:{port}", **environment}
    return dataclasses.replace(
        world.operator,
        name=name,
        environment={**world.operator.environment, **own},
        ready_url=f"http://127.0.0.1:{port}/readyz",
        log=world.folder / f"{name}.log",
        process=None,
    )


async def metric(service: Service, name: str, **labels: str) -> float | None:
    """What a running service's metrics say; None if it cannot be asked or has no such value."""
    url = service.ready_url.replace("/readyz", "/metrics")
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(url) as answer,
        ):
            text = await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return None
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    return None


async def leads(service: Service) -> bool:
    """True if the operator says that it leads."""
    return await metric(service, "nbhd_operator_leader") == 1


async def put(world: World, name: str, *, namespace: str = "", **spec: Any) -> None:
    """Creates a Tenant, or changes its spec, as whoever may write every part of it."""
    document = {
        "apiVersion": "nbhd.united/v1alpha1",
        "kind": "Tenant",
        "metadata": {"name": name, "namespace": namespace or world.namespace},
        "spec": spec,
    }
    who = ("--as=oncall", "--as-group=system:masters", f"--as-group={BREAK_GLASS_GROUP}")
    apply = ("apply", "--server-side", "--force-conflicts", "-f", "-")
    await asyncio.to_thread(world.cluster.kubectl, *who, *apply, stdin=json.dumps(document))
