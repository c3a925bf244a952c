"""``kubectl nbhd`` as a plugin of the real kubectl: what RBAC lets a person do, and nothing more."""

from __future__ import annotations

import base64
import datetime
import json
import os
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from nbhd_crds.identity import Keyring, account_code, read_link
from nbhd_local.cluster import Cluster

KEYS = f"a1:{base64.urlsafe_b64encode(b'k' * 32).decode().rstrip('=')}"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def platform(cluster: Cluster, namespace: str) -> None:
    """The objects that an installation has."""
    objects = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "nbhd-link-keys", "namespace": namespace},
            "stringData": {"keys": KEYS},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "nbhd-platform", "namespace": namespace},
            "data": {"platformId": "nbhd", "botUsername": "nbhd_bot"},
        },
    ]
    cluster.apply(*objects)


@pytest.fixture
def nbhd(cluster: Cluster, namespace: str) -> Run:
    """``kubectl nbhd … -n NAMESPACE``, as the administrator or with another kubeconfig."""

    def run(*args: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
        path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "KUBECONFIG": str(kubeconfig or cluster.kubeconfig)}
        command = [str(cluster.kubectl_path), "nbhd", *args, "-n", namespace]
        command += ["--system-namespace", namespace] if args[0] == "link" else []
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    return run


@pytest.mark.usefixtures("platform")
def test_a_new_tenant_and_its_link(cluster: Cluster, namespace: str, nbhd: Run) -> None:
    made = nbhd("new", "ada", "--plan", "basic", "--complimentary", "--apply")
    assert (made.returncode, made.stdout, made.stderr) == (0, "tenant.nbhd.united/ada created\n", "")
    spec = cluster.get("tenant", "ada", "-n", namespace)["spec"]
    assert (spec["planRef"], spec["complimentary"]) == ({"name": "basic"}, True)

    linked = nbhd("link", "ada")
    assert linked.returncode == 0, linked.stderr
    bot, _, token = linked.stdout.strip().removeprefix("https://t.me/").partition("?start=")
    assert bot == "nbhd_bot"
    assert account_code(spec["id"]) in linked.stderr
    found = read_link(Keyring.parse("link", KEYS), "nbhd", token, datetime.datetime.now(datetime.UTC))
    assert (found.spec_id, found.generation) == (spec["id"], 0)


def test_the_printed_manifest_can_be_applied(cluster: Cluster, namespace: str, nbhd: Run) -> None:
    printed = nbhd("new", "bob")
    cluster.kubectl("create", "--validate=strict", "-f", "-", stdin=printed.stdout)
    assert cluster.get("tenant", "bob", "-n", namespace)["spec"]["id"] in printed.stdout


def test_a_name_that_is_taken(nbhd: Run) -> None:
    assert nbhd("new", "ada", "--apply").returncode == 0
    again = nbhd("new", "ada", "--apply")
    assert again.returncode == 1
    assert "exists already" in again.stderr


@pytest.mark.usefixtures("platform")
def test_a_tenant_that_is_not_there(nbhd: Run) -> None:
    done = nbhd("link", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert 'tenant "nobody" not found' in done.stderr


@pytest.mark.usefixtures("platform")
def test_who_may_not_read_the_key_gets_no_link(nbhd: Run, service_kubeconfig: Callable[[str], Path]) -> None:
    assert nbhd("new", "ada", "--apply").returncode == 0
    refused = nbhd("link", "ada", kubeconfig=service_kubeconfig("webhooks"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert 'you may not read secret "nbhd-link-keys"' in refused.stderr


def test_without_an_installation(nbhd: Run) -> None:
    assert nbhd("new", "ada", "--apply").returncode == 0
    done = nbhd("link", "ada")
    assert done.returncode == 1
    assert "is the platform installed?" in done.stderr


@pytest.mark.usefixtures("platform")
def test_a_malformed_key_is_not_quoted(cluster: Cluster, namespace: str, nbhd: Run) -> None:
    assert nbhd("new", "ada", "--apply").returncode == 0
    patch = json.dumps({"stringData": {"keys": "a1:supersecretbutshort"}})
    cluster.kubectl("patch", "secret", "nbhd-link-keys", "-n", namespace, "-p", patch)
    done = nbhd("link", "ada")
    assert done.returncode == 1
    assert 'secret "nbhd-link-keys", key "keys"' in done.stderr
    assert "supersecret" not in done.stderr
