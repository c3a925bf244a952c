"""What a cell is made of besides its tenants: the tags of its resource group, and how much of its environment is used.

Routes of ARM beside those in ``arm.py``; ``world.py`` adds them, and makes cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aiohttp import web

from nbhd_local.azure import cores
from nbhd_local.azure.arm import Call, Route, route, valid_tags
from nbhd_local.azure.errors import AzureError, resource_not_found
from nbhd_local.azure.state import JSON, ContainerApp, ResourceGroup, Subscription, key

_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}"
_TAGS_API = ("2021-04-01", "2022-09-01", "2024-03-01")


@dataclass(frozen=True)
class Cell:
    """A place for tenants: what a Cell object names."""

    resource_group: str
    environment_id: str
    pull_identity_id: str
    vault_name: str
    vault_url: str
    location: str

    def spec(self) -> JSON:
        """``spec`` of the Cell."""
        return {
            "resourceGroup": self.resource_group,
            "location": self.location,
            "environmentId": self.environment_id,
            "pullIdentityId": self.pull_identity_id,
            "vault": {"name": self.vault_name, "url": self.vault_url},
        }


def routes(subscription: Subscription, running: Callable[[], Iterable[ContainerApp]]) -> list[Route]:
    """Tags at the scope of a resource group, and usages. ``running`` gives the apps that have a replica up."""

    def render_tags(group: ResourceGroup) -> JSON:
        return {
            "id": f"{subscription.group_id(group.name)}/providers/Microsoft.Resources/tags/default",
            "name": "default",
            "type": "Microsoft.Resources/tags",
            "properties": {"tags": dict(group.tags)},
        }

    async def get_tags(call: Call) -> web.Response:
        return web.json_response(render_tags(call.group()))

    async def patch_tags(call: Call) -> web.Response:
        group, operation = call.group(), call.body.get("operation")
        tags = (call.body.get("properties") or {}).get("tags")
        if not valid_tags(tags) or operation not in ("Merge", "Replace", "Delete"):
            raise AzureError(400, "InvalidRequestContent", "The tags or the operation are invalid.")
        given = dict(tags or {})
        if operation == "Delete":
            group.tags = {name: text for name, text in group.tags.items() if given.get(name) != text}
        else:
            group.tags = (group.tags if operation == "Merge" else {}) | given
        return web.json_response(render_tags(group))

    async def list_usages(call: Call) -> web.Response:
        group, name = call.group(), call.params["name"]
        environment = subscription.environments.get(key(group.name, name))
        if environment is None:
            raise resource_not_found("Microsoft.App/managedEnvironments", name, group.name)
        used = cores.in_use(subscription, environment, running())
        return call.page(
            [
                _usage("ManagedEnvironmentConsumptionCores", used, environment.cores),
                _usage("ManagedEnvironmentGeneralPurposeCores", 0, 0),
            ],
            dict,
        )

    tags = _GROUP + "/providers/Microsoft.Resources/tags/default"
    environment = _GROUP + "/providers/Microsoft.App/managedEnvironments/{name}"
    return [
        route("GET", tags, get_tags, _TAGS_API),
        route("PATCH", tags, patch_tags, _TAGS_API),
        route("GET", environment + "/usages", list_usages),
    ]


def _usage(name: str, used: float, limit: float) -> JSON:
    return {
        "name": {"value": name, "localizedValue": name},
        "unit": "Count",
        "currentValue": used,
        "limit": limit,
    }
