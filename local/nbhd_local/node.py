"""A real Kubernetes node on this machine, without a container engine: containers, Services and names really work.

It runs beside a control plane of its own in private namespaces (``local/cluster/node.go``) and needs root. Its runtime
is built by ``tools`` or comes from Debian's packages; the chart and the images are tried on it.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from nbhd_local import cluster as clusters
from nbhd_local import debian, oci, tools
from nbhd_local.cluster import Cluster, ClusterError
from nbhd_local.tools import ToolError

__all__ = ["ADDRESS", "Node", "NodeError", "missing", "prepare"]

ADDRESS = "10.250.0.1"
PAUSE = "localhost/pause:1"
_MACHINES = ("x86_64", "aarch64")
_NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--cgroup", "--uts", "--ipc")


class NodeError(ClusterError):
    """The node did not start, or a command in it failed; the message is theirs."""


def missing() -> str | None:
    """Why there can be no node on this machine, as one line; None where it can."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return f"a node needs Linux on {' or '.join(_MACHINES)}"
    if os.geteuid() != 0:
        return "a node needs root: it makes namespaces, mounts and control groups"
    for name in ("nsenter", "unshare"):
        if shutil.which(name) is None:
            return f"{name} is missing: install util-linux"
    trial = ["unshare", *_NAMESPACES, "--mount-proc", "true"]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"a node needs namespaces of its own, which are refused here: {done.stderr.strip()}"
    if not any(" - cgroup" in line for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        return "a node needs control groups, and none are mounted below /sys/fs/cgroup"
    return debian.missing()


class Node:
    """A cluster with one node, for as long as the context lasts, or from ``start`` to ``stop``.

    ``folder`` is kept and can be started again: same objects, same images, same credentials. Without it everything is
    temporary. ``images`` are archives that are there before the node is ready.
    """

    address = ADDRESS
    """The node's InternalIP: what listens on it inside the node's network is reachable from Pods."""

    def __init__(self, folder: Path | None = None, *, images: Sequence[Path] = (), audit: bool = True) -> None:
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="nbhd-node-")
        self.folder = folder or Path(self._temporary.name if self._temporary else "")
        self._images = images
        self._audit = audit
        self._port = 0
        self._environment: Mapping[str, str] = {}
        self._process: subprocess.Popen[str] | None = None
        self._pid = 0
        self._cluster: Cluster | None = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self._discard()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        self._discard()

    @property
    def pid(self) -> int:
        """The node's first process, by its number on this machine; its namespaces are the node's."""
        return self._pid

    @property
    def process(self) -> int:
        """The process that was started. SIGUSR1 makes the node crash and start again; the control plane goes on."""
        if self._process is None:
            raise NodeError("the node is not running")
        return self._process.pid

    @property
    def cluster(self) -> Cluster:
        """The API server as this machine sees it, with the administrator's kubeconfig."""
        if self._cluster is None:
            raise NodeError("the node is not running")
        return self._cluster

    @property
    def inside_kubeconfig(self) -> Path:
        """The administrator's kubeconfig for processes in the node's network."""
        return self.folder / "inside.kubeconfig"

    def start(self) -> Self:
        """Returns when Pods can be scheduled and Services reached. Raises ``NodeError`` or ``ToolError``."""
        parts = prepare()
        self._environment = parts.environment
        command = [
            str(tools.controlplane()),
            "node",
            f"--dir={self.folder}",
            f"--port={self._port}",
            f"--audit={str(self._audit).lower()}",
        ]
        command += [f"--cni={parts.network_plugins}", "--stop-on-stdin-eof"]
        command += [f"--image={image}" for image in (parts.pause_image, *self._images)]
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "node.log"
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        try:
            output = self._process.stdout
            told = [output.readline().strip() for _ in range(2)] if output else []
        except BaseException:
            self.stop()
            raise
        lines = {line.partition(" ")[0]: line for line in told}
        if "ready" not in lines:
            self.stop()
            raise NodeError(f"the node did not start: {log.read_text()[-3000:]}")
        self._pid = int(lines["pid"].partition(" ")[2])
        kubeconfig = Path(lines["ready"].partition("KUBECONFIG=")[2])
        self._cluster = Cluster(kubeconfig, tools.kubectl(), self.folder / "audit.log" if self._audit else None)
        self._port = int(self._cluster.server.rpartition(":")[2])  # a restart comes back where clients know it
        return self

    def stop(self) -> None:
        """Ends the node in order, with all that runs on it, and returns when nothing of it is left."""
        if self._process:
            clusters.stop(self._process)
        self._process = self._cluster = None

    def kill(self) -> None:
        """SIGKILL to the process that was started: nothing gets a chance to finish anything."""
        if self._process:
            self._process.kill()
        self.stop()

    def restart(self) -> None:
        """Stops the node and starts it with the same state, like a machine that boots again."""
        self.stop()
        self.start()

    def run(self, command: Sequence[str], *, stdin: IO[Any] | int = subprocess.DEVNULL, timeout: float = 60) -> str:
        """Runs a command inside the node, as a login there would, and returns what it printed. Raises ``NodeError``."""
        done = subprocess.run(
            self.inside(*command),
            env=self._environment,
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise NodeError(f"{' '.join(command[:4])}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def inside(self, *program: str) -> list[str]:
        """The command line of a program inside the node: network, files and processes are the node's."""
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--", *program]

    def command(self, *program: str) -> list[str]:
        """The command line of a program of this machine's that has the node's network, and nothing else of it."""
        return ["nsenter", f"--target={self.pid}", "--net", "--", *program]

    def load(self, archive: Path) -> None:
        """Imports the images of an OCI archive, for Pods that do not insist on pulling."""
        with archive.open("rb") as content:
            self.run(["ctr", "--namespace=k8s.io", "images", "import", "-"], stdin=content, timeout=300)

    def _discard(self) -> None:
        if self._temporary:
            self._temporary.cleanup()


@dataclass(frozen=True)
class Parts:
    """What a node is made of besides the control plane's binary."""

    environment: Mapping[str, str]
    network_plugins: Path
    pause_image: Path


def prepare() -> Parts:
    """Builds and downloads what a node needs, where the cache has it not. Raises ``NodeError`` or ``ToolError``."""
    reason = missing()
    if reason:
        raise NodeError(reason)
    packages = debian.unpacked("runc", "containernetworking-plugins", "nftables")
    own = [tools.containerd(), tools.coredns().parent, tools.kubectl().parent]
    environment = packages.environment({"PATH": os.environ.get("PATH", os.defpath)})
    environment["PATH"] = os.pathsep.join([*map(str, own), environment["PATH"]])
    program = tools.ensure_go_tool("pause", tools.ROOT / "local" / "pause")
    pause = program.with_name("pause.tar")
    if not pause.exists():
        oci.write_archive(pause, PAUSE, {"pause": program}, ["/pause"])
    return Parts(environment, packages.root / "usr/lib/cni", pause)


def main() -> None:
    """Prepares a node, so that its first start takes seconds; says why there can be none."""
    reason = missing()
    if reason:
        print(f"[node] no node on this machine: {reason}", file=sys.stderr)
        return
    try:
        prepare()
    except ToolError as problem:
        raise SystemExit(f"[node] {problem}") from None


if __name__ == "__main__":
    main()
