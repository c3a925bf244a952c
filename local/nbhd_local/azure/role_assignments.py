"""Role assignments (``Microsoft.Authorization``) at any scope, and the question that they answer: who may do what.

An assignment is effective only after the propagation delay. Key Vault and the Container Apps runtime ask
``Access.allows``.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aiohttp import web

from nbhd_local.azure.arm import Call, Route, find_group, route
from nbhd_local.azure.errors import AzureError
from nbhd_local.azure.state import JSON, Delays, Identity, RoleAssignment, Subscription, stamp
from nbhd_local.clock import Clock

SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
SECRETS_OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
VAULT_ADMINISTRATOR = "00482a5a-887f-4fb3-b363-3b7fe8e74483"
ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
READS_SECRETS = frozenset({SECRETS_USER, SECRETS_OFFICER, VAULT_ADMINISTRATOR})
_KNOWN_ROLES = READS_SECRETS | {ACR_PULL}

_TYPE = "Microsoft.Authorization/roleAssignments"
_API_VERSIONS = ("2022-04-01",)
_ROLE_ID = re.compile(r"^(?:.*)/providers/Microsoft\.Authorization/roleDefinitions/([0-9a-f-]{36})$", re.IGNORECASE)
_PRINCIPAL_FILTER = re.compile(r"^(?:principalId eq|assignedTo\()\s*'([0-9a-fA-F-]{36})'\)?$")
_FIELDS = frozenset(
    {
        "roleDefinitionId",
        "principalId",
        "principalType",
        "scope",
        "description",
        "condition",
        "conditionVersion",
        "delegatedManagedIdentityResourceId",
    }
)


@dataclass(frozen=True)
class Access:
    """Answers whether a principal holds a role at a scope or above it, now."""

    subscription: Subscription
    delays: Delays

    def allows(self, principal_id: str, roles: Iterable[str], scope: str) -> bool:
        """Whether any of ``roles`` is effective for the principal at ``scope`` (ids compare without case)."""
        wanted = frozenset(roles)
        return any(
            held.principal_id == principal_id and held.role_id in wanted and held.age() >= self.delays.role_propagation
            for held in self.subscription.assignments.covering(scope)
        )


def routes(subscription: Subscription, clock: Clock, delays: Delays, has_vault: Callable[[str], bool]) -> list[Route]:
    """The provider's part of ARM. ``has_vault`` tells whether an ARM id names the world's vault."""

    def render(held: RoleAssignment) -> JSON:
        return {
            "id": f"{held.scope}/providers/{_TYPE}/{held.name}",
            "name": held.name,
            "type": _TYPE,
            "properties": {
                "roleDefinitionId": role_definition_id(subscription, held.role_id),
                "principalId": held.principal_id,
                "principalType": held.principal_type,
                "scope": held.scope,
                "condition": None,
                "conditionVersion": None,
                "createdOn": stamp(held.created),
                "updatedOn": stamp(held.created),
                "createdBy": "",
                "updatedBy": "",
                "delegatedManagedIdentityResourceId": None,
                "description": held.description,
            },
        }

    async def put(call: Call) -> web.Response:
        scope, name = "/" + call.params["scope"].strip("/"), _guid(call.params["name"])
        _check_scope(subscription, scope, has_vault)
        wanted = _read_body(call.body, scope, name, clock())
        by_name = subscription.assignments.get(name)
        if by_name is not None:
            if _triple(by_name) == _triple(wanted):
                return web.json_response(render(by_name))
            text = "Tenant ID, application ID, principal ID, and scope are not allowed to be updated."
            raise AzureError(400, "RoleAssignmentUpdateNotPermitted", text)
        twin = next((a for a in subscription.assignments.covering(scope) if _triple(a) == _triple(wanted)), None)
        if twin is not None:
            text = f"The role assignment already exists. The ID of the existing role assignment is {twin.name}."
            raise AzureError(409, "RoleAssignmentExists", text)
        _check_principal(subscription, wanted, delays)
        if len(subscription.assignments) >= subscription.assignment_limit:
            raise AzureError(400, "RoleAssignmentLimitExceeded", "No more role assignments can be created.")
        subscription.assignments[name] = wanted
        return web.json_response(render(wanted), status=201)

    async def get(call: Call) -> web.Response:
        held = subscription.assignments.get(call.params["name"].lower())
        if held is None or held.scope.lower() != _scope_of(call):
            text = f"The role assignment '{call.params['name']}' is not found."
            raise AzureError(404, "RoleAssignmentNotFound", text)
        return web.json_response(render(held))

    async def delete(call: Call) -> web.Response:
        held = subscription.assignments.get(call.params["name"].lower())
        if held is None or held.scope.lower() != _scope_of(call):
            return web.Response(status=204)
        del subscription.assignments[held.name]
        return web.json_response(render(held))

    async def list_at_scope(call: Call) -> web.Response:
        scope, chosen = _scope_of(call), call.query.get("$filter", "")
        above = list(subscription.assignments.covering(scope))
        if chosen == "atScope()":
            return call.page(above, render)
        below = [a for a in subscription.assignments.values() if _covers(scope, a.scope.lower()) and a not in above]
        principal = _PRINCIPAL_FILTER.match(chosen)
        if principal:
            found = [a for a in above + below if a.principal_id == principal[1].lower()]
        elif not chosen:
            found = above + below
        else:
            raise AzureError(400, "UnsupportedQuery", f"The filter '{chosen}' is not supported.")
        return call.page(found, render)

    return [
        route("PUT", "/{scope}/providers/" + _TYPE + "/{name}", put, _API_VERSIONS),
        route("GET", "/{scope}/providers/" + _TYPE + "/{name}", get, _API_VERSIONS),
        route("DELETE", "/{scope}/providers/" + _TYPE + "/{name}", delete, _API_VERSIONS),
        route("GET", "/{scope}/providers/" + _TYPE, list_at_scope, _API_VERSIONS),
    ]


def role_definition_id(subscription: Subscription, role_id: str) -> str:
    """The subscription-scoped ARM id of a built-in role."""
    return f"/subscriptions/{subscription.id}/providers/Microsoft.Authorization/roleDefinitions/{role_id}"


def _covers(scope: str, inner: str) -> bool:
    scope = scope.lower()
    return inner == scope or inner.startswith(scope.rstrip("/") + "/")


def _triple(held: RoleAssignment) -> tuple[str, str, str]:
    return held.scope.lower(), held.principal_id, held.role_id


def _scope_of(call: Call) -> str:
    return "/" + call.params["scope"].strip("/").lower()


def _guid(name: str) -> str:
    try:
        return str(uuid.UUID(name))
    except ValueError:
        text = f"The role assignment ID '{name}' is not valid. The role assignment ID must be a GUID."
        raise AzureError(400, "InvalidRoleAssignmentId", text) from None


def _check_scope(subscription: Subscription, scope: str, has_vault: Callable[[str], bool]) -> None:
    parts = scope.strip("/").split("/")
    if len(parts) < 2 or parts[0].lower() != "subscriptions":
        raise AzureError(400, "InvalidScope", f"The scope '{scope}' is not valid.")
    if parts[1].lower() != subscription.id:
        raise AzureError(404, "SubscriptionNotFound", f"The subscription '{parts[1]}' could not be found.")
    if len(parts) >= 4 and parts[2].lower() == "resourcegroups":
        find_group(subscription, parts[3])
    vault = re.match(r"^(.*/providers/Microsoft\.KeyVault/vaults/[^/]+)", scope, re.IGNORECASE)
    if vault and not has_vault(vault[1]):
        raise AzureError(404, "ResourceNotFound", f"The Resource '{vault[1]}' was not found.")


def _read_body(body: JSON, scope: str, name: str, now: datetime.datetime) -> RoleAssignment:
    properties = body.get("properties")
    if not isinstance(properties, dict) or set(body) - {"properties", "id", "name", "type"}:
        raise AzureError(400, "InvalidCreateRoleAssignmentRequest", "The request to create role assignment is invalid.")
    unknown = set(properties) - _FIELDS
    if unknown:
        raise AzureError(400, "InvalidRequestContent", f"Could not find member '{min(unknown)}'.")
    role = _ROLE_ID.match(str(properties.get("roleDefinitionId")))
    if role is None or role[1].lower() not in _KNOWN_ROLES:
        text = f"The specified role definition with ID '{properties.get('roleDefinitionId')}' does not exist."
        raise AzureError(400, "RoleDefinitionDoesNotExist", text)
    principal_type = properties.get("principalType", "User")
    if principal_type not in {"User", "Group", "ServicePrincipal", "ForeignGroup", "Device"}:
        raise AzureError(400, "InvalidPrincipalType", f"The principal type '{principal_type}' is invalid.")
    try:
        principal_id = str(uuid.UUID(str(properties.get("principalId"))))
    except ValueError:
        raise AzureError(400, "InvalidPrincipalId", "The principal ID must be a GUID.") from None
    description = properties.get("description")
    return RoleAssignment(name, scope, role[1].lower(), principal_id, principal_type, now, description)


def _check_principal(subscription: Subscription, wanted: RoleAssignment, delays: Delays) -> None:
    identity: Identity | None = next(
        (i for i in subscription.identities.values() if i.principal_id == wanted.principal_id), None
    )
    if identity is None or identity.age() < delays.principal_replication:
        text = f"Principal {wanted.principal_id} does not exist in the directory {subscription.tenant_id}."
        raise AzureError(400, "PrincipalNotFound", text)
    if wanted.principal_type != "ServicePrincipal":
        text = f"The PrincipalId '{wanted.principal_id}' has type 'ServicePrincipal', not '{wanted.principal_type}'."
        raise AzureError(400, "UnmatchedPrincipalType", text)
