"""User-assigned managed identities (``Microsoft.ManagedIdentity``): created at once, each with a new principal.

A re-created identity is another principal; the role assignments of the old one stay behind.
"""

from __future__ import annotations

import re

from aiohttp import web

from nbhd_local.azure.arm import Call, Route, route, valid_tags
from nbhd_local.azure.errors import AzureError, resource_not_found
from nbhd_local.azure.state import JSON, Identity, Subscription, key, same_region, stamp
from nbhd_local.clock import Clock

_TYPE = "Microsoft.ManagedIdentity/userAssignedIdentities"
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{2,127}$")
_API_VERSIONS = ("2018-11-30", "2023-01-31", "2024-11-30")


def routes(subscription: Subscription, clock: Clock) -> list[Route]:
    """The provider's part of ARM."""

    def render(identity: Identity) -> JSON:
        return {
            "id": subscription.identity_id(identity),
            "name": identity.name,
            "type": _TYPE,
            "location": identity.location,
            "tags": dict(identity.tags),
            "systemData": {"createdAt": stamp(identity.created)},
            "properties": {
                "tenantId": subscription.tenant_id,
                "principalId": identity.principal_id,
                "clientId": identity.client_id,
                "isolationScope": "None",
            },
        }

    async def put(call: Call) -> web.Response:
        group, name, body = call.group(), call.params["name"], call.body
        _check(name, body)
        existing = subscription.identities.get(key(group.name, name))
        if existing is None:
            location = body["location"].replace(" ", "").lower()
            created = Identity(name, group.name, location, dict(body.get("tags") or {}), clock())
            subscription.identities[key(group.name, name)] = created
            return web.json_response(render(created), status=201)
        if not same_region(existing.location, body["location"]):
            text = f"The resource '{name}' already exists in location '{existing.location}'."
            raise AzureError(409, "InvalidResourceLocation", text)
        existing.tags = dict(body.get("tags") or {})
        return web.json_response(render(existing))

    async def get(call: Call) -> web.Response:
        group, name = call.group(), call.params["name"]
        identity = subscription.identities.get(key(group.name, name))
        if identity is None:
            raise resource_not_found(_TYPE, name, group.name)
        return web.json_response(render(identity))

    async def delete(call: Call) -> web.Response:
        gone = subscription.identities.pop(key(call.group().name, call.params["name"]), None)
        return web.Response(status=204 if gone is None else 200)

    async def list_group(call: Call) -> web.Response:
        group = call.group().name.lower()
        return call.page([i for i in subscription.identities.values() if i.group.lower() == group], render)

    async def list_subscription(call: Call) -> web.Response:
        return call.page(list(subscription.identities.values()), render)

    in_group = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + _TYPE
    return [
        route("PUT", in_group + "/{name}", put, _API_VERSIONS),
        route("GET", in_group + "/{name}", get, _API_VERSIONS),
        route("DELETE", in_group + "/{name}", delete, _API_VERSIONS),
        route("GET", in_group, list_group, _API_VERSIONS),
        route("GET", "/subscriptions/{subscription}/providers/" + _TYPE, list_subscription, _API_VERSIONS),
    ]


def _check(name: str, body: JSON) -> None:
    if not _NAME.match(name):
        raise AzureError(400, "InvalidResourceName", f"The resource name '{name}' is invalid.")
    if not isinstance(body.get("location"), str) or not body["location"]:
        raise AzureError(400, "LocationRequired", "The location property is required for this definition.")
    unknown = set(body) - {"location", "tags", "properties", "id", "name", "type", "systemData"}
    if unknown:
        raise AzureError(400, "InvalidRequestContent", f"Could not find member '{min(unknown)}'.")
    if not valid_tags(body.get("tags")):
        raise AzureError(400, "InvalidTag", "The tags are invalid.")
