"""Objects as the API server has them, for the tests of what commands make of them."""

from __future__ import annotations

import datetime
from typing import Any

from nbhd_crds.api import Cell, Plan, Tenant

NOW = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
DIGEST = "sha256:" + "a1b2" * 16


def ago(**length: float) -> str:
    """A moment before ``NOW``."""
    return (NOW - datetime.timedelta(**length)).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, status: str, reason: str, message: str = "", since: str = ago(minutes=5)) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message or f"{reason}.",
        "observedGeneration": 1,
        "lastTransitionTime": since,
    }


def tenant(name: str = "ada", *conditions: dict[str, Any], phase: str | None = "Ready", **parts: Any) -> Tenant:
    """A Tenant that the operator has acted on; ``parts`` are of metadata, spec or status."""
    return Tenant.parse(raw_tenant(name, *conditions, phase=phase, **parts))


def raw_tenant(
    name: str = "ada",
    *conditions: dict[str, Any],
    phase: str | None = "Ready",
    metadata: dict[str, Any] | None = None,
    spec: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
) -> dict[str, Any]:
    meta = {"name": name, "namespace": "tenants", "uid": f"u-{name}", "resourceVersion": "1", "generation": 1}
    have = {"observedGeneration": 1, "plan": "basic", "cell": "east", "conditions": list(conditions)}
    return {
        "apiVersion": "nbhd.united/v1alpha1",
        "kind": "Tenant",
        "metadata": meta | {"creationTimestamp": ago(hours=5)} | (metadata or {}),
        "spec": {"id": "abcdefgh23456789wxyz", **(spec or {})},
        "status": have | ({"phase": phase} if phase else {}) | (status or {}),
    }


def plan(name: str = "basic", *conditions: dict[str, Any], **status: Any) -> Plan:
    image = f"registry.example/openclaw@{DIGEST}"
    return Plan.parse(
        {
            "metadata": {"name": name, "namespace": "tenants", "uid": f"u-{name}"},
            "spec": {"image": image},
            "status": {"conditions": list(conditions), **status},
        }
    )


def cell(name: str = "east", *conditions: dict[str, Any], annotations: Any = None, **status: Any) -> Cell:
    group = "/subscriptions/s/resourceGroups/g/providers"
    return Cell.parse(
        {
            "metadata": {
                "name": name,
                "namespace": "tenants",
                "uid": f"u-{name}",
                "resourceVersion": "7",
                "annotations": annotations or {},
            },
            "spec": {
                "resourceGroup": "g",
                "location": "eastus2",
                "environmentId": f"{group}/Microsoft.App/managedEnvironments/e",
                "pullIdentityId": f"{group}/Microsoft.ManagedIdentity/userAssignedIdentities/pull",
            },
            "status": {"conditions": list(conditions), **status},
        }
    )
