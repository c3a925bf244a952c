"""A world for each story: the shared cluster, a namespace of its own, fresh emulators and services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nbhd_local import world as worlds
from nbhd_local.azure import Delays
from nbhd_local.cluster import Cluster

StartWorld = Callable[..., AbstractAsyncContextManager[worlds.World]]
QUICK = Delays(app=0.3, role_propagation=0.3, container_start=0.2)


@pytest.fixture
def start_world(cluster: Cluster, namespace: str, tmp_path: Path) -> StartWorld:
    """Starts a world with short delays; keyword arguments go to ``world.running``."""

    @asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[worlds.World]:
        options = {"delays": QUICK} | options
        async with worlds.running(tmp_path, cluster=cluster, namespace=namespace, **options) as world:
            yield world

    return start
