"""Turns the models into structural OpenAPI v3 schemas and CustomResourceDefinitions.

Kubernetes wants no ``$ref``, no ``anyOf`` with null, a type everywhere; a field that may be absent is simply not
required. ``generate.py`` writes the result to ``manifests/crds``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel

from nbhd_crds.api.cell import Cell
from nbhd_crds.api.meta import GROUP, VERSION, KubernetesObject
from nbhd_crds.api.plan import Plan
from nbhd_crds.api.tenant import Tenant

Schema = dict[str, Any]

_PHASE = {"name": "Phase", "type": "string", "jsonPath": ".status.phase"}
_REASON = {"name": "Reason", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Reconciling")].reason'}
_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


class _Kind:
    """How kubectl shows one of our kinds."""

    short_names: ClassVar[dict[str, list[str]]] = {"Tenant": ["nt"], "Plan": [], "Cell": []}
    columns: ClassVar[dict[str, list[Schema]]] = {
        "Tenant": [
            _PHASE,
            {"name": "Plan", "type": "string", "jsonPath": ".status.plan"},
            _REASON,
            {"name": "Cell", "type": "string", "jsonPath": ".status.cell", "priority": 1},
            {"name": "Endpoint", "type": "string", "jsonPath": ".status.endpoint", "priority": 1},
            _AGE,
        ],
        "Plan": [
            {"name": "Lookup keys", "type": "string", "jsonPath": ".spec.lookupKeys"},
            {"name": "CPU", "type": "string", "jsonPath": ".spec.cpu"},
            {"name": "Memory", "type": "string", "jsonPath": ".spec.memory"},
            {"name": "Tenants", "type": "integer", "jsonPath": ".status.tenants"},
            {"name": "Updated", "type": "integer", "jsonPath": ".status.updated"},
            _REASON,
            _AGE,
        ],
        "Cell": [
            {"name": "Location", "type": "string", "jsonPath": ".spec.location"},
            {"name": "Resource group", "type": "string", "jsonPath": ".spec.resourceGroup"},
            {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
            {
                "name": "Schedulable",
                "type": "string",
                "jsonPath": '.status.conditions[?(@.type=="Schedulable")].reason',
            },
            {"name": "Tenants", "type": "integer", "jsonPath": ".status.tenants"},
            {"name": "Orphans", "type": "integer", "jsonPath": ".status.orphanCount"},
            _AGE,
        ],
    }


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of one model, with descriptions and defaults."""
    document = model.model_json_schema(by_alias=True)
    schema = _inline(document, document.get("$defs", {}))
    rules = getattr(model, "rules", [])
    if rules:
        schema["x-kubernetes-validations"] = rules
    return schema


def _inline(node: Schema, definitions: dict[str, Schema]) -> Schema:
    if "$ref" in node:
        target = _inline(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
        return target | {k: _present(v) for k, v in node.items() if k in ("description", "default")}
    if "anyOf" in node:
        (only,) = [option for option in node["anyOf"] if option.get("type") != "null"]
        rest = {k: v for k, v in node.items() if k not in ("anyOf", "title", "default")}
        return _inline(only, definitions) | rest
    out: Schema = {}
    for key, value in node.items():
        if key in ("title", "$defs"):
            continue
        if key == "properties":
            out[key] = {name: _inline(child, definitions) for name, child in value.items()}
        elif key == "items":
            out[key] = _inline(value, definitions)
        elif key == "default":
            if value not in (None, []):
                out[key] = _present(value)
        else:
            out[key] = value
    return out


def _present(default: Any) -> Any:
    """A default without absent fields."""
    return {k: v for k, v in default.items() if v is not None} if isinstance(default, dict) else default


def crd(kind: type[KubernetesObject]) -> Schema:
    """The CustomResourceDefinition of one kind."""
    name, plural = kind.kind, kind.plural
    fields = kind.model_fields
    properties: Schema = {
        "apiVersion": {"type": "string", "description": "Version of this API."},
        "kind": {"type": "string", "description": "Kind of this object."},
        "metadata": {"type": "object"},
    }
    for part in ("spec", "status"):
        if part in fields:
            annotation = fields[part].annotation
            if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
                message = f"{name}.{part} must be a model"
                raise TypeError(message)
            properties[part] = structural(annotation)
    if name == "Tenant":
        # Not looked at yet: kstatus, and so Flux and Argo CD, must not take a new object for a finished one.
        properties["status"]["default"] = {"observedGeneration": -1}
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": _Kind.columns[name],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": (kind.__doc__ or "").strip(),
                "required": ["spec"],
                "properties": properties,
            }
        },
    }
    if "status" in fields:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": plural,
                "singular": name.lower(),
                "categories": ["nbhd"],
                **({"shortNames": _Kind.short_names[name]} if _Kind.short_names[name] else {}),
            },
            "versions": [version],
        },
    }


def crds() -> list[Schema]:
    """All our CustomResourceDefinitions."""
    return [crd(kind) for kind in (Tenant, Plan, Cell)]
