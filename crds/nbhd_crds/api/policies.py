"""Admission policies: who may write which part of a Tenant.

Field managers settle merges, but they are self-declared and RBAC knows no fields. So the API server compares the old
and the new object and lets only a part's owner change it. ``generate.py`` writes the result to ``manifests/crds``.
"""

from __future__ import annotations

from typing import Any

from nbhd_crds.api.meta import ALLOW_DELETE_ANNOTATION, GROUP, VERSION
from nbhd_crds.api.tenant import TenantSpec, TenantStatus

SERVICES_NAMESPACE = "nbhd-system"
BREAK_GLASS_GROUP = "nbhd:break-glass"
NAMESPACE_CONTROLLER = "system:serviceaccount:kube-system:namespace-controller"

# Parts of the spec with an owner among the services; everything else belongs to people.
SPEC_OWNERS = {"billing": "webhooks", "holds": "webhooks", "telegram": "router"}
SERVICES = ("operator", "webhooks", "router")
# Statuses of a subscription that is being paid for, or may yet be.
PAID = ("active", "trialing", "past_due", "paused", "unpaid")


def service_account(service: str, namespace: str = SERVICES_NAMESPACE) -> str:
    """User name of a service's ServiceAccount."""
    return f"system:serviceaccount:{namespace}:{service}"


def policies(namespace: str = SERVICES_NAMESPACE, tenants: str | None = None) -> list[dict[str, Any]]:
    """The ValidatingAdmissionPolicies and their bindings; the services' ServiceAccounts live in ``namespace``.

    ``tenants`` names the namespace of all Tenants, whose deletion is guarded then.
    """
    documents = []
    parts = [
        ("tenant-owners", _rule(["tenants"], ["CREATE", "UPDATE"]), _owners(namespace)),
        ("tenant-status-owners", _rule(["tenants/status"], ["UPDATE"]), _status_owners(namespace)),
        ("tenant-paid-deletion", _rule(["tenants"], ["DELETE"]), _paid_deletion()),
        ("supply-status-owners", _rule(["plans/status", "cells/status"], ["UPDATE"]), _supply_status_owners(namespace)),
    ]
    if tenants:
        parts.append(("tenants-namespace-deletion", _namespace_rule(tenants), _namespace_deletion(tenants)))
    for name, rules, body in parts:
        full = f"{name}.{GROUP}"
        documents.append(
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingAdmissionPolicy",
                "metadata": {"name": full},
                "spec": {
                    "failurePolicy": "Fail",
                    "matchConstraints": {"resourceRules": [rules]},
                    "matchConditions": [
                        {
                            "name": "not-break-glass",
                            "expression": f"!(has(request.userInfo.groups) && '{BREAK_GLASS_GROUP}'"
                            " in request.userInfo.groups)",
                        },
                        {
                            "name": "not-the-namespace-controller",
                            "expression": f"request.userInfo.username != '{NAMESPACE_CONTROLLER}'",
                        },
                    ],
                    **body,
                },
            }
        )
        documents.append(
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": {"name": full},
                "spec": {"policyName": full, "validationActions": ["Deny"]},
            }
        )
    return documents


def _is(service: str, namespace: str) -> str:
    return f"request.userInfo.username == '{service_account(service, namespace)}'"


def _rule(resources: list[str], operations: list[str]) -> dict[str, Any]:
    return {"apiGroups": [GROUP], "apiVersions": [VERSION], "resources": resources, "operations": operations}


def _value(obj: str, part: str, field: str) -> str:
    return f"{obj} != null && has({obj}.{part}) && has({obj}.{part}.{field}) ? dyn({obj}.{part}.{field}) : dyn(null)"


def _changed(part: str, field: str) -> dict[str, str]:
    return {
        "name": f"{field}Changed",
        "expression": f"({_value('object', part, field)}) != ({_value('oldObject', part, field)})",
    }


