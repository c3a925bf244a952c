"""The comparison with Azure: its rewriting of what we sent is no difference, a change by somebody else is one."""

from __future__ import annotations

from typing import Any

import pytest

from nbhd_operator.diff import differences

ID = "/subscriptions/S/resourceGroups/RG/providers/Microsoft.ManagedIdentity/userAssignedIdentities/a"


@pytest.mark.parametrize(
    ("want", "have"),
    [
        ({"location": "eastus2"}, {"location": "East US 2"}),
        ({"id": "/subscriptions/S/resourceGroups/RG"}, {"id": "/subscriptions/s/resourcegroups/rg"}),
        ({"ingress": {"transport": "auto"}}, {"ingress": {"transport": "Auto", "fqdn": "x", "allowInsecure": False}}),
        ({"identity": {"userAssigned": {ID: {}}}}, {"identity": {"userAssigned": {ID.lower(): {"principalId": "p"}}}}),
        ({"scale": {"minReplicas": 0, "rules": None}}, {"scale": {"minReplicas": None, "maxReplicas": 10}}),
        ({"revisionSuffix": None}, {"revisionSuffix": ""}),
        ({"secrets": []}, {"secrets": None}),
        ({"secrets": []}, {}),
        ({"resources": {"cpu": 1.0}}, {"resources": {"cpu": 1, "ephemeralStorage": "2Gi"}}),
        ({"resources": {"cpu": 0.5}}, {"resources": {"cpu": "0.50"}}),
        (
            {"registries": [{"server": "r.io", "identity": ID}]},
            {"registries": [{"server": "r.io", "identity": ID.lower(), "username": "", "passwordSecretRef": ""}]},
        ),
        (
            {"containers": [{"name": "c", "env": [{"name": "A", "value": "1"}, {"name": "B", "secretRef": "s"}]}]},
            {"containers": [{"name": "c", "env": [{"name": "B", "secretRef": "s"}, {"name": "A", "value": "1"}]}]},
        ),
    ],
)
def test_what_azure_rewrites_is_no_difference(want: dict[str, Any], have: dict[str, Any]) -> None:
    assert differences(want, have) == []


@pytest.mark.parametrize(
    ("want", "have", "paths"),
    [
        ({"scale": {"maxReplicas": 1}}, {"scale": {"maxReplicas": 2}}, ["scale.maxReplicas"]),
        ({"scale": {"maxReplicas": 1}}, {}, ["scale.maxReplicas"]),
        ({"external": True}, {"external": False}, ["external"]),
        ({"tags": {"a": "x"}}, {"tags": {"a": "X"}}, ["tags.a"]),
        ({"value": '{"TOKEN":"aB"}'}, {"value": '{"TOKEN":"Ab"}'}, ["value"]),
        ({"identity": {"userAssigned": {ID: {}}}}, {"identity": {"userAssigned": {}}}, [f"identity.userAssigned.{ID}"]),
        (
            {"containers": [{"name": "c", "env": [{"name": "A", "value": "x"}]}]},
            {"containers": [{"name": "c", "env": [{"name": "A", "value": "X"}]}]},
            ["containers.c.env.A.value"],
        ),
        (
            {"containers": [{"name": "c", "image": "i"}]},
            {"containers": [{"name": "c", "image": "i"}, {"name": "miner", "image": "m"}]},
            ["containers.miner"],
        ),
        (
            {"containers": [{"name": "c", "image": "i"}]},
            {"containers": []},
            ["containers.c.image", "containers.c.name"],
        ),
        ({"list": ["a"]}, {"list": ["a", "b"]}, ["list"]),
    ],
)
def test_a_change_by_somebody_else_is_found_and_named(
    want: dict[str, Any], have: dict[str, Any], paths: list[str]
) -> None:
    assert differences(want, have) == paths
