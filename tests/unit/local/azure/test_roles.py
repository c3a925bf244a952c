from __future__ import annotations

import uuid
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.authorization.v2022_04_01.models import RoleAssignmentCreateParameters

from nbhd_local.azure import AzureWorld, Delays
from nbhd_local.azure.role_assignments import ACR_PULL, SECRETS_USER, role_definition_id
from nbhd_local.ca import Authority


async def refusal(call: Any) -> tuple[int | None, str | None]:
    with pytest.raises(HttpResponseError) as refused:
        await call
    return refused.value.status_code, refused.value.error.code if refused.value.error else None


def parameters(azure: Any, principal_id: str, **changes: Any) -> RoleAssignmentCreateParameters:
    wanted = {
        "role_definition_id": role_definition_id(azure.world.subscription, SECRETS_USER),
        "principal_id": principal_id,
        "principal_type": "ServicePrincipal",
        **changes,
    }
    return RoleAssignmentCreateParameters(**wanted)


async def test_identities_live_and_die(azure: Any) -> None:
    world, api = azure.world, azure.identities.user_assigned_identities
    first = await azure.identity("nbhd-abc")
    assert f"/resourcegroups/{world.resource_group}/" in first.id
    assert (await azure.identity("nbhd-abc")).principal_id == first.principal_id
    assert (await api.get(world.resource_group, "NBHD-ABC")).client_id == first.client_id
    assert {i.name async for i in api.list_by_resource_group(world.resource_group)} == {"nbhd-pull", "nbhd-abc"}
    await api.delete(world.resource_group, "nbhd-abc")
    await api.delete(world.resource_group, "nbhd-abc")  # 204
    with pytest.raises(ResourceNotFoundError) as absent:
        await api.get(world.resource_group, "nbhd-abc")
    assert absent.value.error is not None
    assert absent.value.error.code == "ResourceNotFound"
    assert (await azure.identity("nbhd-abc")).principal_id != first.principal_id


async def test_identities_are_checked(azure: Any) -> None:
    world, api = azure.world, azure.identities.user_assigned_identities
    put = api.create_or_update
    assert await refusal(put(world.resource_group, "a b", {"location": "eastus2"})) == (400, "InvalidResourceName")
    assert await refusal(put("nowhere", "nbhd-abc", {"location": "eastus2"})) == (404, "ResourceGroupNotFound")
    await azure.identity("nbhd-abc")
    assert await refusal(put(world.resource_group, "nbhd-abc", {"location": "westeurope"})) == (
        409,
        "InvalidResourceLocation",
    )


async def test_an_assignment_is_one_triple_under_one_name(azure: Any) -> None:
    api, scope, name = azure.roles.role_assignments, azure.secret_scope("nbhd-abc"), str(uuid.uuid4())
    identity = await azure.identity("nbhd-abc")
    made = await api.create(scope, name, parameters(azure, identity.principal_id))
    assert made.scope == scope
    again = await api.create(
        scope.upper().replace("/SUBSCRIPTIONS", "/subscriptions"), name, parameters(azure, identity.principal_id)
    )
    assert again.id == made.id
    twin = api.create(scope, str(uuid.uuid4()), parameters(azure, identity.principal_id))
    assert await refusal(twin) == (409, "RoleAssignmentExists")
    other = await azure.identity("nbhd-other")
    changed = api.create(scope, name, parameters(azure, other.principal_id))
    assert await refusal(changed) == (400, "RoleAssignmentUpdateNotPermitted")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"principal_type": "User"}, "UnmatchedPrincipalType"),
        ({"principal_id": "11111111-1111-4111-8111-111111111111"}, "PrincipalNotFound"),
        (
            {"role_definition_id": "/providers/Microsoft.Authorization/roleDefinitions/" + "1" * 36},
            "RoleDefinitionDoesNotExist",
        ),
    ],
)
async def test_assignments_are_checked(azure: Any, changes: dict[str, str], code: str) -> None:
    identity = await azure.identity("nbhd-abc")
    wanted = parameters(azure, **({"principal_id": identity.principal_id} | changes))
    made = azure.roles.role_assignments.create(azure.secret_scope("x"), str(uuid.uuid4()), wanted)
    assert await refusal(made) == (400, code)


async def test_scopes_must_exist_down_to_the_vault_and_names_be_guids(azure: Any) -> None:
    api, world = azure.roles.role_assignments, azure.world
    identity = await azure.identity("nbhd-abc")
    wanted, name = parameters(azure, identity.principal_id), str(uuid.uuid4())
    elsewhere = world.vault.resource_id.replace(f"vaults/{world.vault_name}", "vaults/other")
    assert await refusal(api.create(elsewhere, name, wanted)) == (404, "ResourceNotFound")
    nowhere = f"/subscriptions/{world.subscription_id}/resourceGroups/nowhere"
    assert await refusal(api.create(nowhere, name, wanted)) == (404, "ResourceGroupNotFound")
    assert await refusal(api.create(azure.secret_scope("x"), "abc", wanted)) == (400, "InvalidRoleAssignmentId")


async def test_lists_show_scopes_above_and_below_as_asked(azure: Any) -> None:
    api, world = azure.roles.role_assignments, azure.world
    identity = await azure.identity("nbhd-abc")
    leaf = await azure.grant(azure.secret_scope("nbhd-abc"), identity.principal_id)
    vault = await azure.grant(world.vault.resource_id, identity.principal_id)

    async def listed(scope: str, chosen: str | None = None) -> set[str]:
        return {item.name async for item in api.list_for_scope(scope, filter=chosen)}

    assert await listed(azure.secret_scope("nbhd-abc"), "atScope()") == {leaf.name, vault.name}
    assert await listed(world.vault.resource_id, "atScope()") == {vault.name}
    assert await listed(world.vault.resource_id) == {leaf.name, vault.name}
    group = f"/subscriptions/{world.subscription_id}/resourceGroups/{world.resource_group}"
    assert await listed(group, f"principalId eq '{identity.principal_id}'") == {leaf.name, vault.name}
    assert await refusal(listed(group, "nonsense")) == (400, "UnsupportedQuery")


async def test_assignments_outlive_their_identity_and_count_to_the_limit(azure: Any) -> None:
    world = azure.world
    identity = await azure.identity("nbhd-abc")
    made = await azure.grant(azure.secret_scope("nbhd-abc"), identity.principal_id)
    await azure.identities.user_assigned_identities.delete(world.resource_group, "nbhd-abc")
    assert made.name in world.inventory()["roleAssignments"]
    world.subscription.assignment_limit = 2  # the pull identity's and this one
    other = await azure.identity("nbhd-other")
    assert await refusal(azure.grant(azure.secret_scope("x"), other.principal_id)) == (
        400,
        "RoleAssignmentLimitExceeded",
    )
    assert (await azure.roles.role_assignments.delete(made.scope, made.name)).name == made.name
    assert await azure.roles.role_assignments.delete(made.scope, made.name) is None  # 204
    await azure.grant(azure.secret_scope("x"), other.principal_id, ACR_PULL)


async def test_a_new_principal_may_be_unknown_for_a_while(authority: Authority, connect: Any) -> None:
    world = AzureWorld(authority, delays=Delays(principal_replication=60), run_containers=False)
    async with world, connect(world) as azure:
        identity = await azure.identity("nbhd-abc")
        made = azure.grant(azure.secret_scope("x"), identity.principal_id)
        assert await refusal(made) == (400, "PrincipalNotFound")
