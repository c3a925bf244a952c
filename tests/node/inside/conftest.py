"""The installed platform, for tests inside the node's network; ``test_the_installed_platform.py`` starts them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from nbhd_local import installed, tools
from nbhd_local.cluster import Cluster
from nbhd_local.world import World


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def world() -> AsyncIterator[World]:
    """One installation for all tests in here."""
    folder = Path(os.environ["NBHD_NODE_FOLDER"])
    installed.ask_the_clusters_dns(folder)
    cluster = Cluster(Path(os.environ["NBHD_NODE_KUBECONFIG"]), tools.kubectl())
    async with installed.running(folder, cluster, os.environ["NBHD_NODE_IMAGE"]) as running:
        yield running
