"""The node from within, for tests inside its network; ``test_the_installed_platform.py`` starts them."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from nbhd_crds.api.meta import API_VERSION
from nbhd_local import installed, tools
from nbhd_local.cluster import Cluster
from nbhd_local.world import World


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def site() -> AsyncIterator[World]:
    """A cluster with the emulators beside it, and nothing installed by itself."""
    folder = Path(os.environ["NBHD_NODE_FOLDER"])
    installed.ask_the_clusters_dns(folder)
    cluster = Cluster(Path(os.environ["NBHD_NODE_KUBECONFIG"]), tools.kubectl())
    async with installed.beside(folder, cluster, os.environ["NBHD_NODE_IMAGE"]) as world:
        yield world


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def world(site: World) -> World:
    """One installation for all tests that begin with a platform."""
    started = time.monotonic()
    await asyncio.to_thread(installed.Helm(site.cluster), "install", *installed.chart(site.folder))
    print(f"helm install --wait: {time.monotonic() - started:.1f} s")
    metadata = {"name": "first", "namespace": site.namespace}
    spec = {"id": "firstfirst", "complimentary": True, "planRef": {"name": "basic"}}
    tenant = {"apiVersion": API_VERSION, "kind": "Tenant", "metadata": metadata, "spec": spec}
    await asyncio.to_thread(site.cluster.kubectl, "create", "-f", "-", stdin=json.dumps(tenant))
    await site.until("first", lambda t: t is not None and t.status.phase is not None, "a first reconcile")
    print(f"helm install to the first reconcile: {time.monotonic() - started:.1f} s")
    await asyncio.to_thread(site.cluster.kubectl, "-n", site.namespace, "delete", "tenant", "first")
    return site
