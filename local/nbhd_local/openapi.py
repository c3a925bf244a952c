"""JSON schemas of what an API server serves, from its own OpenAPI documents: kubeconform's usual ones need a network.

They refuse unknown fields, which the API server would drop. ``tests/chart`` holds the chart and the manifests against
them; CRDs that are not installed anywhere bring their schemas along.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nbhd_local.cluster import Cluster

__all__ = ["LOCATION", "closed", "of_crd", "of_server", "write"]

LOCATION = "{{ .ResourceKind }}{{ .KindSuffix }}.json"
"""How kubeconform is told to find the files: ``deployment-apps-v1.json``."""
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_REFERENCE, _HERE = "#/components/schemas/", "#/definitions/"
_COMBINED = ("allOf", "anyOf", "oneOf")
_SAID_TO_PEOPLE = ("description", "default", "example", "nullable")

Schema = dict[str, Any]


def write(folder: Path, schemas: Mapping[str, Schema]) -> None:
    """Writes each schema into a file of its own."""
    for name, schema in schemas.items():
        (folder / name).write_text(json.dumps(schema))


def of_server(cluster: Cluster, versions: Iterable[str]) -> dict[str, Schema]:
    """File name → schema of every kind in these API versions, such as ``v1`` and ``apps/v1``."""
    found: dict[str, Schema] = {}
    for version in versions:
        path = f"apis/{version}" if "/" in version else f"api/{version}"
        components = json.loads(cluster.kubectl("get", "--raw", f"/openapi/v3/{path}"))["components"]["schemas"]
        for schema in components.values():
            for kind in schema.get("x-kubernetes-group-version-kind", ()):
                if "metadata" in schema.get("properties", {}) and _version(kind["group"], kind["version"]) == version:
                    found[_file(kind["kind"], version)] = _standalone(schema, components)
    return found


def of_crd(crd: Schema, cluster: Cluster) -> dict[str, Schema]:
    """The same of one CustomResourceDefinition, whose objects have metadata as the server knows it."""
    components = json.loads(cluster.kubectl("get", "--raw", "/openapi/v3/api/v1"))["components"]["schemas"]
    always = {name: {"type": "string"} for name in ("apiVersion", "kind")}
    always["metadata"] = {"$ref": f"{_REFERENCE}{_META}"}
    found: dict[str, Schema] = {}
    for version in crd["spec"]["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        whole = {**schema, "properties": {**schema["properties"], **always}}
        name = _version(crd["spec"]["group"], version["name"])
        found[_file(crd["spec"]["names"]["kind"], name)] = _standalone(whole, components)
    return found


def _version(group: str, version: str) -> str:
    return f"{group}/{version}" if group else version


def _file(kind: str, version: str) -> str:
    """As kubeconform fills in ``LOCATION``: of a group only what is before the first dot."""
    group, _, number = version.rpartition("/")
    return "-".join([kind, *([group.partition(".")[0]] if group else []), number]).lower() + ".json"


def _standalone(schema: Schema, components: Mapping[str, Schema]) -> Schema:
    """The schema with the definitions that it needs, and theirs."""
    root = closed(schema)
    definitions: dict[str, Schema] = {}
    todo = [root]
    while todo:
        for name in _references(todo.pop()):
            if name not in definitions:
                definitions[name] = closed(components[name])
                todo.append(definitions[name])
    return {**root, "definitions": definitions}


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix(_HERE)
        node = list(node.values())
    if isinstance(node, list):
        for one in node:
            yield from _references(one)


def closed(schema: Schema) -> Schema:
    """JSON schema (draft 4) of one OpenAPI schema, which refuses every field that it does not name."""
    found = {key: value for key, value in schema.items() if not key.startswith("x-") and key not in _SAID_TO_PEOPLE}
    if "$ref" in found:
        return {"$ref": found["$ref"].replace(_REFERENCE, _HERE)}
    if schema.get("x-kubernetes-int-or-string"):
        found.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    properties: Schema = schema.get("properties", {})
    if schema.get("x-kubernetes-embedded-resource"):
        properties = {**{name: {} for name in ("apiVersion", "kind", "metadata")}, **properties}
    if properties:
        found["properties"] = {name: closed(one) for name, one in properties.items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
            found["additionalProperties"] = False
        # Defaults come before validation; those that are zero are only how Go's fields without a pointer look.
        found["required"] = [name for name in schema.get("required", ()) if not properties.get(name, {}).get("default")]
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found[key] = closed(schema[key])
    for key in _COMBINED:  # a combination says more of the same fields, so only what it refers to is closed
        if key in found:
            found[key] = [closed(one) if set(one) == {"$ref"} else one for one in found[key]]
    if not found.get("required", True):
        del found["required"]  # draft 4 wants one name at least
    if schema.get("nullable") and "type" in found:
        found["type"] = [found["type"], "null"]
    return found
