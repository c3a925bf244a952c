"""``manifests`` on a real API server with kubectl: everything is accepted, and a second apply changes nothing.

Also while the services write: what Git says of a Tenant and what they say never meet.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nbhd_local import tools
from nbhd_local.chart import CHART
from nbhd_local.chart.helm import documents, template
from nbhd_local.chart.manifests import MANIFESTS
from nbhd_local.cluster import Cluster

OVERLAY, SAMPLES = MANIFESTS / "overlays" / "example", MANIFESTS / "samples"
STATUS = {"phase": "Provisioning", "observedGeneration": 1}
BILLING = {"customerId": "cus_ada", "status": "active"}
Versions = dict[tuple[str, str, str], tuple[int | None, str]]


@pytest.fixture(scope="module")
def cluster(empty: Cluster) -> Cluster:
    apply(empty)
    return empty


def apply(cluster: Cluster) -> None:
    """What manifests/README.md says, strictly: unknown fields are errors."""
    strict = ["apply", "--server-side", "--validate=strict", "--field-manager=git"]
    cluster.kubectl(*strict, "-k", str(OVERLAY))
    crds = [f"crd/{plural}.nbhd.united" for plural in ("tenants", "plans", "cells")]
    cluster.kubectl("wait", "--for=condition=Established", *crds, "--timeout=30s")
    cluster.kubectl(*strict, "-k", str(SAMPLES))


def built(cluster: Cluster, folder: Path) -> str:
    return cluster.kubectl("kustomize", str(folder))


def versions(cluster: Cluster) -> Versions:
    """(generation, resourceVersion) of everything in the manifests."""
    everything = "---\n".join(built(cluster, folder) for folder in (OVERLAY, SAMPLES))
    found: Versions = {}
    for one in json.loads(cluster.kubectl("get", "-f", "-", "-o", "json", stdin=everything))["items"]:
        metadata = one["metadata"]
        key = (one["kind"], metadata.get("namespace", ""), metadata["name"])
        found[key] = (metadata.get("generation"), metadata["resourceVersion"])
    return found


def unchanged(cluster: Cluster, act: Callable[[], None]) -> Versions:
    """Acts until nothing differs afterwards: Kubernetes' own controllers also write, but not for ever."""
    deadline = time.monotonic() + 60
    while True:
        before = versions(cluster)
        act()
        after = versions(cluster)
        if before == after:
            return after
        assert time.monotonic() < deadline, {key for key in before if before[key] != after.get(key)}


def test_nothing_in_the_example_is_left_to_be_filled_in(cluster: Cluster) -> None:
    placeholders = set[str]()
    given = yaml.safe_load((CHART / "ci" / "minimal-values.yaml").read_text())
    for part in ("urls", "azure", "telegram", "stripe"):
        placeholders |= set(re.findall(r"[\w.:/-]+", json.dumps(list(_leaves(given[part])))))
    text = built(cluster, OVERLAY)
    assert len(placeholders) == 9
    assert [one for one in placeholders if re.search(rf"(?<![\w.]){re.escape(one)}(?![\w.])", text)] == []
    images = {
        container["image"]
        for one in documents(text)
        if one["kind"] == "Deployment"
        for container in one["spec"]["template"]["spec"]["containers"]
    }
    assert images == {"contoso.azurecr.io/nbhd-united:0.2.0"}


def _leaves(node: object) -> list[str]:
    if isinstance(node, dict):
        return [leaf for value in node.values() for leaf in _leaves(value)]
    return [str(node)]


def write(cluster: Cluster, service: str, part: dict[str, Any], folder: Path, *more: str) -> None:
    """Applies a part of the sample Tenant as a service does."""
    metadata = {"name": "ada", "namespace": "nbhd-tenants"}
    tenant = {"apiVersion": "nbhd.united/v1alpha1", "kind": "Tenant", "metadata": metadata, **part}
    command = ["apply", "--server-side", f"--field-manager=nbhd-{service}", *more, "-f", "-"]
    kubeconfig = cluster.service_kubeconfig(service, folder)
    done = cluster.try_kubectl(*command, stdin=json.dumps(tenant), kubeconfig=kubeconfig)
    assert done.returncode == 0, done.stderr


def test_a_second_apply_changes_nothing_nor_while_the_services_write(cluster: Cluster, tmp_path: Path) -> None:
    assert len(unchanged(cluster, lambda: apply(cluster))) > 40

    write(cluster, "webhooks", {"spec": {"id": "adalovelace1", "billing": BILLING}}, tmp_path)
    write(cluster, "operator", {"status": STATUS}, tmp_path, "--subresource=status")
    unchanged(cluster, lambda: apply(cluster))
    found = cluster.get("-n", "nbhd-tenants", "tenant", "ada")
    assert found["spec"]["billing"] == BILLING
    assert found["spec"]["complimentary"] is True
    assert found["status"] == STATUS


def rehearse(cluster: Cluster, text: str) -> tuple[int, str]:
    """The API server's own word on a render, unknown and doubled fields included. Nothing is stored."""
    as_before = ["--server-side", "--field-manager=git", "--force-conflicts"]
    done = cluster.try_kubectl("apply", *as_before, "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    return done.returncode, done.stderr


@pytest.mark.parametrize("values", [("ha",), ("strict",), ("ha", "strict"), ("local",)], ids="+".join)
def test_what_other_values_render_is_valid(cluster: Cluster, values: tuple[str, ...]) -> None:
    assert rehearse(cluster, template(*values)) == (0, "")  # nor a warning: all Pods keep to the restricted level


def test_what_monitoring_and_key_vault_render_is_valid(cluster: Cluster) -> None:
    """Against the CRDs of the Prometheus operator and of the CSI driver, as they publish them."""
    for path in tools.foreign_crds():
        cluster.kubectl("apply", "--server-side", "-f", str(path))
    named = [f"crd/{path.stem.split('_')[1]}.{path.stem.split('_')[0]}" for path in tools.foreign_crds()]
    cluster.kubectl("wait", "--for=condition=Established", *named, "--timeout=30s")
    assert rehearse(cluster, template("monitoring")) == (0, "")
    wrong = template("monitoring").replace("interval: 30s", "interval: often")
    assert "spec.endpoints[0].interval" in rehearse(cluster, wrong)[1]


def test_a_pod_that_may_too_much_would_be_noticed(cluster: Cluster) -> None:
    text = template().replace("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true")
    assert "would violate PodSecurity" in rehearse(cluster, text)[1]
