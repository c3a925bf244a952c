"""The Key Vault data plane: the challenge, authorisation at the scope of one secret, and the wire shapes.

``vault_store.py`` holds the secrets. The Container Apps runtime resolves references through ``Vault.read_as``, under
the rights of the app's identity and without HTTP.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from aiohttp import web

from nbhd_local.azure.entra import VAULT_AUDIENCE, Entra, TokenRefused
from nbhd_local.azure.errors import AzureError
from nbhd_local.azure.limits import Meter
from nbhd_local.azure.role_assignments import READS_SECRETS, Access
from nbhd_local.azure.vault_store import RETENTION_DAYS, Secret, SecretStore, Version, bad_parameter
from nbhd_local.traffic import Traffic

T = TypeVar("T")

_PAGE = 25
_API_VERSION = re.compile(r"^(7\.\d|20\d\d-\d\d-\d\d)$")
_URL = re.compile(r"^(https://[^/]+)/secrets/([^/]+)(?:/([^/]*))?$")


class Vault:
    """One vault on its own port. ``resource_id`` is its ARM id; ``owner`` the principal with every right on it."""

    def __init__(
        self,
        resource_id: str,
        owner: str,
        store: SecretStore,
        access: Access,
        entra: Entra,
        traffic: Traffic,
        meter: Meter,
    ) -> None:
        self.resource_id = resource_id
        self.store = store
        self.url = ""
        self._owner = owner
        self._access = access
        self._entra = entra
        self._traffic = traffic
        self._meter = meter

    def read_as(self, principal_id: str, url: str) -> str:
        """The value behind a (versioned or version-less) secret URL, if the principal may read it."""
        match = _URL.match(url)
        if match is None or match[1].lower() != self.url.lower():
            raise AzureError(404, "VaultNotFound", "No such vault.")
        self._authorize(principal_id, match[2], writing=False)
        _, version = self.store.get(match[2], match[3] or "")
        _refuse_disabled(version)
        return version.value

    def application(self) -> web.Application:
        """The vault's HTTP surface."""
        app = web.Application(middlewares=[self._traffic.middleware("vault"), self._guard], client_max_size=1024 * 1024)
        app.router.add_get("/secrets", self._list)
        app.router.add_put("/secrets/{name}", self._set)
        app.router.add_delete("/secrets/{name}", self._delete)
        app.router.add_get("/secrets/{name}", self._get)
        app.router.add_patch("/secrets/{name}", self._update)
        app.router.add_get("/secrets/{name}/versions", self._list_versions)
        app.router.add_get("/secrets/{name}/{version:[^/]*}", self._get)
        app.router.add_patch("/secrets/{name}/{version:[^/]*}", self._update)
        app.router.add_get("/deletedsecrets", self._list_deleted)
        app.router.add_get("/deletedsecrets/{name}", self._get_deleted)
        app.router.add_delete("/deletedsecrets/{name}", self._purge)
        app.router.add_post("/deletedsecrets/{name}/recover", self._recover)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            principal = self._entra.verify(request.headers.get("Authorization"), VAULT_AUDIENCE)
        except TokenRefused as refused:
            raise self._challenge(refused) from refused
        self._meter.vault(request.method, request.path)
        reading = request.match_info.handler == self._get
        self._authorize(principal, request.match_info.get("name", ""), writing=not reading)
        version = request.query.get("api-version", "")
        if not _API_VERSION.match(version):
            raise bad_parameter("The request must carry a supported api-version.")
        response: web.StreamResponse = await handler(request)
        return response

    def _challenge(self, refused: TokenRefused) -> AzureError:
        where = f'Bearer authorization="{self._entra.url}/{self._entra.tenant_id}", resource="{VAULT_AUDIENCE}"'
        text = {
            "missing": "AKV10000: Request is missing a Bearer or PoP token.",
            "invalid": "AKV10001: The token could not be validated.",
            "expired": "AKV10001: The token has expired.",
            "audience": f"AKV10022: Invalid audience. Expected {VAULT_AUDIENCE}, found: {refused.audience}.",
        }[refused.reason]
        return AzureError(401, "Unauthorized", text, headers={"WWW-Authenticate": where})

    def _authorize(self, principal_id: str, name: str, *, writing: bool) -> None:
        if principal_id == self._owner:
            return
        scope = f"{self.resource_id}/secrets/{name}"
        if writing or not self._access.allows(principal_id, READS_SECRETS, scope):
            text = "Caller is not authorized to perform action on resource."
            raise AzureError(403, "Forbidden", text, inner="ForbiddenByRbac")

    async def _set(self, request: web.Request) -> web.Response:
        secret, version = self.store.set(request.match_info["name"], await _json_body(request))
        return web.json_response(self._bundle(secret, version))

    async def _get(self, request: web.Request) -> web.Response:
        secret, version = self.store.get(request.match_info["name"], request.match_info.get("version", ""))
        _refuse_disabled(version)
        return web.json_response(self._bundle(secret, version))

    async def _update(self, request: web.Request) -> web.Response:
        name, wanted = request.match_info["name"], request.match_info.get("version", "")
        secret, version = self.store.update(name, wanted, await _json_body(request))
        return web.json_response(self._item(secret, version, with_version=True))

    async def _delete(self, request: web.Request) -> web.Response:
        return web.json_response(self._deleted_item(self.store.delete(request.match_info["name"]), with_version=True))

    async def _get_deleted(self, request: web.Request) -> web.Response:
        secret = self.store.get_deleted(request.match_info["name"])
        return web.json_response(self._deleted_item(secret, with_version=True))

    async def _recover(self, request: web.Request) -> web.Response:
        secret = self.store.recover(request.match_info["name"])
        return web.json_response(self._item(secret, secret.latest, with_version=True))

    async def _purge(self, request: web.Request) -> web.Response:
        self.store.purge(request.match_info["name"])
        return web.Response(status=204)

    async def _list(self, request: web.Request) -> web.Response:
        return self._page(
            request, self.store.active(), lambda secret: self._item(secret, secret.latest, with_version=False)
        )

    async def _list_versions(self, request: web.Request) -> web.Response:
        secret, _ = self.store.get(request.match_info["name"])
        return self._page(request, list(secret.versions.values()), lambda v: self._item(secret, v, with_version=True))

    async def _list_deleted(self, request: web.Request) -> web.Response:
        return self._page(request, self.store.deleted(), lambda secret: self._deleted_item(secret, with_version=False))

    def _page(self, request: web.Request, items: Sequence[T], show: Callable[[T], dict[str, Any]]) -> web.Response:
        size, start = request.query.get("maxresults", str(_PAGE)), request.query.get("$skiptoken", "0")
        if not size.isdigit() or not 1 <= int(size) <= _PAGE or not start.isdigit():
            raise bad_parameter("The maxresults must be between 1 and 25.")
        end = int(start) + int(size)
        query = {**request.query, "$skiptoken": str(end)}
        more = f"{self.url}{request.path}?{urlencode(query)}" if len(items) > end else None
        return web.json_response({"value": [show(item) for item in items[int(start) : end]], "nextLink": more})

    def _bundle(self, secret: Secret, version: Version) -> dict[str, Any]:
        return {"value": version.value, **self._item(secret, version, with_version=True)}

    def _item(self, secret: Secret, version: Version, *, with_version: bool) -> dict[str, Any]:
        protected = self.store.purge_protection
        attributes = {
            "enabled": version.enabled,
            "nbf": version.not_before,
            "exp": version.expires,
            "created": _unix(version.created),
            "updated": _unix(version.updated),
            "recoveryLevel": "Recoverable" if protected else "Recoverable+Purgeable",
            "recoverableDays": RETENTION_DAYS,
        }
        item: dict[str, Any] = {
            "id": f"{self.url}/secrets/{secret.name}" + (f"/{version.id}" if with_version else ""),
            "attributes": {name: value for name, value in attributes.items() if value is not None},
            "tags": dict(version.tags),
        }
        if version.content_type is not None:
            item["contentType"] = version.content_type
        return item

    def _deleted_item(self, secret: Secret, *, with_version: bool) -> dict[str, Any]:
        deleted = secret.deleted
        if deleted is None:
            message = f"{secret.name} is not deleted"
            raise ValueError(message)
        return {
            "recoveryId": f"{self.url}/deletedsecrets/{secret.name}",
            "deletedDate": _unix(deleted),
            "scheduledPurgeDate": _unix(deleted + datetime.timedelta(days=RETENTION_DAYS)),
            **self._item(secret, secret.latest, with_version=with_version),
        }


def _refuse_disabled(version: Version) -> None:
    if not version.enabled:
        raise AzureError(403, "Forbidden", "Operation get is not allowed on a disabled secret.", inner="SecretDisabled")


async def _json_body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise bad_parameter("The request body is not JSON.") from error
    if not isinstance(body, dict):
        raise bad_parameter("The request body must be an object.")
    return body


def _unix(moment: datetime.datetime) -> int:
    return int(moment.timestamp())
