from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from nbhd_local.azure import AzureWorld, Delays
from nbhd_local.azure.entra import VAULT_AUDIENCE
from nbhd_local.ca import Authority


def inner(error: HttpResponseError) -> Any:
    return error.error.innererror["code"]  # type: ignore[union-attr]


async def test_versions_and_properties(azure: Any) -> None:
    secrets = azure.secrets
    first = await secrets.set_secret("nbhd-abc", "one", tags={"nbhd-tenant": "abc"}, content_type="application/json")
    second = await secrets.set_secret("nbhd-abc", "two")
    assert (await secrets.get_secret("nbhd-abc")).value == "two"
    assert (await secrets.get_secret("NBHD-ABC", first.properties.version)).value == "one"
    updated = await secrets.update_secret_properties("nbhd-abc", tags={"a": "b"})
    assert (updated.version, updated.tags) == (second.properties.version, {"a": "b"})
    versions = [item.version async for item in secrets.list_properties_of_secret_versions("nbhd-abc")]
    assert versions == [first.properties.version, second.properties.version]
    assert updated.recovery_level == "Recoverable"
    await secrets.update_secret_properties("nbhd-abc", enabled=False)
    with pytest.raises(HttpResponseError) as refused:
        await secrets.get_secret("nbhd-abc")
    assert (refused.value.status_code, inner(refused.value)) == (403, "SecretDisabled")


async def test_lists_have_pages_of_25(azure: Any) -> None:
    for number in range(27):
        await azure.secrets.set_secret(f"nbhd-{number}", "x")
    before = len(azure.world.requests)
    assert len([item async for item in azure.secrets.list_properties_of_secrets()]) == 27
    assert len(azure.world.requests) - before == 2


@pytest.mark.parametrize(
    ("name", "value", "tags"),
    [
        ("under_score", "x", {}),
        ("a" * 128, "x", {}),
        ("big", "x" * 25601, {}),
        ("tagged", "x", dict.fromkeys("abcdefghijklmnop", "1")),
    ],
)
async def test_bad_secrets_are_refused(azure: Any, name: str, value: str, tags: dict[str, str]) -> None:
    with pytest.raises(HttpResponseError) as refused:
        await azure.secrets.set_secret(name, value, tags=tags)
    assert (refused.value.status_code, refused.value.error.code) == (400, "BadParameter")  # type: ignore[union-attr]


async def test_soft_delete_keeps_the_name_until_it_is_recovered(azure: Any) -> None:
    secrets = azure.secrets
    await secrets.set_secret("nbhd-abc", "one")
    deleted = await secrets.delete_secret("nbhd-abc", _polling_interval=0.01)
    assert None not in (deleted.recovery_id, deleted.scheduled_purge_date)
    with pytest.raises(ResourceNotFoundError):
        await secrets.get_secret("nbhd-abc")
    with pytest.raises(ResourceExistsError) as refused:
        await secrets.set_secret("nbhd-abc", "two")
    assert (refused.value.error.code, inner(refused.value)) == ("Conflict", "ObjectIsDeletedButRecoverable")  # type: ignore[union-attr]
    assert [item.name async for item in secrets.list_deleted_secrets()] == ["nbhd-abc"]
    with pytest.raises(HttpResponseError) as purge:
        await secrets.purge_deleted_secret("nbhd-abc")
    assert purge.value.status_code == 403
    await secrets.recover_deleted_secret("nbhd-abc", _polling_interval=0.01)
    assert (await secrets.get_secret("nbhd-abc")).value == "one"
    with pytest.raises(ResourceNotFoundError):
        await secrets.recover_deleted_secret("nbhd-abc")


async def test_while_a_secret_is_being_deleted_nothing_else_can_be_done(
    authority: Authority, connect: Any, tmp_path: Path
) -> None:
    world = AzureWorld(
        authority, delays=Delays(secret_transition=60), run_containers=False, purge_protection=False, log_dir=tmp_path
    )
    async with world, connect(world) as azure:
        secrets, session = azure.secrets, azure.session
        await secrets.set_secret("nbhd-abc", "one")
        token = world.entra.issue(world.operator_principal_id, VAULT_AUDIENCE)
        url = f"{world.vault_url}/secrets/nbhd-abc?api-version=7.6"
        async with session.delete(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == 200
        for refused_call in (secrets.set_secret("nbhd-abc", "two"), secrets.recover_deleted_secret("nbhd-abc")):
            with pytest.raises(ResourceExistsError) as refused:
                await refused_call
            assert inner(refused.value) == "ObjectIsBeingDeleted"
        with pytest.raises(ResourceNotFoundError):
            await secrets.get_deleted_secret("nbhd-abc")
        assert world.inventory()["secrets"] == world.inventory()["deletedSecrets"] == {}


async def test_a_purged_name_is_free_again(authority: Authority, connect: Any) -> None:
    delays = Delays(secret_transition=0)
    world = AzureWorld(authority, delays=delays, run_containers=False, purge_protection=False)
    async with world, connect(world) as azure:
        await azure.secrets.set_secret("nbhd-abc", "one")
        await azure.secrets.delete_secret("nbhd-abc", _polling_interval=0.01)
        await azure.secrets.purge_deleted_secret("nbhd-abc")
        await azure.secrets.set_secret("nbhd-abc", "two")


async def test_a_tenants_identity_reads_its_own_secret_and_nothing_else(azure: Any) -> None:
    world = azure.world
    mine, _ = await azure.tenant("nbhd-abc", "mine")
    await azure.tenant("nbhd-abcd", "theirs")  # a longer name that starts alike is another scope
    headers = {"Authorization": f"Bearer {world.entra.issue(mine.principal_id, VAULT_AUDIENCE)}"}

    async def status(method: str, path: str, **kwargs: Any) -> int:
        url = f"{world.vault_url}{path}?api-version=7.6"
        async with azure.session.request(method, url, headers=headers, **kwargs) as answer:
            return int(answer.status)

    assert await status("GET", "/secrets/nbhd-abc/") == 200
    assert await status("GET", "/secrets/nbhd-abcd/") == 403
    assert await status("GET", "/secrets") == 403
    assert await status("PUT", "/secrets/nbhd-abc", json={"value": "x"}) == 403
    assert await status("DELETE", "/secrets/nbhd-abc") == 403
