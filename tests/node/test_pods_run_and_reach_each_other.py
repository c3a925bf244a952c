"""Real containers: restricted Pods roll out, Services and names work, Pods and processes of ours reach each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbhd_local import child
from nbhd_local.cluster import ClusterError
from nbhd_local.node import ADDRESS, Node
from nbhd_local.waiting import eventually
from tests.node import pods

pytestmark = pytest.mark.xdist_group("node")
NAMESPACE = "web"
ROLLOUT = "--timeout=60s"
# A server of this machine's Python in the node's network; it prints its address, and ends with its standard input.
SERVER = """
import http.server, socketserver, sys, threading
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"hello from outside of any Pod")
    def log_message(self, *_): pass
server = socketserver.TCPServer((sys.argv[1], 0), Hello)
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def web(node: Node) -> Iterator[Node]:
    """Two restricted web servers and their Service."""
    node.cluster.apply(pods.restricted(NAMESPACE))
    node.cluster.apply(pods.deployment("web", 2), pods.service("web"), namespace=NAMESPACE)
    node.cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/web", ROLLOUT)
    yield node
    node.cluster.delete_namespace(NAMESPACE)


def probe(node: Node, *args: str) -> str:
    """The probe's answer from inside a Pod."""
    return node.cluster.kubectl("-n", NAMESPACE, "exec", "deployment/web", "--", "/probe", *args)


def test_the_node_is_ready_and_its_pods_are_restricted(web: Node) -> None:
    assert probe(web, "id").split() == ["65532", "65532"]
    status = dict(
        line.split(":\t", 1) for line in probe(web, "read", "/proc/self/status").splitlines() if ":\t" in line
    )
    assert status["Seccomp"] == "2", "filtered"
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapBnd"], 16) == 0
    with pytest.raises(ClusterError, match="read-only file system"):
        probe(web, "write", "/written")
    limit = web.run(["sh", "-c", "cat $(find /sys/fs/cgroup -name memory.limit_in_bytes -o -name memory.max)"])
    assert str(64 * 1024 * 1024) in limit.split()


def test_the_restricted_level_is_enforced(web: Node) -> None:
    container = {"name": "probe", "image": pods.IMAGE}
    plain = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain"}, "spec": {"containers": [container]}}
    done = web.cluster.try_kubectl("-n", NAMESPACE, "create", "-f", "-", stdin=json.dumps(plain))
    assert "violates PodSecurity" in done.stderr


def test_services_and_names_resolve_inside_pods(web: Node) -> None:
    address = web.cluster.get("service", "web", "-n", NAMESPACE)["spec"]["clusterIP"]
    assert probe(web, "resolve", "web").strip() == f"[{address}]"
    names = {probe(web, "get", f"http://web.{NAMESPACE}.svc.cluster.local/") for _ in range(12)}
    assert {name.split()[0] for name in names} == {"from"}
    assert len(names) == 2, "both are behind the Service"
    assert probe(web, "resolve", "kubernetes.default").strip() == "[10.0.0.1]"
    assert "nameserver 10.0.0.10" in probe(web, "read", "/etc/resolv.conf")


def test_a_volume_belongs_to_its_claim_and_ends_with_it(web: Node) -> None:
    keeper = pods.deployment("keeper")
    spec = keeper["spec"]["template"]["spec"]
    spec["securityContext"] = {"fsGroup": 65532}
    spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    spec["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    web.cluster.apply(pods.claim("data"), keeper, namespace=NAMESPACE)
    web.cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/keeper", ROLLOUT)
    web.cluster.kubectl("-n", NAMESPACE, "exec", "deployment/keeper", "--", "/probe", "write", "/data/kept")
    volume = web.cluster.get("pvc", "data", "-n", NAMESPACE)["spec"]["volumeName"]
    path = web.cluster.get("pv", volume)["spec"]["local"]["path"]
    web.cluster.kubectl("-n", NAMESPACE, "delete", "pod", "-l", "app=keeper")
    web.cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/keeper", ROLLOUT)
    answer = web.cluster.kubectl("-n", NAMESPACE, "exec", "deployment/keeper", "--", "/probe", "read", "/data/kept")
    assert answer == "written"
    assert web.run(["ls", path]) == "kept\n"
    web.cluster.kubectl("-n", NAMESPACE, "delete", "deployment/keeper", "pvc/data")
    web.cluster.kubectl("wait", "pv", volume, "--for=delete", "--timeout=30s")
    with pytest.raises(ClusterError, match="No such file"):
        web.run(["ls", path])


async def test_the_audit_log_tells_what_service_accounts_ask(web: Node) -> None:
    token = web.cluster.kubectl("-n", NAMESPACE, "create", "token", "default").strip()
    client = [f"--server={web.cluster.server}", f"--token={token}", "--insecure-skip-tls-verify"]
    done = web.cluster.try_kubectl("-n", NAMESPACE, *client, "get", "pods", kubeconfig=Path(os.devnull))
    assert "Forbidden" in done.stderr, done
    log, user = web.cluster.audit_log, f"system:serviceaccount:{NAMESPACE}:default"
    assert log

    def asked() -> set[tuple[str, str]]:
        events = [json.loads(line) for line in log.read_text().splitlines()]
        return {(one["verb"], one["objectRef"]["resource"]) for one in events if one["user"]["username"] == user}

    # An entry is written once the answer has been sent.
    await eventually(lambda: asked() == {("list", "pods")}, lambda: f"one call; there are {asked()}", seconds=10)


def test_logs_and_port_forwarding_work_from_outside(web: Node) -> None:
    assert "serving" in web.cluster.kubectl("-n", NAMESPACE, "logs", "deployment/web")
    command = [str(web.cluster.kubectl_path), f"--kubeconfig={web.cluster.kubeconfig}", "-n", NAMESPACE]
    command += ["port-forward", "deployment/web", "--address=127.0.0.1", ":8080"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        assert forward.stdout
        port = forward.stdout.readline().split(" -> ")[0].rpartition(":")[2]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert answer.read().startswith(b"from web-")
        forward.terminate()


def test_a_process_of_ours_is_reachable_from_pods_and_reaches_services(web: Node) -> None:
    server = [*child.command(*web.command(sys.executable, "-c", SERVER, ADDRESS))]
    with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        port = process.stdout.readline().strip()
        assert probe(web, "get", f"http://{ADDRESS}:{port}/") == "hello from outside of any Pod"
        process.stdin.close()
    address = web.cluster.get("service", "web", "-n", NAMESPACE)["spec"]["clusterIP"]
    fetch = f"import urllib.request; print(urllib.request.urlopen('http://{address}/', timeout=5).read().decode())"
    done = subprocess.run(web.command(sys.executable, "-c", fetch), capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith("from web-"), done.stderr
    kubeconfig = f"--kubeconfig={web.inside_kubeconfig}"
    inside = web.command(str(web.cluster.kubectl_path), kubeconfig, "get", "--raw=/readyz")
    assert subprocess.run(inside, capture_output=True, text=True, timeout=30).stdout == "ok"
