"""Helm on the chart: what it renders, what it refuses, and a cluster of the module's own to install into."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nbhd_crds.api import Tenant
from nbhd_local import cluster as clusters
from nbhd_local import tools
from nbhd_local.chart.helm import NAMESPACE
from tests.unit.operator import make
from tests.unit.operator.conftest import CellStore, Stage, authority, stage  # noqa: F401 - fixtures
from tests.unit.operator.make import at


@dataclass(frozen=True)
class Helm:
    """Helm, with or without a cluster."""

    kubeconfig: Path | None = None

    def run(self, *args: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Whatever comes of it."""
        command = [str(tools.helm()), "--namespace", NAMESPACE, *args]
        if self.kubeconfig:
            command.append(f"--kubeconfig={self.kubeconfig}")
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)

    def __call__(self, *args: str) -> str:
        """What it printed; fails the test with Helm's own words otherwise."""
        done = self.run(*args)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Helm without a cluster."""
    return Helm()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clusters.Cluster]:
    """A control plane that never saw the platform: what is cluster-wide must be the chart's own."""
    process, cluster = clusters.start(tmp_path_factory.mktemp("cluster"), subprocess.PIPE, audit=False)
    yield cluster
    clusters.stop(process)


@pytest.fixture
async def story(stage: Stage) -> tuple[Stage, list[dict[str, Any]]]:  # noqa: F811 - a fixture
    """A subscriber's life in an emulated Azure, from the first payment to the deletion; every version of the Tenant."""
    versions: list[dict[str, Any]] = []

    def note(tenant: Tenant | None, _: object) -> None:
        if tenant:
            body = tenant.model_dump(mode="json", by_alias=True, exclude_none=True)
            versions.append({"apiVersion": "nbhd.united/v1alpha1", "kind": "Tenant", **body})

    stage.store.watchers.append(note)
    stage.store.put(make.tenant())
    operator = stage.operator(CellStore(make.cell(**stage.world.cell.spec())))
    await stage.phase("Pending")
    stage.store.edit(billing=make.billing("active"))
    await stage.phase("AwaitingLink")
    stage.store.edit(telegram=make.telegram())
    await stage.phase("Ready")
    stage.store.edit(suspended=True)
    await stage.phase("Suspended")
    stage.store.edit(suspended=False)
    await stage.phase("Ready")
    stage.store.edit(billing=make.billing("canceled", endedAt=at(0)))
    await stage.phase("Ended")
    operator.clock.now = at(40)  # the retention is over: its secret is deleted, and comes back
    await stage.until(lambda t: t and (right := t.status.entitlement) and right.reason == "RetentionOver")
    await stage.until(lambda _: not any(stage.owned.values()))
    stage.store.edit(billing=make.billing("active"))
    await stage.phase("Ready")
    stage.store.edit(planRef={"name": "nosuch"}, complimentary=True)
    await stage.phase("Stalled")
    stage.store.edit(planRef=None)
    await stage.phase("Ready")
    stage.store.delete()
    await stage.until(lambda t: t is None)
    return stage, versions
