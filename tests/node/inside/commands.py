"""Helm and kubectl as an administrator gives them, and what a release consists of."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from nbhd_local.installed import NAMESPACE, RELEASE, Helm
from nbhd_local.world import World

Versions = dict[str, tuple[int, str]]

# Their generation counts, not their version: a Deployment's status follows its Pods, and a policy gets a new version
# by any apply once the controller manager has written its status.
_WITH_STATUS = {"Deployment", "ValidatingAdmissionPolicy", "PersistentVolumeClaim", "PodDisruptionBudget"}


async def helm(world: World, *arguments: str) -> str:
    """What Helm prints; raises ``ClusterError``."""
    return await asyncio.to_thread(Helm(world.cluster), *arguments)


async def kubectl(world: World, *arguments: str, timeout: float = 120, stdin: str | None = None) -> str:
    """What kubectl prints, in the services' namespace unless files say where; raises ``ClusterError``."""
    where = () if stdin is not None or {"-k", "-f"} & set(arguments) else ("-n", NAMESPACE)
    return await asyncio.to_thread(world.cluster.kubectl, *where, *arguments, timeout=timeout, stdin=stdin or "")


async def release(world: World) -> Versions:
    """Generation and version of all that the release made."""
    return await versions(world, await helm(world, "get", "manifest", RELEASE))


async def versions(world: World, manifest: str) -> Versions:
    """Generation and version of every object in the manifest."""
    found = json.loads(await kubectl(world, "get", "-f", "-", "-o", "json", stdin=manifest))
    known: Versions = {}
    for item in found["items"]:
        meta: dict[str, Any] = item["metadata"]
        version = "" if item["kind"] in _WITH_STATUS else meta["resourceVersion"]
        known[f"{item['kind']}/{meta['name']}"] = (meta.get("generation", 0), version)
    assert len(known) > 10
    return known