def _wire_names(model: type[TenantSpec | TenantStatus]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _owners(namespace: str) -> dict[str, Any]:
    fields = _wire_names(TenantSpec)
    people = [name for name in fields if name not in SPEC_OWNERS]
    services = ", ".join(f"'{service_account(service, namespace)}'" for service in SERVICES)
    validations = [
        {
            "expression": f"!variables.{field}Changed || {_is(owner, namespace)}",
            "message": f"spec.{field} is written by {owner} only; members of {BREAK_GLASS_GROUP} may override",
            "reason": "Forbidden",
        }
        for field, owner in SPEC_OWNERS.items()
    ]
    # webhooks creates the Tenant of a new customer, with nothing but its id (and the schema's defaults).
    creating = (
        f"request.operation == 'CREATE' && request.userInfo.username == '{service_account('webhooks', namespace)}'"
    )
    given = " || ".join(
        [
            "has(object.spec.planRef)",
            "has(object.spec.cellRef)",
            "has(object.spec.preferences)",
            "object.spec.suspended",
            "object.spec.complimentary",
            "object.spec.credentials.version != 1",
        ]
    )
    validations.append(
        {
            "expression": f"!(request.userInfo.username in [{services}])"
            f" || ({creating} ? !({given}) : !variables.peopleChanged)",
            "message": "a service may change only its own part of a Tenant's spec; this part belongs to people",
            "reason": "Forbidden",
        }
    )
    variables = [_changed("spec", field) for field in fields]
    variables.append(
        {"name": "peopleChanged", "expression": " || ".join(f"variables.{field}Changed" for field in people)}
    )
    return {"variables": variables, "validations": validations}


def _status_owners(namespace: str) -> dict[str, Any]:
    fields = _wire_names(TenantStatus)
    variables = [_changed("status", field) for field in fields]
    changed = " || ".join(f"variables.{field}Changed" for field in fields)
    return {
        "variables": variables,
        "validations": [
            {
                "expression": f"!({changed}) || {_is('operator', namespace)}",
                "message": f"status is written by the operator only; members of {BREAK_GLASS_GROUP} may override",
                "reason": "Forbidden",
            }
        ],
    }


def _supply_status_owners(namespace: str) -> dict[str, Any]:
    same = "dyn(object).?status.orValue({}) == dyn(oldObject).?status.orValue({})"
    return {
        "validations": [
            {
                "expression": f"{_is('operator', namespace)} || ({same})",
                "message": "status of Plans and Cells is written by the operator only;"
                f" members of {BREAK_GLASS_GROUP} may override",
                "reason": "Forbidden",
            }
        ]
    }


def _namespace_rule(tenants: str) -> dict[str, Any]:
    everything = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["namespaces"], "operations": ["DELETE"]}
    return {**everything, "resourceNames": [tenants]}


def _namespace_deletion(tenants: str) -> dict[str, Any]:
    # It would take Plans, Cells and roles away before the operator has removed what the Tenants have in Azure, so that
    # their finalizers would hold the namespace for ever.
    return {
        "validations": [
            {
                "expression": _allowed_by_annotation(),
                "message": "subscribers live in this namespace: delete the Tenants first and wait until they are gone "
                f"(kubectl -n {tenants} delete tenants --all), then set the annotation "
                f'{ALLOW_DELETE_ANNOTATION}: "true" on the namespace',
                "reason": "Forbidden",
            }
        ]
    }


def _allowed_by_annotation() -> str:
    annotations = "oldObject.metadata.annotations"
    return (
        f"has({annotations}) && '{ALLOW_DELETE_ANNOTATION}' in {annotations}"
        f" && {annotations}['{ALLOW_DELETE_ANNOTATION}'] == 'true'"
    )


def _paid_deletion() -> dict[str, Any]:
    paid = ", ".join(f"'{status}'" for status in PAID)
    return {
        "validations": [
            {
                "expression": f"!(has(oldObject.spec.billing) && oldObject.spec.billing.status in [{paid}])"
                f" || ({_allowed_by_annotation()})",
                "message": "this Tenant is being paid for: end the subscription first, or set the annotation "
                f'{ALLOW_DELETE_ANNOTATION}: "true"',
                "reason": "Forbidden",
            }
        ]
    }
