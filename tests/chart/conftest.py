"""Helm on the chart: what it renders, what it refuses, and a cluster of the module's own to install into."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from nbhd_local import cluster as clusters
from nbhd_local import tools
from nbhd_local.chart import CHART

NAMESPACE = "nbhd-system"
MINIMAL = CHART / "ci" / "minimal-values.yaml"


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

    def template(self, *sets: str, settings: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The documents of the chart with these value sets of ``ci/`` and ``--set`` settings."""
        return [one for one in yaml.safe_load_all(self(*template_command(*sets, settings=settings))) if one]


def values(*sets: str) -> list[str]:
    """Helm's arguments for value sets of ``ci/``; all but ``local`` stand on ``minimal``."""
    names = list(sets) if "local" in sets else ["minimal", *sets]
    return [part for name in names for part in ("--values", str(CHART / "ci" / f"{name}-values.yaml"))]


def template_command(*sets: str, settings: Sequence[str] = ()) -> list[str]:
    """``helm template`` as tests use it."""
    given = [part for one in settings for part in ("--set", one)]
    return ["template", "nbhd", str(CHART), *values(*sets), *given]


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
