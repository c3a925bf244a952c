"""The Azure Resource Manager endpoint: authentication, api-version, routing without case, resource groups.

Each resource provider (``container_apps.py``, ``identities.py``, ``role_assignments.py``) adds its routes; what
they raise as ``AzureError`` becomes ARM's error envelope.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from aiohttp import web

from nbhd_local.azure.entra import ARM_AUDIENCE, Entra, TokenRefused, arm_refusal
from nbhd_local.azure.errors import AzureError, resource_not_found
from nbhd_local.azure.limits import Meter
from nbhd_local.azure.state import JSON, Environment, ResourceGroup, Subscription, region_title
from nbhd_local.traffic import Traffic

T = TypeVar("T")

_API_VERSION = re.compile(r"^20\d\d-\d\d-\d\d(-preview)?$")
_SUBSCRIPTION = "/subscriptions/{subscription}"


@dataclass(frozen=True)
class Call:
    """One authenticated ARM request, its path taken apart."""

    subscription: Subscription
    base_url: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    body: JSON

    @property
    def api_version(self) -> str:
        """The version that the caller asked for; the emulator answers every known one alike."""
        return self.query["api-version"]

    def group(self) -> ResourceGroup:
        """The resource group of the path."""
        return find_group(self.subscription, self.params["group"])

    def page(self, items: Sequence[T], show: Callable[[T], JSON]) -> web.Response:
        """One page of a list, each item as ``show`` renders it, with an absolute ``nextLink`` when there is more."""
        token = self.query.get("$skipToken", "0")
        if not token.isdigit():
            raise AzureError(400, "InvalidSkipToken", "The $skipToken is invalid.")
        start, size = int(token), self.subscription.page_size
        body: JSON = {"value": [show(item) for item in items[start : start + size]]}
        if len(items) > start + size:
            query = {**self.query, "$skipToken": str(start + size)}
            body["nextLink"] = f"{self.base_url}{self.path}?{urlencode(query)}"
        return web.json_response(body)


Handler = Callable[[Call], Awaitable[web.Response]]


@dataclass(frozen=True)
class Route:
    """A method and a path template such as ``/subscriptions/{subscription}/resourceGroups/{group}``."""

    method: str
    pattern: re.Pattern[str]
    api_versions: frozenset[str]
    handler: Handler


def route(method: str, template: str, handler: Handler, api_versions: Iterable[str] = ()) -> Route:
    """Compiles a template; ``{scope}`` spans slashes. No api versions means any well-formed one."""
    escaped = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
    spanned = escaped.replace("{scope}", "(?P<scope>.+)")
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", spanned)
    return Route(method, re.compile(f"^{pattern}/?$", re.IGNORECASE), frozenset(api_versions), handler)


def application(
    subscription: Subscription,
    entra: Entra,
    traffic: Traffic,
    routes: Sequence[Route],
    *,
    operator: str,
    base_url: Callable[[], str],
    meter: Meter,
) -> web.Application:
    """ARM's HTTP surface. Only the principal ``operator`` is authorised, for everything in the subscription."""
    table = [*routes, *_own_routes(subscription)]

    async def handle(request: web.Request) -> web.Response:
        authorize(request.headers.get("Authorization"))
        headers = {"x-ms-request-id": str(uuid.uuid4()), **meter.arm(request.method, request.path)}
        try:
            response = await answer(request)
        except AzureError as refused:
            response = refused.response()
        response.headers.update(headers)
        return response

    async def answer(request: web.Request) -> web.Response:
        found, params = _match(table, request.method, request.path)
        _check_api_version(request.query.get("api-version"), found)
        if params.get("subscription", subscription.id).lower() != subscription.id:
            text = f"The subscription '{params['subscription']}' could not be found."
            raise AzureError(404, "SubscriptionNotFound", text)
        body = await _json_body(request) if request.method in {"PUT", "PATCH"} else {}
        call = Call(subscription, base_url(), request.path, params, dict(request.query), body)
        return await found.handler(call)

    def authorize(header: str | None) -> None:
        try:
            principal = entra.verify(header, ARM_AUDIENCE)
        except TokenRefused as refused:
            raise arm_refusal(refused) from refused
        if principal != operator:
            text = f"The client with object id '{principal}' does not have authorization over this scope."
            raise AzureError(403, "AuthorizationFailed", text)

    app = web.Application(middlewares=[traffic.middleware("arm")], client_max_size=4 * 1024 * 1024)
    app.router.add_route("*", "/{tail:.*}", handle)
    return app


