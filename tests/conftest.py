"""Fixtures that all tests share: one real cluster a run, a namespace a test, credentials of the services.

Test processes that run side by side share one control plane. The first that needs it starts it; its standard input is a
named pipe that the main process keeps open for writing, so it stops when the run ends, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from nbhd_crds.api.policies import BREAK_GLASS_GROUP
from nbhd_local import cluster as clusters
from nbhd_local import tools

_SHARED = "NBHD_TEST_SHARED"

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """In the main process: a folder and a pipe that the workers inherit."""
    if hasattr(config, "workerinput"):
        return
    folder = Path(tempfile.mkdtemp(prefix="nbhd-test-"))
    os.mkfifo(folder / "lifeline")
    lifeline = os.open(folder / "lifeline", os.O_RDWR)
    os.environ[_SHARED] = str(folder)

    def end() -> None:
        os.close(lifeline)
        pid = folder / "pid"
        if pid.exists():
            _wait_for_end(int(pid.read_text()))
        shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(end)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the tables of faults and what was measured, if there is any."""
    for name, title in (("faults.txt", "killed at"), ("azure.txt", "Azure fails"), ("measured.txt", "measured")):
        rows = Path(os.environ[_SHARED]) / name
        if rows.exists() and not hasattr(terminalreporter.config, "workerinput"):
            terminalreporter.section(title)
            for row in sorted(rows.read_text().splitlines()):
                terminalreporter.line(row)


def _wait_for_end(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([handle], [], [], 10)
    os.close(handle)


@pytest.fixture(scope="session")
def measured() -> Callable[[str], None]:
    """Takes a line that the run's summary shows, such as a size or a time."""

    def note(line: str) -> None:
        with (Path(os.environ[_SHARED]) / "measured.txt").open("a") as rows:
            rows.write(line + "\n")

    return note


@pytest.fixture(scope="session")
def cluster() -> Iterator[clusters.Cluster]:
    """A real API server with our CRDs, policies and roles; ``NBHD_TEST_KUBECONFIG`` uses one that is there already."""
    given = os.environ.get("NBHD_TEST_KUBECONFIG")
    if given:
        found = clusters.Cluster(Path(given), tools.kubectl())
        found.install()
        yield found
        return
    folder = Path(os.environ[_SHARED])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "pid").exists():
            kubeconfig = Path((folder / "ready").read_text())
            found = clusters.Cluster(kubeconfig, tools.kubectl(), folder / "cluster" / "audit.log")
        else:
            reader = os.open(folder / "lifeline", os.O_RDONLY)
            process, found = clusters.start(folder / "cluster", reader)
            os.close(reader)
            if process.stdout:
                process.stdout.close()
            process.returncode = 0  # it outlives this worker on purpose; the main process waits for its end
            (folder / "pid").write_text(str(process.pid))
            found.install()
            (folder / "ready").write_text(str(found.kubeconfig))
    yield found


@pytest.fixture
def namespace(cluster: clusters.Cluster) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"t-{uuid.uuid4().hex[:10]}"
    cluster.create_namespace(name)
    yield name
    _leave(cluster, name)


def _leave(cluster: clusters.Cluster, namespace: str) -> None:
    """Tidies a cluster that is somebody's. Ours ends with the run: deleting there only makes its controller busy, which
    tries again and again for a namespace with Tenants whose operator is gone.
    """
    if cluster.audit_log is not None:
        return
    cluster.delete_namespace(namespace)
    for tenant in cluster.get("-n", namespace, "tenants")["items"]:
        let_go = ["--type=merge", "--patch", json.dumps({"metadata": {"finalizers": None}})]
        who = ["--as=tests", "--as-group=system:masters", f"--as-group={BREAK_GLASS_GROUP}"]
        if "finalizers" in tenant["metadata"]:
            cluster.kubectl("-n", namespace, "patch", "tenant", tenant["metadata"]["name"], *let_go, *who)


@pytest.fixture(scope="session")
def service_kubeconfig(cluster: clusters.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the kubeconfig of a service's ServiceAccount."""
    folder = tmp_path_factory.mktemp("kubeconfigs")
    made: dict[str, Path] = {}

    def of(service: str) -> Path:
        if service not in made:
            made[service] = cluster.service_kubeconfig(service, folder)
        return made[service]

    return of
