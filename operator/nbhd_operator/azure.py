"""The calls to Azure that this operator makes, on the real SDK clients, in Azure's own wire form.

Below ``resources/``: those know what to want, this knows how to ask. Every call is one request: no polling inside the
SDK, no retries, a pinned api-version. Every failure leaves as an ``errors.Fault``.
"""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Self

import aiohttp
from azure.core.exceptions import AzureError
from azure.core.pipeline.policies import AsyncHTTPPolicy, ContentDecodePolicy
from azure.core.rest import HttpRequest
from azure.identity.aio import WorkloadIdentityCredential
from azure.keyvault.secrets import KeyVaultSecret
from azure.keyvault.secrets.aio import SecretClient
from azure.mgmt.appcontainers.aio import ContainerAppsAPIClient
from azure.mgmt.appcontainers.models import ContainerApp
from azure.mgmt.authorization.v2022_04_01.aio import AuthorizationManagementClient
from azure.mgmt.authorization.v2022_04_01.models import RoleAssignmentCreateParameters
from azure.mgmt.msi.v2024_11_30.aio import ManagedServiceIdentityClient
from azure.mgmt.msi.v2024_11_30.models import Identity

from nbhd_operator.errors import NotFound, Terminal, Unreadable, classify
from nbhd_operator.metrics import Metrics
from nbhd_operator.resources.base import Body, Place
from nbhd_operator.settings import OperatorSettings
from nbhd_operator.throttle import ThrottledTransport, operation_of

APPS_API = "2026-07-01"
VAULT_API = "2025-07-01"
TAGS_API = "2021-04-01"
_PROBE_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10)


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except AzureError as error:
        raise classify(error) from None  # the SDK's exception prints whole responses


class _WholeAnswers(AsyncHTTPPolicy[Any, Any]):
    """Refuses an answer of success that is not what it must be.

    The SDK takes a list without ``value`` for an empty one and raises whatever comes for what is no JSON.
    """

    async def send(self, request: Any) -> Any:
        """Raises ``Unreadable``."""
        response = await self.next.send(request)
        answer, asked = response.http_response, request.http_request
        if answer.status_code >= 300:
            return response
        found: Any = response.context.get(ContentDecodePolicy.CONTEXT_NAME)
        needed = asked.method in ("GET", "PUT")
        if needed and found is None:
            with contextlib.suppress(ValueError):
                found = json.loads(await _content(answer))
        if not isinstance(found, dict) and (needed or found is not None):
            raise Unreadable
        listing = operation_of(asked.method, asked.url).startswith("LIST")
        if listing and not (isinstance(found, dict) and isinstance(found.get("value"), list)):
            raise Unreadable
        return response


async def _content(answer: Any) -> bytes:
    """The body of an answer of either generation of the SDKs, also of one that is streamed."""
    if not hasattr(answer, "read"):
        return bytes(answer.body())
    return b"" if answer.is_stream_consumed else bytes(await answer.read())


