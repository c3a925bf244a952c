from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import WorkloadIdentityCredential

from nbhd_local.azure import AzureWorld
from nbhd_local.azure.entra import ARM_AUDIENCE, VAULT_AUDIENCE

GROUP = "/subscriptions/{}/resourceGroups/{}?api-version=2021-04-01"


def group_url(world: AzureWorld) -> str:
    return world.arm_url + GROUP.format(world.subscription_id, world.resource_group)


async def get(azure: Any, url: str, token: str | None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with azure.session.get(url, headers=headers) as answer:
        return answer.status, dict(answer.headers), await answer.json()


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (None, "AuthenticationFailed"),
        ("a.b.c", "InvalidAuthenticationToken"),
        ("vault", "InvalidAuthenticationTokenAudience"),
    ],
)
async def test_arm_refuses_what_was_not_issued_for_it(azure: Any, token: str | None, code: str) -> None:
    if token == "vault":
        token = azure.world.entra.issue(azure.world.operator_principal_id, VAULT_AUDIENCE)
    status, headers, body = await get(azure, group_url(azure.world), token)
    assert (status, body["error"]["code"]) == (401, code)
    assert headers["WWW-Authenticate"].startswith("Bearer ")


async def test_arm_refuses_strangers(azure: Any) -> None:
    identity = await azure.identity("nbhd-abc")
    token = azure.world.entra.issue(identity.principal_id, ARM_AUDIENCE)
    status, _, body = await get(azure, group_url(azure.world), token)
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")


async def test_vault_answers_a_challenge_that_names_authority_and_audience(azure: Any) -> None:
    world = azure.world
    for token in (None, await azure.token()):
        status, headers, body = await get(azure, f"{world.vault_url}/secrets?api-version=7.6", token)
        assert (status, body["error"]["code"]) == (401, "Unauthorized")
        where = f'authorization="{world.authority_url}/{world.tenant_id}", resource="{VAULT_AUDIENCE}"'
        assert headers["WWW-Authenticate"] == f"Bearer {where}"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client_id": "00000000-0000-0000-0000-000000000000"}, "unauthorized_client"),
        ({"tenant_id": "00000000-0000-0000-0000-000000000000"}, "invalid_request"),
        ({"scope": "https://graph.microsoft.com/.default"}, "invalid_resource"),
        ({"assertion": "forged"}, "invalid_client"),
    ],
)
async def test_tokens_are_for_known_clients_assertions_and_resources(
    azure: Any, tmp_path: Any, change: dict[str, str], error: str
) -> None:
    environment = azure.world.credentials_env(tmp_path)
    if "assertion" in change:
        (tmp_path / "azure-federated-token").write_text(change["assertion"])
    credential = WorkloadIdentityCredential(
        tenant_id=change.get("tenant_id", environment["AZURE_TENANT_ID"]),
        client_id=change.get("client_id", environment["AZURE_CLIENT_ID"]),
        token_file_path=environment["AZURE_FEDERATED_TOKEN_FILE"],
        authority=environment["AZURE_AUTHORITY_HOST"],
        disable_instance_discovery=True,
        transport=azure.transport,
    )
    with pytest.raises(ClientAuthenticationError, match="AADSTS") as refused:
        await credential.get_token(change.get("scope", ARM_AUDIENCE + "/.default"))
    body = refused.value.response.json()  # type: ignore[union-attr]
    assert body["error"] == error


async def test_group_tags_can_be_read_and_replaced(azure: Any) -> None:
    world = azure.world
    path = GROUP.format(world.subscription_id, world.resource_group.upper())
    assert (await azure.arm("GET", path))[1]["tags"] == {}
    assert (await azure.arm("PATCH", path, json={"tags": {"nbhd-platform": "local"}}))[0] == 200
    status, body = await azure.arm("GET", path)
    assert (status, body["tags"], body["name"]) == (200, {"nbhd-platform": "local"}, world.resource_group)
    assert (await azure.arm("PATCH", path, json={"tags": {"a": 1}}))[0] == 400


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/subscriptions/{s}/resourceGroups/nowhere?api-version=2021-04-01", 404, "ResourceGroupNotFound"),
        ("/subscriptions/0000/resourceGroups/x?api-version=2021-04-01", 404, "SubscriptionNotFound"),
        ("/subscriptions/{s}/resourceGroups/{g}", 400, "MissingApiVersionParameter"),
        (
            "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.App/containerApps?api-version=2019-01-01",
            400,
            "InvalidApiVersionParameter",
        ),
        ("/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Web/sites?api-version=2021-04-01", 404, "Invalid"),
        (
            "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.App/managedEnvironments/x?api-version=2026-07-01",
            404,
            "ResourceNotFound",
        ),
    ],
)
async def test_arm_says_what_is_missing(azure: Any, path: str, status: int, code: str) -> None:
    world = azure.world
    found, body = await azure.arm("GET", path.format(s=world.subscription_id, g=world.resource_group))
    assert (found, body["error"]["code"].startswith(code)) == (status, True), body


async def test_the_environment_is_there(azure: Any) -> None:
    world = azure.world
    environment = await azure.apps.managed_environments.get(world.resource_group, world.environment_name)
    assert environment.id == world.environment_id
    assert environment.properties.provisioning_state == "Succeeded"
