"""The real Kubernetes of the local world: the built binary, with our CRDs, policies and roles installed."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nbhd_crds.api.policies import SERVICES_NAMESPACE, service_account
from nbhd_local import tools

MANIFESTS = tools.ROOT / "manifests"
_STOP_SECONDS = 10
_POLICY_SECONDS = 30


class ClusterError(Exception):
    """kubectl or the control plane failed; the message is theirs."""


@dataclass(frozen=True)
class Cluster:
    """A Kubernetes API server that answers; ``kubeconfig`` is the administrator's."""

    kubeconfig: Path
    kubectl_path: Path
    audit_log: Path | None = None

    def kubectl(self, *args: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Runs kubectl as the administrator and returns what it printed. Raises ``ClusterError``."""
        done = self.try_kubectl(*args, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise ClusterError(f"kubectl {' '.join(args[:4])}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def try_kubectl(
        self, *args: str, stdin: str | None = None, kubeconfig: Path | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl, with another identity if asked, and returns whatever came of it."""
        command = [str(self.kubectl_path), f"--kubeconfig={kubeconfig or self.kubeconfig}", *args]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def apply(self, *documents: dict[str, Any], namespace: str | None = None) -> None:
        """Server-side apply as the administrator."""
        scope = ["-n", namespace] if namespace else []
        manager = ["--server-side", "--field-manager=kubectl"]
        self.kubectl("apply", *manager, *scope, "-f", "-", stdin=yaml.safe_dump_all(documents))

    def get(self, *args: str) -> dict[str, Any]:
        """``kubectl get … -o json``."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *args, "-o", "json"))
        return found

    def kstatus(self, *objects: dict[str, Any]) -> list[str]:
        """What the reference implementation of kstatus calls each object: Current, InProgress, Failed, …"""
        lines = "\n".join(json.dumps(one) for one in objects)
        command = [str(self.kubectl_path.with_name("controlplane")), "kstatus"]
        done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise ClusterError(f"kstatus: {done.stderr.strip()}")
        return [line.partition("\t")[0] for line in done.stdout.splitlines()]

    def create_namespace(self, name: str) -> None:
        """Makes a namespace."""
        self.kubectl("create", "namespace", name)

    def delete_namespace(self, name: str) -> None:
        """Asks for a namespace's deletion, without waiting for it."""
        self.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")

    def install(self) -> None:
        """Applies CRDs, policies and roles, and returns when the policies are enforced."""
        self.kubectl("apply", "--server-side", "-f", str(MANIFESTS / "rbac"), "-f", str(MANIFESTS / "crds"))
        crds = [f"crd/{plural}.nbhd.united" for plural in ("tenants", "plans", "cells")]
        self.kubectl("wait", "--for=condition=Established", *crds, "--timeout=30s")
        deadline = time.monotonic() + _POLICY_SECONDS
        while not self._policies_enforced():
            if time.monotonic() > deadline:
                raise ClusterError("the admission policies were not enforced within 30 s")
            time.sleep(0.1)  # the API server has no event for this: it compiles new policies every second or so

    def _policies_enforced(self) -> bool:
        billing = {"customerId": "cus_probe", "status": "active"}
        probe = {
            "apiVersion": "nbhd.united/v1alpha1",
            "kind": "Tenant",
            "metadata": {"name": "policy-probe", "namespace": "default"},
            "spec": {"id": "policyprobe", "billing": billing},
        }
        done = self.try_kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(probe))
        if "was refused" in done.stderr:
            raise ClusterError(f"the API server is gone: {done.stderr.strip()}")
        return "is written by webhooks only" in done.stderr

    @property
    def server(self) -> str:
        """URL of the API server."""
        return str(self._cluster["cluster"]["server"])

    def client_context(self) -> ssl.SSLContext:
        """TLS settings for a client that trusts the API server's CA only."""
        authority = base64.b64decode(self._cluster["cluster"]["certificate-authority-data"])
        return ssl.create_default_context(cadata=authority.decode())

    @property
    def _cluster(self) -> dict[str, Any]:
        (cluster,) = yaml.safe_load(self.kubeconfig.read_text())["clusters"]
        found: dict[str, Any] = cluster
        return found

    def service_kubeconfig(
        self, service: str, folder: Path, *, hours: int = 24, through: tuple[str, Path] | None = None
    ) -> Path:
        """A kubeconfig with a token of the service's ServiceAccount, readable by the owner only.

        ``through`` names a proxy by its URL and the file of its CA.
        """
        token = self.kubectl("-n", SERVICES_NAMESPACE, "create", "token", service, f"--duration={hours}h").strip()
        cluster = self._cluster
        if through:
            cluster = {"name": "proxy", "cluster": {"server": through[0], "certificate-authority": str(through[1])}}
        name = service_account(service)
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": cluster["name"], "user": name}}],
            "current-context": name,
        }
        path = folder / f"{service}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content))
        return path


def start(folder: Path, stdin: Any, *, audit: bool = True, port: int = 0) -> tuple[subprocess.Popen[str], Cluster]:
    """Starts the control plane; it stops by itself when ``stdin`` reaches its end. Raises ``ClusterError``."""
    binary = tools.controlplane()
    command = [str(binary), "up", "--dir", str(folder), "--stop-on-stdin-eof", f"--port={port}"]
    if audit:
        command.append("--audit")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "controlplane.log").open("w") as log:
        process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=log, text=True)
    line = process.stdout.readline() if process.stdout else ""
    if not line.startswith("ready "):
        stop(process)
        raise ClusterError(f"the control plane did not start: {(folder / 'controlplane.log').read_text()[-2000:]}")
    kubeconfig = Path(line.strip().partition("KUBECONFIG=")[2])
    return process, Cluster(kubeconfig, tools.kubectl(), folder / "audit.log" if audit else None)


def stop(process: subprocess.Popen[str]) -> None:
    """Ends a control plane in order, or by force if it does not listen, and closes its pipes."""
    if process.stdin:
        process.stdin.close()
    process.terminate()
    try:
        process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=_STOP_SECONDS)
    if process.stdout:
        process.stdout.close()


@contextmanager
def running(folder: Path | None = None, *, audit: bool = True) -> Iterator[Cluster]:
    """A control plane with everything installed, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="nbhd-cluster-") as temporary:
        process, cluster = start(folder or Path(temporary), subprocess.PIPE, audit=audit)
        try:
            cluster.install()
            yield cluster
        finally:
            stop(process)