class Azure:
    """All clients of one process: one connection pool, one credential."""

    def __init__(self, settings: OperatorSettings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._resources = contextlib.AsyncExitStack()
        self._apps: dict[str, ContainerAppsAPIClient] = {}
        self._identities: dict[str, ManagedServiceIdentityClient] = {}
        self._roles: dict[str, AuthorizationManagementClient] = {}
        self._vaults: dict[str, SecretClient] = {}

    async def __aenter__(self) -> Self:
        tls = ssl.create_default_context()  # obeys SSL_CERT_FILE; once, for a context per request is slow
        pool = aiohttp.TCPConnector(ssl=tls, limit=50)
        self._session = await self._resources.enter_async_context(
            aiohttp.ClientSession(connector=pool, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        )
        self._probes = await self._resources.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls, limit=50), timeout=_PROBE_TIMEOUT)
        )
        self._transport = ThrottledTransport(self._session, self._metrics)
        settings = self._settings
        self._credential = await self._resources.enter_async_context(
            WorkloadIdentityCredential(
                tenant_id=settings.azure_tenant_id,
                client_id=settings.azure_client_id,
                token_file_path=settings.azure_token_file,
                authority=settings.authority_host,
                disable_instance_discovery=settings.azure_mock,
                transport=self._transport,
                retry_total=1,
            )
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._resources.aclose()

    # -- container apps -----------------------------------------------------------------------------------------------

    async def get_app(self, place: Place, name: str) -> Body:
        """The app."""
        with _faults():
            return _app(_wire(await self._app_client(place).container_apps.get(place.resource_group, name)))

    async def list_apps(self, place: Place) -> AsyncIterator[Body]:
        """All apps of the cell's resource group, page by page."""
        with _faults():
            async for app in self._app_client(place).container_apps.list_by_resource_group(place.resource_group):
                yield _app(_wire(app))

    async def put_app(self, place: Place, name: str, body: Body) -> Body:
        """Begins to create or replace the app; the answer describes what Azure took on."""
        with _faults():
            poller = await self._app_client(place).container_apps.begin_create_or_update(
                place.resource_group, name, ContainerApp(dict(body)), polling=False
            )
            return _app(_wire(await poller.result()))

    async def delete_app(self, place: Place, name: str) -> None:
        """Begins to delete the app."""
        with _faults():
            await self._app_client(place).container_apps.begin_delete(place.resource_group, name, polling=False)

    async def stop_app(self, place: Place, name: str) -> None:
        """Begins to stop the app as a whole: it answers nothing and costs nothing."""
        with _faults():
            await self._app_client(place).container_apps.begin_stop(place.resource_group, name, polling=False)

    async def start_app(self, place: Place, name: str) -> None:
        """Begins to start a stopped app."""
        with _faults():
            await self._app_client(place).container_apps.begin_start(place.resource_group, name, polling=False)

    async def answers(self, endpoint: str) -> bool:
        """True if the app takes messages. This wakes it, and a cold start is waited for."""
        try:
            async with self._probes.get(f"{endpoint}/healthz", allow_redirects=False) as response:
                return response.status == 200 and (await response.text()).strip() == "ok"
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeDecodeError):
            return False

    # -- identities ---------------------------------------------------------------------------------------------------

    async def get_identity(self, place: Place, name: str) -> Body:
        """The identity."""
        with _faults():
            client = self._identity_client(place).user_assigned_identities
            return _identity(_wire_readonly(await client.get(place.resource_group, name)))

    async def put_identity(self, place: Place, name: str, body: Body) -> Body:
        """Creates or replaces the identity."""
        with _faults():
            client = self._identity_client(place).user_assigned_identities
            wanted = Identity(location=body["location"], tags=dict(body["tags"]))
            return _identity(_wire_readonly(await client.create_or_update(place.resource_group, name, wanted)))

    async def delete_identity(self, place: Place, name: str) -> None:
        """Deletes the identity; one that is not there is fine."""
        with _faults():
            await self._identity_client(place).user_assigned_identities.delete(place.resource_group, name)

    # -- role assignments ---------------------------------------------------------------------------------------------

    async def list_role_assignments(self, place: Place, scope: str) -> list[Body]:
        """The assignments at the scope and above it."""
        with _faults():
            pages = self._role_client(place).role_assignments.list_for_scope(scope, filter="atScope()")
            return [_role(_wire_readonly(found)) async for found in pages]

    async def put_role_assignment(self, place: Place, scope: str, name: str, properties: Body) -> Body:
        """Assigns a role to a service principal."""
        parameters = RoleAssignmentCreateParameters(
            role_definition_id=properties["roleDefinitionId"],
            principal_id=properties["principalId"],
            principal_type="ServicePrincipal",  # Azure then accepts a principal that has not spread everywhere yet
        )
        with _faults():
            return _role(
                _wire_readonly(await self._role_client(place).role_assignments.create(scope, name, parameters))
            )

    async def delete_role_assignment(self, place: Place, scope: str, name: str) -> None:
        """Takes the role away; an assignment that is not there is fine."""
        with _faults():
            await self._role_client(place).role_assignments.delete(scope, name)

    # -- secrets ------------------------------------------------------------------------------------------------------

    async def get_secret(self, place: Place, name: str) -> Body:
        """The newest version, with its value."""
        with _faults():
            return _secret(await self._vault(place).get_secret(name))

    async def set_secret(self, place: Place, name: str, value: str, tags: Body) -> Body:
        """Adds a version."""
        with _faults():
            client = self._vault(place)
            return _secret(await client.set_secret(name, value, tags=dict(tags), content_type="application/json"))

    async def delete_secret(self, place: Place, name: str) -> None:
        """Begins to delete all versions, softly; a secret that is not there is fine."""
        with contextlib.suppress(NotFound):
            await self._ask_vault(place, "DELETE", f"/secrets/{name}")

    async def recover_secret(self, place: Place, name: str) -> None:
        """Begins to bring a softly deleted secret back."""
        await self._ask_vault(place, "POST", f"/deletedsecrets/{name}/recover")

    async def _ask_vault(self, place: Place, method: str, path: str) -> None:
        """One request, for what the SDK offers only together with waiting, without an end, until it has happened."""
        with _faults():
            answer = await self._vault(place).send_request(HttpRequest(method, path))
            answer.raise_for_status()

    # -- cells --------------------------------------------------------------------------------------------------------

    async def get_group_tags(self, place: Place) -> dict[str, str]:
        """Tags of the cell's resource group. An answer without them is no answer: a claim would be overlooked."""
        found = await self._group_tags(place, HttpRequest("GET", "", params={"api-version": TAGS_API}))
        properties = found.get("properties")
        if not isinstance(properties, dict) or not isinstance(properties.get("tags") or {}, dict):
            raise Unreadable
        return dict(properties.get("tags") or {})

    async def tag_group(self, place: Place, tags: dict[str, str]) -> None:
        """Adds tags to the cell's resource group; others stay as they are."""
        body = {"operation": "Merge", "properties": {"tags": tags}}
        await self._group_tags(place, HttpRequest("PATCH", "", params={"api-version": TAGS_API}, json=body))

    async def _group_tags(self, place: Place, request: HttpRequest) -> Body:
        request.url = place.resource_id("Microsoft.Resources/tags/default") + request.url
        with _faults():
            response = await self._app_client(place).send_request(request)
            response.raise_for_status()
        return dict(response.json()) if response.status_code == 200 else {}

    async def list_identities(self, place: Place) -> AsyncIterator[Body]:
        """All identities of the cell's resource group."""
        with _faults():
            pages = self._identity_client(place).user_assigned_identities.list_by_resource_group(place.resource_group)
            async for found in pages:
                yield _wire_readonly(found)

    async def list_secrets(self, place: Place) -> AsyncIterator[Body]:
        """All secrets of the cell's vault, without values."""
        with _faults():
            pages = self._vault(place).list_properties_of_secrets()
            async for found in pages:
                yield {
                    "name": found.name,
                    "tags": found.tags or {},
                    "enabled": found.enabled is not False,
                    "created": found.created_on,
                }

    async def list_subscription_role_assignments(self, place: Place) -> AsyncIterator[Body]:
        """All assignments in the cell's subscription, and those above it that count there."""
        with _faults():
            async for found in self._role_client(place).role_assignments.list_for_subscription():
                yield _wire_readonly(found)

    async def list_environment_usages(self, place: Place) -> AsyncIterator[Body]:
        """What of the cell's Container Apps environment is in use, and the limits."""
        parts = place.environment_id.split("/")
        with _faults():
            pages = self._app_client(place).managed_environment_usages.list(parts[4], parts[8])
            async for found in pages:
                yield _wire(found)

    # -- clients ------------------------------------------------------------------------------------------------------

    def _app_client(self, place: Place) -> ContainerAppsAPIClient:
        subscription = place.subscription_id
        if subscription not in self._apps:
            self._apps[subscription] = ContainerAppsAPIClient(
                self._credential, subscription, api_version=APPS_API, **self._arm()
            )
        return self._apps[subscription]

    def _identity_client(self, place: Place) -> ManagedServiceIdentityClient:
        subscription = place.subscription_id
        if subscription not in self._identities:
            self._identities[subscription] = ManagedServiceIdentityClient(
                self._credential, subscription, api_version="2024-11-30", **self._arm()
            )
        return self._identities[subscription]

    def _role_client(self, place: Place) -> AuthorizationManagementClient:
        subscription = place.subscription_id
        if subscription not in self._roles:
            self._roles[subscription] = AuthorizationManagementClient(
                self._credential, subscription, api_version="2022-04-01", **self._arm()
            )
        return self._roles[subscription]

    def _arm(self) -> dict[str, Any]:
        return {"base_url": self._settings.arm_url, **self._common()}

    def _common(self) -> dict[str, Any]:
        return {"transport": self._transport, "retry_total": 0, "per_call_policies": [_WholeAnswers()]}

    def _vault(self, place: Place) -> SecretClient:
        url = place.vault_url
        if not self._settings.vault_allowed(url):
            raise Terminal("VaultNotTrusted", f"The Cell's vault {url} is not one of Microsoft's: correct the Cell.")
        if url not in self._vaults:
            self._vaults[url] = SecretClient(
                url,
                self._credential,
                api_version=VAULT_API,
                verify_challenge_resource=not self._settings.azure_mock,
                **self._common(),
            )
        return self._vaults[url]


def _wire(model: Any) -> Body:
    found: Body = model.as_dict()
    return found


def _wire_readonly(model: Any) -> Body:
    found: Body = model.serialize(keep_readonly=True)
    return found


def _whole(found: Body, *members: str) -> Body:
    """The body, if it says all that decisions rest on: what Azure leaves out is unknown, not gone."""
    for member in members:
        part: Any = found
        for name in member.split("."):
            part = part.get(name) if isinstance(part, Mapping) else None
        if part is None:
            raise Unreadable
    return found


def _app(found: Body) -> Body:
    return _whole(found, "name", "properties.provisioningState", "properties.configuration", "properties.template")


def _identity(found: Body) -> Body:
    return _whole(found, "id", "name", "properties.principalId", "properties.clientId")


def _role(found: Body) -> Body:
    return _whole(found, "name", "properties.scope", "properties.principalId", "properties.roleDefinitionId")


def _secret(secret: KeyVaultSecret) -> Body:
    properties = secret.properties
    found = {
        "id": secret.id,
        "value": secret.value,
        "tags": properties.tags or {},
        "enabled": properties.enabled is not False,
    }
    return _whole(found, "id", "value")
