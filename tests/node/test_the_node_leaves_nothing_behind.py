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
CHANGED = ("/run/", "/sys/", "/proc/", "/var/lib", "/var/log")
LINKS = Path("/sys/class/net")
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
class Trace:
    """What a running node shows on the machine, by which its end is recognised."""

    folder: Path
    groups: frozenset[Path]
    before: frozenset[str]

    def left(self) -> list[str]:
        """What is there of it, once nothing is or the time is up."""
        deadline = time.monotonic() + GONE_SECONDS
        while (found := self._found()) and time.monotonic() < deadline:
            time.sleep(0.05)  # the kernel tells only parents
        return found

    def _found(self) -> list[str]:
        mounts = [line for line in _lines("/proc/self/mountinfo") if str(self.folder) in line]
        groups = [str(path) for path in self.groups if path.exists()]
        return [*_processes(self.folder), *mounts, *groups, *sorted(outside() ^ self.before)]


def trace(folder: Path, pid: int, before: frozenset[str]) -> Trace:
    """The running node whose first process is ``pid``. ``before`` is what ``outside`` said before its start."""
    names = {line.rpartition("/")[2] for line in _lines(f"/proc/{pid}/cgroup")}
    (name,) = {name for name in names if name.startswith("nbhd-node-")}
    groups = frozenset(CONTROL_GROUPS.rglob(name))
    assert groups
    assert len(_processes(folder)) > 3, "the node's processes are recognised"
    return Trace(folder, groups, before)


def outside() -> frozenset[str]:
    """Where nodes write by default, what is mounted on or below it, and the machine's network links."""
    written = {path for path in WRITTEN_BY_DEFAULT if Path(path).exists()}
    mounts = {line.split()[4] for line in _lines("/proc/self/mountinfo")}
    return frozenset(written | {t for t in mounts if t.startswith(CHANGED)} | {path.name for path in LINKS.iterdir()})


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _processes(folder: Path) -> list[str]:
    """Processes that name the folder or work in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(bytes(1), b" ").decode(errors="replace")
            place = (entry / "cwd").readlink()
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # ended, or not ours
            continue
        if str(folder) in command or place.is_relative_to(folder):
            found.append(f"{entry.name} {command}")
    return found


ENDS: dict[str, Callable[[Node], None]] = {
    "stopped": Node.stop,
    "first process killed": lambda node: os.kill(node.pid, signal.SIGKILL),
    "killed": Node.kill,
}


@pytest.mark.timeout(240)
def test_however_it_ends_nothing_is_left_and_a_start_brings_live_pods_back(tmp_path: Path, probe_image: Path) -> None:
    before = outside()
    node = Node(tmp_path / "node", images=[probe_image]).start()
    try:
        node.cluster.apply(pods.deployment("web"), pods.service("web"), namespace="default")
        node.cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        pod = node.cluster.get("pods", "-l", "app=web")["items"][0]["metadata"]
        kubeconfig = node.cluster.kubeconfig.read_text()
        for restarts, (how, end) in enumerate(ENDS.items(), start=1):
            running = trace(tmp_path / "node", node.pid, before)
            end(node)
            assert running.left() == [], how
            node.stop()
            node.start()
            restarted = f"--for=jsonpath={{.status.containerStatuses[0].restartCount}}={restarts}"
            node.cluster.kubectl("wait", "pod", pod["name"], restarted, "--timeout=60s")
            node.cluster.kubectl("wait", "pod", pod["name"], "--for=condition=Ready", "--timeout=60s")
            assert [one["metadata"]["uid"] for one in node.cluster.get("pods")["items"]] == [pod["uid"]], how
            assert answer(node, pod["name"]) == f"from {pod['name']}\n", how
        assert _server(kubeconfig) == _server(node.cluster.kubeconfig.read_text())
    finally:
        node.stop()


def answer(node: Node, pod: str) -> str:
    """What the Service answers, once kube-proxy knows that its Pod is ready again: nobody tells when it does."""
    deadline = time.monotonic() + 30
    while True:
        done = node.cluster.try_kubectl("exec", pod, "--", "/probe", "get", "http://web.default/")
        if done.returncode == 0 or time.monotonic() > deadline:
            return done.stdout
        assert "connection refused" in done.stderr, done.stderr


def _server(kubeconfig: str) -> list[str]:
    """What a client must know of a cluster: its address and its authority."""
    return [line for line in kubeconfig.splitlines() if "server:" in line or "certificate-authority-data:" in line]


@pytest.mark.usefixtures("possible")
def test_nothing_is_left_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    before = outside()
    command = [sys.executable, "-c", OWNER, str(tmp_path / "node")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        running = trace(tmp_path / "node", int(owner.stdout.readline()), before)
        owner.kill()
    assert running.left() == []
