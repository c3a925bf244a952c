"""Tags of a resource group and usages of an environment, by their wire form and by the SDK."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from nbhd_local.azure import AzureWorld, Delays
from nbhd_local.ca import Authority
from tests.unit.local.azure.conftest import Azure

TAGS = "/subscriptions/{0}/resourceGroups/{1}/providers/Microsoft.Resources/tags/default?api-version=2021-04-01"


async def test_tags_are_merged_replaced_and_deleted(azure: Azure) -> None:
    path = TAGS.format(azure.world.subscription_id, azure.world.resource_group.upper())

    async def patch(operation: str, **tags: str) -> dict[str, str]:
        status, body = await azure.arm("PATCH", path, json={"operation": operation, "properties": {"tags": tags}})
        assert (status, body["name"], body["type"]) == (200, "default", "Microsoft.Resources/tags")
        found: dict[str, str] = body["properties"]["tags"]
        return found

    assert await patch("Merge", a="1") == {"a": "1"}
    assert await patch("Merge", b="2") == {"a": "1", "b": "2"}
    assert await patch("Delete", a="another", b="2") == {"a": "1"}
    assert await patch("Replace", c="3") == {"c": "3"}
    status, body = await azure.arm("GET", path)
    assert (status, body["properties"]) == (200, {"tags": {"c": "3"}})
    status, body = await azure.arm("PATCH", path, json={"operation": "Clear", "properties": {}})
    assert (status, body["error"]["code"]) == (400, "InvalidRequestContent")
    status, body = await azure.arm("GET", TAGS.format(azure.world.subscription_id, "nowhere"))
    assert (status, body["error"]["code"]) == (404, "ResourceGroupNotFound")


async def test_usages_of_an_environment(azure: Azure) -> None:
    world = azure.world
    usages = azure.apps.managed_environment_usages.list(world.resource_group, world.environment_name)
    found = {usage.name.value: (usage.current_value, usage.limit) async for usage in usages}
    assert found["ManagedEnvironmentConsumptionCores"] == (0, 100)


async def test_an_environment_without_cores_starts_no_revision(authority: Authority, connect: Any) -> None:
    world = AzureWorld(authority, delays=Delays(app=0, ready_lag=0, revision_timeout=0.01), run_containers=False)
    async with world, connect(world) as azure:
        (environment,) = world.subscription.environments.values()
        environment.cores = 0
        with pytest.raises(HttpResponseError, match="Maximum Allowed Cores exceeded for the Managed Environment"):
            await azure.put("nbhd-abc", azure.body())
        assert (await azure.app("nbhd-abc")).properties.provisioning_state == "Failed"
        environment.cores = 1
        assert (await azure.put("nbhd-abc", azure.body())).properties.provisioning_state == "Succeeded"


async def test_a_second_cell_is_a_place_of_its_own(azure: Azure) -> None:
    world = azure.world
    cell = await world.add_cell("nbhd-cell-2")
    assert cell.vault_url != world.vault_url
    assert cell.spec()["resourceGroup"] == "nbhd-cell-2"
    names = [i.name async for i in azure.identities.user_assigned_identities.list_by_resource_group("nbhd-cell-2")]
    assert names == ["nbhd-pull"]
