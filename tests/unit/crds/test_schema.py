"""The generated CRDs: not stale, structural, described, and as the design names them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nbhd_crds.api.generate import render
from nbhd_crds.api.schema import crds

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "manifests"
CRDS = {document["spec"]["names"]["kind"]: document for document in crds()}


def schema(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def nodes(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from nodes(node[key], f"{path}[]")


NODES = [found for kind in CRDS for found in nodes(schema(kind), kind)]


def test_the_manifests_are_not_stale() -> None:
    rendered = render()
    for name, text in rendered.items():
        assert (MANIFESTS / name).read_text() == text, f"{name} is stale: run `make generate`"


def test_no_manifest_is_left_over() -> None:
    written = {str(path.relative_to(MANIFESTS)) for kind in ("crds", "rbac") for path in (MANIFESTS / kind).rglob("*")}
    assert written == set(render())


@pytest.mark.parametrize(("path", "node"), NODES, ids=[path for path, _ in NODES])
def test_every_field_is_structural_and_described(path: str, node: dict[str, Any]) -> None:
    assert "type" in node
    assert not node.keys() & {"$ref", "anyOf", "allOf", "oneOf", "nullable", "title"}
    assert "x-kubernetes-preserve-unknown-fields" not in node
    if not path.endswith(("[]", ".metadata")):
        assert node.get("description"), path


def test_names() -> None:
    assert set(CRDS) == {"Tenant", "Plan", "Cell"}
    names = CRDS["Tenant"]["spec"]["names"]
    assert (names["plural"], names["shortNames"], names["categories"]) == ("tenants", ["nt"], ["nbhd"])
    assert {document["spec"]["scope"] for document in CRDS.values()} == {"Namespaced"}


def test_the_columns_of_a_tenant() -> None:
    columns = CRDS["Tenant"]["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [c["name"] for c in columns if not c.get("priority")] == ["Phase", "Plan", "Reason", "Age"]


def test_a_tenant_needs_its_identity_only() -> None:
    spec = schema("Tenant")["properties"]["spec"]
    assert spec["required"] == ["id"]
    assert spec["properties"]["suspended"]["default"] is False


def test_the_identity_is_immutable() -> None:
    rules = [rule["rule"] for rule in schema("Tenant")["properties"]["spec"]["x-kubernetes-validations"]]
    assert "self.id == oldSelf.id" in rules


@pytest.mark.parametrize("part", ["spec.holds", "status.conditions"])
def test_lists_of_several_writers_are_maps(part: str) -> None:
    owner, name = part.split(".")
    node = schema("Tenant")["properties"][owner]["properties"][name]
    assert node["x-kubernetes-list-type"] == "map"


def test_the_manifests_are_plain_yaml() -> None:
    for text in render().values():
        assert "&id" not in text
        assert all(document["apiVersion"] for document in yaml.safe_load_all(text))
