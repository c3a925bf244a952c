"""OpenAPI schemas as Kubernetes publishes them, turned into JSON schemas that refuse what the API server would drop."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from nbhd_local import openapi

Schema = dict[str, Any]

OBJECT: Schema = {
    "type": "object",
    "description": "for people",
    "x-kubernetes-validations": [{"rule": "true"}],
    "required": ["name", "size"],
    "properties": {
        "name": {"type": "string", "default": ""},
        "size": {"type": "string", "default": "1Gi"},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "default": ""}},
        "parts": {"type": "array", "items": {"type": "object", "properties": {"port": {"type": "integer"}}}},
        "port": {"x-kubernetes-int-or-string": True},
        "extra": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {}}},
        "anything": {"type": "object"},
        "until": {"type": "string", "nullable": True},
        "owner": {"allOf": [{"$ref": "#/components/schemas/owner"}], "default": {}},
        "either": {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "oneOf": [{"required": ["a"]}, {"properties": {"b": {"enum": ["x"]}}, "required": ["b"]}],
        },
    },
}
OWNER: Schema = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "of": {"$ref": "#/components/schemas/owner"}},
}
SCHEMA = openapi._standalone(OBJECT, {"owner": OWNER, "stranger": {}})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"labels": {"any": "text"}},
        {"parts": [{"port": 1}]},
        {"port": 1},
        {"port": "http"},
        {"extra": {"a": 1, "b": 2}},
        {"anything": {"at": "all"}},
        {"until": None},
        {"owner": {"of": {"id": "ada"}}},
        {"either": {"a": "y"}},
    ],
    ids=str,
)
def test_accepted(more: Schema) -> None:
    jsonschema.Draft4Validator(SCHEMA).validate({"name": "ada", **more})


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({}, ""),  # a default that is a zero value is none
        ({"name": "ada", "nmae": "ada"}, ""),
        ({"name": "ada", "labels": {"any": 1}}, "labels/any"),
        ({"name": "ada", "parts": [{"prot": 1}]}, "parts/0"),
        ({"name": "ada", "port": 1.5}, "port"),
        ({"name": "ada", "owner": {"of": {"ID": "ada"}}}, "owner/of"),
        ({"name": "ada", "either": {"a": "y", "b": "x"}}, "either"),
        ({"name": "ada", "either": {"a": "y", "c": "x"}}, "either"),
    ],
    ids=str,
)
def test_refused(given: Schema, where: str) -> None:
    (problem,) = jsonschema.Draft4Validator(SCHEMA).iter_errors(given)
    assert "/".join(map(str, _deepest(problem).absolute_path)) == where


def _deepest(problem: jsonschema.ValidationError) -> jsonschema.ValidationError:
    return _deepest(problem.context[0]) if problem.context and problem.validator == "allOf" else problem


def test_only_what_is_needed_is_taken_along() -> None:
    assert set(SCHEMA["definitions"]) == {"owner"}


@pytest.mark.parametrize(
    ("kind", "version", "name"),
    [
        ("Pod", "v1", "pod-v1.json"),
        ("Deployment", "apps/v1", "deployment-apps-v1.json"),
        ("Tenant", "nbhd.united/v1alpha1", "tenant-nbhd-v1alpha1.json"),
    ],
)
def test_files_are_named_as_kubeconform_looks_for_them(kind: str, version: str, name: str) -> None:
    assert openapi._file(kind, version) == name
