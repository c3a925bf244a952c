"""The tenant's user-assigned identity: the only one that may read the tenant's secret. It depends on nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbhd_crds.api.tenant import AppliedIdentity
from nbhd_operator.errors import NotFound
from nbhd_operator.resources.base import NEW, Body, Seen, State, Task, present

if TYPE_CHECKING:
    from nbhd_operator.azure import Azure


class Identity:
    """Microsoft.ManagedIdentity/userAssignedIdentities."""

    kind = "identity"
    depends_on: tuple[str, ...] = ()

    def name(self, task: Task) -> str:
        """Same as everything of the tenant."""
        return task.name

    def want(self, task: Task, seen: Seen) -> Body:  # noqa: ARG002 - same shape for every kind
        """Only where it lives and whose it is."""
        return {"location": task.place.location, "tags": task.tags}

    async def observe(self, azure: Azure, task: Task, seen: Seen) -> State | None:  # noqa: ARG002
        """Synchronous in Azure: it is there or it is not."""
        try:
            found = await azure.get_identity(task.place, self.name(task))
        except NotFound:
            return None
        return State(found)

    async def apply(self, azure: Azure, task: Task, want: Body) -> State | None:
        """One PUT."""
        return State(await azure.put_identity(task.place, self.name(task), want))

    def imagine(self, task: Task, want: Body, state: State | None) -> State:
        """Azure chooses the principal of a new one."""
        path = f"Microsoft.ManagedIdentity/userAssignedIdentities/{self.name(task)}"
        made = {"id": task.place.resource_id(path), "properties": {"principalId": NEW, "clientId": NEW}}
        return State({**(state.body if state else made), **want})

    async def remove(self, azure: Azure, task: Task, state: State) -> None:  # noqa: ARG002
        """Its role assignments must be gone before, or they stay for ever and count."""
        await azure.delete_identity(task.place, self.name(task))


def applied(seen: Seen) -> AppliedIdentity:
    """The identity as status shows it."""
    body = present(seen, Identity.kind)
    properties = body["properties"]
    return AppliedIdentity(
        resource_id=body["id"], principal_id=properties["principalId"], client_id=properties["clientId"]
    )
