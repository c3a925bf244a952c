"""The text of the roles; that they suffice, and no more, is tested on the real API server."""

from __future__ import annotations

from typing import Any

from nbhd_crds.api.roles import LEASE, lease_role, roles


def rules(documents: list[dict[str, Any]], kind: str, name: str) -> list[dict[str, Any]]:
    (found,) = [one for one in documents if one["kind"] == kind and one["metadata"]["name"] == name]
    return list(found["rules"])


def test_only_the_operator_writes_events_and_nobody_reads_them() -> None:
    for service in ("operator", "webhooks", "router"):
        found = rules(roles(), "ClusterRole", f"nbhd-{service}")
        events = [rule["verbs"] for rule in found if "events" in rule["resources"]]
        assert events == ([["create"]] if service == "operator" else [])


def test_the_operator_reaches_one_lease_in_one_namespace() -> None:
    (create, use) = rules(roles("somewhere"), "Role", LEASE)
    assert create["verbs"] == ["create"]
    assert (use["resourceNames"], use["verbs"]) == ([LEASE], ["get", "update"])
    for role in ("operator", "webhooks", "router"):
        assert not [r for r in rules(roles(), "ClusterRole", f"nbhd-{role}") if "leases" in r["resources"]]
    for document in lease_role("somewhere", "elsewhere"):
        assert document["metadata"]["namespace"] == "somewhere"
    assert lease_role("somewhere", "elsewhere")[1]["subjects"][0]["namespace"] == "elsewhere"


def test_the_operator_reads_the_one_namespace_of_the_tenants() -> None:
    there = [one for one in roles("somewhere", "subscribers") if one["metadata"].get("namespace") == "subscribers"]
    found = rules(there, "Role", "nbhd-operator")
    (namespaces,) = [rule for rule in found if "namespaces" in rule["resources"]]
    assert (namespaces["resourceNames"], namespaces["verbs"]) == (["subscribers"], ["get"])
