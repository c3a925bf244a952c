"""kubeconform finds nothing in what the chart renders and in ``manifests``, by the schemas of the real API server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from nbhd_local import openapi, tools
from nbhd_local.chart.helm import template
from nbhd_local.chart.manifests import MANIFESTS
from nbhd_local.cluster import Cluster

SERVED = (
    "v1",
    "admissionregistration.k8s.io/v1",
    "apiextensions.k8s.io/v1",
    "apps/v1",
    "batch/v1",
    "nbhd.united/v1alpha1",
    "networking.k8s.io/v1",
    "policy/v1",
    "rbac.authorization.k8s.io/v1",
)
# Of programs whose CRDs are in no Go module of a bearable size, and what only kubectl reads.
SKIPPED = {
    "Application": "argocd/application.yaml",
    "GitRepository": "flux/release.yaml",
    "HelmRelease": "flux/release.yaml",
    "Kustomization": "base/kustomization.yaml overlays/example/kustomization.yaml samples/kustomization.yaml",
}
PATCHES = MANIFESTS / "overlays" / "example"  # parts of objects; they are looked at as kustomize puts them together


@pytest.fixture(scope="module")
def schemas(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of schemas: what the API server knows, and the CRDs of others that the chart has objects of."""
    folder = tmp_path_factory.mktemp("schemas")
    openapi.write(folder, openapi.of_server(cluster, SERVED))
    for path in tools.foreign_crds():
        openapi.write(folder, openapi.of_crd(yaml.safe_load(path.read_text()), cluster))
    return folder


def conform(schemas: Path, *files: Path, text: str = "") -> list[dict[str, Any]]:
    """What kubeconform says of every object, in files or in a text."""
    command = [str(tools.kubeconform()), "-strict", "-verbose", "-output=json", f"-skip={','.join(SKIPPED)}"]
    command += [f"-schema-location={schemas}/{openapi.LOCATION}", *map(str, files)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)["resources"]
    assert bool(done.returncode) == bool(problems(found))
    return [one for one in found if one["status"]]  # a comment between two separators has none


def problems(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if one["status"] in ("statusInvalid", "statusError")]


@pytest.mark.parametrize(
    "values", [(), ("ha",), ("strict",), ("ha", "strict"), ("monitoring",), ("local",)], ids="+".join
)
def test_the_chart(schemas: Path, values: tuple[str, ...]) -> None:
    found = conform(schemas, text=template(*values))
    assert problems(found) == []
    assert len(found) > 40
    assert {one["status"] for one in found} == {"statusValid"}


def test_all_of_the_manifests(schemas: Path, cluster: Cluster) -> None:
    files = [path for path in sorted(MANIFESTS.rglob("*.yaml")) if PATCHES not in path.parents]
    found = conform(schemas, *files, PATCHES / "kustomization.yaml")
    assert problems(found) == []
    skipped = {(one["kind"], one["filename"]) for one in found if one["status"] == "statusSkipped"}
    assert skipped == {(kind, str(MANIFESTS / name)) for kind, names in SKIPPED.items() for name in names.split()}
    assert len(found) > 60
    built = cluster.kubectl("kustomize", str(PATCHES))
    assert {one["status"] for one in conform(schemas, text=built)} == {"statusValid"}


@pytest.mark.parametrize(
    ("source", "right", "wrong", "where"),
    [
        ((), "terminationGracePeriodSeconds", "terminationGracePeriodSecond", "/spec/template/spec"),
        ((), "containerPort: 8000", "containerPort: http", "/spec/template/spec/containers/0/ports/0/containerPort"),
        (("monitoring",), "interval: 30s", "interval: often", "/spec/endpoints/0/interval"),
        ("samples/tenant.yaml", "complimentary:", "complimentry:", "/spec"),
        ("samples/plans.yaml", "memory: 2Gi", "memory: 2GB", "/spec/memory"),
        ("samples/cells.yaml", "resourceGroup:", "resourcegroup:", "/spec"),
        ("rbac/services.yaml", "apiGroup: rbac.authorization.k8s.io", "apigroup: ''", "/roleRef"),
    ],
)
def test_a_mistake_is_found(schemas: Path, source: str | tuple[str, ...], right: str, wrong: str, where: str) -> None:
    text = (MANIFESTS / source).read_text() if isinstance(source, str) else template(*source)
    assert right in text
    found = problems(conform(schemas, text=text.replace(right, wrong)))
    assert f"at '{where}'" in " ".join(one["msg"] for one in found)


def test_a_kind_without_a_schema_is_an_error(schemas: Path) -> None:
    found = conform(schemas, text=json.dumps({"apiVersion": "v2", "kind": "Pod", "metadata": {"name": "new"}}))
    assert [one["msg"] for one in found] == ["could not find schema for Pod"]