def find_group(subscription: Subscription, name: str) -> ResourceGroup:
    """The group, or 404 ``ResourceGroupNotFound``: a misconfiguration, not an absent resource."""
    group = subscription.groups.get(name.lower())
    if group is None:
        raise AzureError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
    return group


def _match(table: Sequence[Route], method: str, path: str) -> tuple[Route, Mapping[str, str]]:
    known_path = False
    for candidate in table:
        match = candidate.pattern.match(path)
        if match is None:
            continue
        known_path = True
        if candidate.method == method:
            return candidate, match.groupdict()
    if known_path:
        raise AzureError(405, "MethodNotAllowed", f"The method '{method}' is not allowed here.")
    raise AzureError(404, "InvalidResourceType", "The resource type could not be found, or the local world lacks it.")


def _check_api_version(version: str | None, found: Route) -> None:
    if not version:
        text = "The api-version query parameter (?api-version=) is required for all requests."
        raise AzureError(400, "MissingApiVersionParameter", text)
    if not _API_VERSION.match(version) or (found.api_versions and version not in found.api_versions):
        text = f"The api-version '{version}' is invalid. The supported versions are '{sorted(found.api_versions)}'."
        raise AzureError(400, "InvalidApiVersionParameter", text)


async def _json_body(request: web.Request) -> JSON:
    try:
        body = json.loads(await request.read() or b"null")
    except ValueError as error:
        raise AzureError(400, "InvalidRequestContent", "The request content was invalid JSON.") from error
    if not isinstance(body, dict):
        raise AzureError(400, "InvalidRequestContent", "The request content must be a JSON object.")
    return body


def _own_routes(subscription: Subscription) -> list[Route]:
    def render_group(group: ResourceGroup) -> JSON:
        return {
            "id": subscription.group_id(group.name),
            "name": group.name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": group.location,
            "tags": dict(group.tags),
            "properties": {"provisioningState": "Succeeded"},
        }

    def render_environment(environment: Environment) -> JSON:
        return {
            "id": subscription.environment_id(environment),
            "name": environment.name,
            "type": "Microsoft.App/managedEnvironments",
            "location": region_title(environment.location),
            "tags": {},
            "properties": {
                "provisioningState": "Succeeded",
                "defaultDomain": environment.default_domain,
                "staticIp": "127.0.0.1",
                "vnetConfiguration": {"internal": True},
                "workloadProfiles": [{"name": "Consumption", "workloadProfileType": "Consumption"}],
                "zoneRedundant": False,
            },
        }

    async def get_group(call: Call) -> web.Response:
        return web.json_response(render_group(call.group()))

    async def patch_group(call: Call) -> web.Response:
        group, tags = call.group(), call.body.get("tags")
        if set(call.body) - {"tags"} or not valid_tags(tags):
            raise AzureError(400, "InvalidRequestContent", "Only 'tags', an object of strings, can be changed.")
        group.tags = dict(tags or {})
        return web.json_response(render_group(group))

    async def get_environment(call: Call) -> web.Response:
        group, name = call.group(), call.params["name"]
        environment = subscription.environments.get(f"{group.name}/{name}".lower())
        if environment is None:
            raise resource_not_found("Microsoft.App/managedEnvironments", name, group.name)
        return web.json_response(render_environment(environment))

    group_path = _SUBSCRIPTION + "/resourceGroups/{group}"
    environment_path = group_path + "/providers/Microsoft.App/managedEnvironments/{name}"
    return [
        route("GET", group_path, get_group),
        route("PATCH", group_path, patch_group),
        route("GET", environment_path, get_environment),
    ]


def valid_tags(tags: Any) -> bool:
    """At most 50 tags, strings to strings of at most 256 characters."""
    if tags is None:
        return True
    return (
        isinstance(tags, dict)
        and len(tags) <= 50
        and all(isinstance(name, str) and isinstance(text, str) and len(text) <= 256 for name, text in tags.items())
    )
