"""A node's end, in order, killed, or with whoever started it, leaves the machine as it was; a restart loses no Pod."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nbhd_local.node import Node
from tests.node import pods

pytestmark = pytest.mark.xdist_group("node")
GONE_SECONDS = 15.0
CONTROL_GROUPS = Path("/sys/fs/cgroup")
WRITTEN_BY_DEFAULT = ["/var/lib/cni", "/var/lib/kubelet", "/var/lib/containerd", "/var/log/pods", "/var/log/containers"]
WRITTEN_BY_DEFAULT += ["/run/containerd", "/run/netns", "/run/node", "/run/xtables.lock", "/etc/cni", "/opt/cni"]
# Starts a node in the folder that is its argument, says so, and waits to be killed.
OWNER = """
import pathlib, sys
from nbhd_local.node import Node
node = Node(pathlib.Path(sys.argv[1])).start()
print(node.pid, flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Machine:
    """What a node could leave behind."""

    processes: frozenset[str]
    mounts: str
    links: str
    groups: frozenset[str]
    folders: frozenset[str]


def machine(folder: Path) -> Machine:
    """What there is now of nodes, or of this one in ``folder``."""
    return Machine(
        processes=frozenset(_processes(folder)),
        mounts="\n".join(line.split(" - ")[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        links=subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout,
        groups=frozenset(str(path) for path in CONTROL_GROUPS.rglob("nbhd-node-*")),
        folders=frozenset(path for path in WRITTEN_BY_DEFAULT if Path(path).exists()),
    )


def _processes(folder: Path) -> set[str]:
    """Processes that name the folder, or are in a control group of a node."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            groups = (entry / "cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if command and (str(folder).encode() in command or "nbhd-node-" in groups):
            found.add(f"{entry.name} {command.replace(bytes(1), b' ').decode(errors='replace')}")
    return found


def left(before: Machine, folder: Path) -> str:
    """What is different, once nothing is or the time is up."""
    deadline = time.monotonic() + GONE_SECONDS
    while (now := machine(folder)) != before and time.monotonic() < deadline:
        time.sleep(0.1)  # the kernel tells only parents
    return "" if now == before else f"{now}\nwas {before}"


@pytest.mark.parametrize(
    "end",
    [lambda n: n.stop(), lambda n: n.kill(), lambda n: os.kill(n.pid, signal.SIGKILL)],
    ids=["stopped", "SIGKILL", "SIGKILL of its first process"],
)
def test_nothing_is_left(tmp_path: Path, probe_image: Path, end: Callable[[Node], None]) -> None:
    before = machine(tmp_path)
    node = Node(tmp_path / "node", images=[probe_image]).start()
    node.cluster.apply(pods.deployment("web"), namespace="default")
    node.cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert machine(tmp_path) != before
    end(node)
    assert not left(before, tmp_path)
    node.stop()


@pytest.mark.usefixtures("possible")
def test_nothing_is_left_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    before = machine(tmp_path)
    command = [sys.executable, "-c", OWNER, str(tmp_path / "node")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        assert owner.stdout.readline().strip().isdigit()
        owner.kill()
    assert not left(before, tmp_path)


def test_a_restart_brings_live_pods_back(tmp_path: Path, probe_image: Path) -> None:
    node = Node(tmp_path / "node", images=[probe_image]).start()
    try:
        node.cluster.apply(pods.deployment("web"), pods.service("web"), namespace="default")
        node.cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        (before,) = node.cluster.get("pods", "-l", "app=web")["items"]
        node.restart()
        node.cluster.kubectl(
            "wait",
            "pod",
            "-l",
            "app=web",
            "--for=jsonpath={.status.containerStatuses[0].restartCount}=1",
            "--timeout=60s",
        )
        node.cluster.kubectl("wait", "pod", "-l", "app=web", "--for=condition=Ready", "--timeout=60s")
        (after,) = node.cluster.get("pods", "-l", "app=web")["items"]
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        answer = node.cluster.kubectl("exec", "deployment/web", "--", "/probe", "get", "http://web.default/")
        assert answer == f"from {after['metadata']['name']}\n"
    finally:
        node.stop()
