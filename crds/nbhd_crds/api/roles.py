"""RBAC of the services: their ServiceAccounts and the calls that each of them makes, nothing more; and of people.

RBAC says which objects, ``policies.py`` says which fields. ``generate.py`` writes the result to ``manifests/rbac``.
"""

from __future__ import annotations

from typing import Any

from nbhd_crds.api.meta import GROUP
from nbhd_crds.api.policies import SERVICES, SERVICES_NAMESPACE

_READ = ["get", "list", "watch"]
_WRITE = ["create", "update", "patch", "delete"]
LEASE = "nbhd-operator"
"""Name of the Lease by which the operator's replicas elect their leader."""

# Creating a Tenant is webhooks' alone: everybody else's late write must not bring a deleted one back.
_RULES: dict[str, list[tuple[list[str], list[str]]]] = {
    "operator": [
        (["tenants"], [*_READ, "patch"]),
        (["tenants/status", "plans/status", "cells/status"], ["patch"]),
        (["plans", "cells"], ["list", "watch"]),
    ],
    "webhooks": [(["tenants"], ["get", "list", "create", "patch"])],
    "router": [(["tenants"], [*_READ, "patch"])],
}


def rules(service: str, tenants: str | None = None) -> list[dict[str, Any]]:
    """What the service may do where the Tenants are (all namespaces without ``tenants``), in RBAC's own form."""
    allowed = [{"apiGroups": [GROUP], "resources": on, "verbs": verbs} for on, verbs in _RULES[service]]
    if service == "operator":
        allowed.append({"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]})
        # Its uid is in the claim of a cell: a cluster that was built anew is another one.
        own = {"resourceNames": [tenants]} if tenants else {}
        allowed.append({"apiGroups": [""], "resources": ["namespaces"], **own, "verbs": ["get"]})
    return allowed


def roles(namespace: str = SERVICES_NAMESPACE, tenants: str | None = None) -> list[dict[str, Any]]:
    """The namespace, ServiceAccounts, roles and bindings of the services.

    The rights count in the namespace ``tenants`` only; without one, in all namespaces.
    """
    scope = {"namespace": tenants} if tenants else {}
    kind = "Role" if tenants else "ClusterRole"
    documents: list[dict[str, Any]] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}]
    for service in SERVICES:
        role = f"nbhd-{service}"
        allowed = rules(service, tenants)
        if service == "operator" and not tenants:  # kopf looks for our CRDs before it watches them
            crds = {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": _READ}
            allowed.append(crds)
        documents += [
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": service, "namespace": namespace},
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": kind,
                "metadata": {"name": role, **scope},
                "rules": allowed,
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": f"{kind}Binding",
                "metadata": {"name": role, **scope},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": service, "namespace": namespace}],
            },
        ]
    return documents + lease_role(namespace, namespace)


def lease_role(namespace: str = SERVICES_NAMESPACE, accounts: str = SERVICES_NAMESPACE) -> list[dict[str, Any]]:
    """Lets the operator, whose ServiceAccount is in ``accounts``, use its Lease in ``namespace`` and no other.

    Creating cannot be bound to a name: the name is not in the request's address.
    https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources
    """
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": LEASE, "namespace": namespace},
            "rules": [
                {**leases, "verbs": ["create"]},
                {**leases, "resourceNames": [LEASE], "verbs": ["get", "update"]},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": LEASE, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": LEASE},
            "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": accounts}],
        },
    ]


# What people's role lets them do besides what the one before lets them. No `deletecollection`: one wrong request must
# not end everybody. The subscribers are an editor's work, what they buy and where they live an administrator's.
_PEOPLE: dict[str, list[tuple[list[str], list[str]]]] = {
    "view": [(["tenants", "plans", "cells"], _READ)],
    "edit": [(["tenants"], _WRITE)],
    "admin": [(["plans", "cells"], _WRITE)],
}


def people() -> list[dict[str, Any]]:
    """Adds our kinds to the cluster's own roles ``view``, ``edit`` and ``admin``, which a RoleBinding gives to people.

    Each of these holds the one before by itself.
    https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles
    """
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {
                "name": f"nbhd-{role}",
                "labels": {f"rbac.authorization.k8s.io/aggregate-to-{role}": "true"},
            },
            "rules": [{"apiGroups": [GROUP], "resources": on, "verbs": verbs} for on, verbs in allowed],
        }
        for role, allowed in _PEOPLE.items()
    ]
