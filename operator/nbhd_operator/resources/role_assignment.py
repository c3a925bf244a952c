"""The role assignment that lets the tenant's identity read the tenant's secret and nothing else.

It depends on the identity, for the principal. Azure allows 4,000 of them per subscription for ever, and one whose
identity was deleted goes on counting: so it is found by listing its scope, and removed before the identity.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from nbhd_operator.errors import NotFound, Retryable
from nbhd_operator.resources.base import NEW, Body, Seen, State, Task
from nbhd_operator.resources.identity import Identity

if TYPE_CHECKING:
    from nbhd_operator.azure import Azure

SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"  # Key Vault Secrets User, the same in every Azure tenant
_NAMES = uuid.UUID("0c9a8e0e-6d4e-5c0c-9d53-3f2c3f0f7b52")


class RoleAssignment:
    """Microsoft.Authorization/roleAssignments at the scope of one secret."""

    kind = "roleAssignment"
    depends_on: tuple[str, ...] = (Identity.kind,)

    def name(self, task: Task) -> str:
        """Name of the secret that is its scope; its own is a GUID made of scope, principal and role."""
        return task.name

    def want(self, task: Task, seen: Seen) -> Body:
        """Principal, role and scope; all three make the name, for none of them can be changed later."""
        identity = seen.get(Identity.kind)
        if identity is None:
            raise LookupError("the identity was not seen")
        return {"properties": {"principalId": _principal(identity.body), "roleDefinitionId": _role(task)}}

    async def observe(self, azure: Azure, task: Task, seen: Seen) -> State | None:
        """The assignment for the identity that was seen; where none was seen, any of ours at the scope."""
        identity = seen.get(Identity.kind)
        if identity and identity.new:
            return None  # nobody knew its principal before
        principal = _principal(identity.body) if identity else None
        scope = scope_of(task)
        try:
            found = await azure.list_role_assignments(task.place, scope)
        except NotFound:
            return None  # the vault has no such secret, hence no scope either
        for body in found:
            properties = body["properties"]
            ours = str(properties["scope"]).casefold() == scope.casefold()
            same_role = str(properties["roleDefinitionId"]).casefold().endswith(SECRETS_USER)
            if ours and same_role and principal in (None, properties["principalId"]):
                return State(body)
        return None

    async def apply(self, azure: Azure, task: Task, want: Body) -> State | None:
        """One PUT; the same assignment under another name is success, and the next look finds it."""
        scope, properties = scope_of(task), want["properties"]
        name = _name(scope, properties["principalId"], properties["roleDefinitionId"])
        try:
            return State(await azure.put_role_assignment(task.place, scope, name, properties))
        except Retryable as fault:
            if fault.reason != "RoleAssignmentExists":
                raise
            return None

    def imagine(self, task: Task, want: Body, state: State | None) -> State:  # noqa: ARG002 - same shape for every kind
        """Another assignment."""
        return State({**want, "name": NEW})

    async def remove(self, azure: Azure, task: Task, state: State) -> None:
        """Removes the one that was seen, by its own name."""
        await azure.delete_role_assignment(task.place, scope_of(task), str(state.body["name"]))


def scope_of(task: Task) -> str:
    """Resource id of the tenant's secret."""
    return task.place.resource_id(f"Microsoft.KeyVault/vaults/{task.place.vault_name}/secrets/{task.name}")


def _principal(identity: Body) -> str:
    return str(identity["properties"]["principalId"])


def _role(task: Task) -> str:
    subscription = task.place.subscription_id
    return f"/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{SECRETS_USER}"


def _name(scope: str, principal: str, role: str) -> str:
    return str(uuid.uuid5(_NAMES, "|".join((scope.casefold(), principal, role.rsplit("/", 1)[1]))))
