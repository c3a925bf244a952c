"""The control plane as a program: it stops in time, survives a restart, and leaves no child behind even when killed."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nbhd_local import cluster as clusters
from nbhd_local.cluster import Cluster

STOP_SECONDS = 3.0


def children(pid: int) -> list[int]:
    """Processes whose parent is ``pid``, from /proc."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pids: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)  # the kernel tells only parents
    return True


def started(folder: Path) -> tuple[subprocess.Popen[str], Cluster, list[int]]:
    process, cluster = clusters.start(folder, subprocess.PIPE)
    own = children(process.pid)
    assert len(own) == 2, "kube-apiserver and kube-controller-manager"
    return process, cluster, own


@pytest.mark.parametrize(
    "stop",
    [
        lambda p: p.send_signal(signal.SIGTERM),
        lambda p: p.send_signal(signal.SIGINT),
        lambda p: p.stdin.close(),
        lambda p: p.kill(),
    ],
    ids=["SIGTERM", "SIGINT", "end of stdin", "SIGKILL"],
)
def test_it_stops_within_three_seconds(tmp_path: Path, stop: Callable[[subprocess.Popen[str]], None]) -> None:
    process, _, own = started(tmp_path / "cluster")
    began = time.monotonic()
    stop(process)
    process.wait(timeout=STOP_SECONDS)
    assert gone(own, STOP_SECONDS - (time.monotonic() - began))
    clusters.stop(process)


def test_it_comes_back_with_the_same_data_and_credentials(tmp_path: Path) -> None:
    process, cluster, _ = started(tmp_path / "cluster")
    cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    cluster.kubectl("create", "namespace", "nbhd-system")
    cluster.kubectl("create", "serviceaccount", "router", "-n", "nbhd-system")
    kubeconfig = cluster.service_kubeconfig("router", tmp_path)
    port = _port(cluster)
    process.kill()
    clusters.stop(process)
    process, cluster = clusters.start(tmp_path / "cluster", subprocess.PIPE, port=port)
    assert cluster.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "b"
    who = cluster.try_kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", kubeconfig=kubeconfig)
    assert who.stdout == "system:serviceaccount:nbhd-system:router", who.stderr
    clusters.stop(process)


def _port(cluster: Cluster) -> int:
    server = cluster.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
    return int(server.rpartition(":")[2])


def test_two_do_not_share_a_folder(tmp_path: Path) -> None:
    taken = tmp_path / "cluster"
    process, cluster, _ = started(taken)
    try:
        with pytest.raises(clusters.ClusterError, match="another control plane runs in"):
            clusters.start(taken, subprocess.PIPE)
        assert cluster.kubectl("get", "--raw=/readyz") == "ok"
    finally:
        clusters.stop(process)
