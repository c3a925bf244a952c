"""One undisturbed life a run, shared by all workers, and the table of what the disturbed ones came to."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nbhd_local import world as worlds
from nbhd_local.azure import Delays
from nbhd_local.cluster import Cluster
from tests.faults.life import lived

_QUICK = Delays(app=0.3, role_propagation=0.3, container_start=0.2)
StartWorld = Callable[[], AbstractAsyncContextManager[worlds.World]]
Undisturbed = Callable[[], Any]


@pytest.fixture
def start_world(cluster: Cluster, namespace: str, tmp_path: Path) -> StartWorld:
    """Starts a world whose every gate has fault hooks."""

    @asynccontextmanager
    async def start() -> AsyncIterator[worlds.World]:
        async with worlds.running(tmp_path, cluster=cluster, namespace=namespace, delays=_QUICK, gates=True) as world:
            yield world

    return start


@pytest.fixture
async def undisturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The end of the undisturbed life, and all requests that it made; lived once a run."""
    shared = Path(os.environ["NBHD_TEST_SHARED"])
    with (shared / "undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = shared / "undisturbed.json"
        if not result.exists():
            name = f"t-undisturbed-{os.getpid()}"
            cluster.create_namespace(name)
            folder = tmp_path_factory.mktemp("undisturbed")
            async with worlds.running(folder, cluster=cluster, namespace=name, delays=_QUICK, gates=True) as world:
                end = await lived(world, None)
                gates = {
                    "azure": world.azure.traffic,
                    "stripe": world.stripe.traffic,
                    "telegram": world.telegram.traffic,
                    **world.gates,
                }
                requests = [(gate, r.method, r.path) for gate, traffic in gates.items() for r in traffic.log]
            result.write_text(json.dumps({"end": end, "requests": requests}))
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def _rows(name: str) -> Callable[[str], None]:
    def add(row: str) -> None:
        with (Path(os.environ["NBHD_TEST_SHARED"]) / name).open("a") as rows:
            rows.write(row + "\n")

    return add


@pytest.fixture
def table() -> Callable[[str], None]:
    """Adds a row to the table of kills that is printed at the end of the run."""
    return _rows("faults.txt")


@pytest.fixture
def azure_table() -> Callable[[str], None]:
    """Adds a row to the table of Azure's faults that is printed at the end of the run."""
    return _rows("azure.txt")
