"""Container apps (``Microsoft.App``): long-running changes, one at a time, and the revisions that they make.

Bodies are checked by ``app_schema.py`` and ``app_rules.py`` and shown by ``app_view.py``; ``runtime.py`` runs what a
revision describes.
"""

from __future__ import annotations

import asyncio
import secrets
import string
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from nbhd_local.azure import app_rules, app_schema, app_view, cores
from nbhd_local.azure.arm import Call, Route, route
from nbhd_local.azure.errors import AzureError, resource_not_found
from nbhd_local.azure.state import JSON, ContainerApp, Delays, Operation, Revision, Subscription, key
from nbhd_local.clock import Clock
from nbhd_local.traffic import Hold

_TYPE = "Microsoft.App/containerApps"
_API_VERSIONS = ("2024-03-01", "2025-01-01", "2025-07-01", "2026-01-01", "2026-07-01")
_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}/providers/" + _TYPE
_OPERATIONS = "/subscriptions/{subscription}/providers/Microsoft.App/locations/{location}"
_CERTIFICATE = "MIIH" + "A" * 2400  # the service's polling URLs carry a certificate: about 3 kB

SecretReader = Callable[[str, str], str]
"""(principal id, secret URL) to value; raises ``AzureError`` without the right or the secret."""


class RevisionFailed(Exception):  # noqa: N818 - the service's word
    """A new revision's replica never became ready."""


class Runtime(Protocol):
    """Runs container apps; ``NoRuntime`` only pretends to."""

    async def expose(self, app: ContainerApp) -> str | None:
        """Opens or closes the app's ingress as its configuration says; returns its host (and port)."""

    async def roll(self, app: ContainerApp, revision: Revision) -> None:
        """Starts a replica of the revision, and moves traffic to it once ready. Raises ``RevisionFailed``."""

    async def stop(self, app: ContainerApp) -> None:
        """Ends all replicas; requests are refused until ``start``."""

    async def start(self, app: ContainerApp) -> None:
        """Lets requests start replicas again."""

    async def close(self, app: ContainerApp) -> None:
        """Ends everything of the app, its ingress first."""

    def replicas(self, app_name: str) -> int:
        """How many replicas are up."""

    def running(self) -> list[ContainerApp]:
        """Apps that have a replica up."""


class NoRuntime:
    """Revisions are ready at once and nothing runs. ``host`` is every app's, if somebody answers there."""

    def __init__(self, domain: str, host: str = "") -> None:
        self._domain, self._host = domain, host

    async def expose(self, app: ContainerApp) -> str | None:
        configuration = (app.body.get("properties") or {}).get("configuration") or {}
        return (self._host or f"{app.name}.{self._domain}") if configuration.get("ingress") else None

    async def roll(self, app: ContainerApp, revision: Revision) -> None:
        """Nothing to start."""

    async def stop(self, app: ContainerApp) -> None:
        """Nothing runs."""

    async def start(self, app: ContainerApp) -> None:
        """Nothing runs."""

    async def close(self, app: ContainerApp) -> None:
        """Nothing runs."""

    def replicas(self, app_name: str) -> int:  # noqa: ARG002 - the protocol's
        return 0

    def running(self) -> list[ContainerApp]:
        return []


@dataclass
class ContainerApps:
    """The provider's part of ARM, and its background work."""

    subscription: Subscription
    runtime: Runtime
    read_secret: SecretReader
    clock: Clock
    delays: Delays
    operations_readable: bool = True
    stuck: dict[str, Hold] = field(default_factory=dict)
    """Apps whose next change is worked on until the hold is released, by name."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def routes(self) -> list[Route]:
        """Container apps, their revisions, and operations at subscription scope."""
        table: list[tuple[str, str, Callable[[Call], Coroutine[Any, Any, web.Response]]]] = [
            ("PUT", _GROUP + "/{name}", self._put),
            ("PATCH", _GROUP + "/{name}", self._patch),
            ("GET", _GROUP + "/{name}", self._get),
            ("DELETE", _GROUP + "/{name}", self._delete),
            ("POST", _GROUP + "/{name}/start", self._start),
            ("POST", _GROUP + "/{name}/stop", self._stop),
            ("GET", _GROUP + "/{name}/revisions", self._list_revisions),
            ("GET", _GROUP + "/{name}/revisions/{revision}", self._get_revision),
            ("GET", _GROUP, self._list_group),
            ("GET", "/subscriptions/{subscription}/providers/" + _TYPE, self._list_subscription),
            ("GET", _OPERATIONS + "/containerappOperationStatuses/{operation}", self._operation_status),
            ("GET", _OPERATIONS + "/containerappOperationResults/{operation}", self._operation_result),
        ]
        return [route(method, template, handler, _API_VERSIONS) for method, template, handler in table]

    async def aclose(self) -> None:
        """Ends changes that are still in progress."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _put(self, call: Call) -> web.Response:
        group, name, body = call.group().name, call.params["name"], call.body
        app_schema.check(body)
        app_rules.check_name(name)
        existing = self.subscription.apps.get(key(group, name))
        if existing is not None:
            _refuse_if_busy(existing)
        app_rules.check(self.subscription, name, body)
        self._check_secrets(body)
        now = self.clock()
        app = existing or ContainerApp(name, group, body, now, now)
        operation = self._begin(app, body)
        self.subscription.apps[key(group, name)] = app
        app.fqdn = await self.runtime.expose(app)
        self._spawn(self._provision(app, operation))
        return web.json_response(
            app_view.render(self.subscription, app),
            status=201 if existing is None else 200,
            headers={**_WRITE_HEADERS, "Azure-AsyncOperation": self._operation_url(call, "Statuses", operation)},
        )

    async def _patch(self, call: Call) -> web.Response:
        app = self._find(call)
        app_schema.check(call.body)
        _refuse_if_busy(app)
        body = app_view.merge_patch(app.body, call.body)
        app_rules.check(self.subscription, app.name, body)
        if "secrets" in ((call.body.get("properties") or {}).get("configuration") or {}):
            self._check_secrets(body)
        app.patched = True
        operation = self._begin(app, body)
        app.fqdn = await self.runtime.expose(app)
        self._spawn(self._provision(app, operation))
        headers = {
            **_WRITE_HEADERS,
            "Azure-AsyncOperation": self._operation_url(call, "Statuses", operation),
            "Location": self._operation_url(call, "Results", operation),
        }
        return web.Response(status=202, headers=headers)

    async def _get(self, call: Call) -> web.Response:
        return web.json_response(app_view.render(self.subscription, self._find(call)))

    async def _delete(self, call: Call) -> web.Response:
        app = self.subscription.apps.get(key(call.group().name, call.params["name"]))
        if app is None:
            return web.Response(status=204)
        if app.provisioning_state == "Deleting" and app.operation is not None:
            return self._accepted(call, app.operation)
        _refuse_if_busy(app)
        operation = self._begin(app, app.body, state="Deleting")
        self._spawn(self._remove(app, operation))
        return self._accepted(call, operation)

    async def _stop(self, call: Call) -> web.Response:
        return self._switch(call, stopped=True)

    async def _start(self, call: Call) -> web.Response:
        return self._switch(call, stopped=False)

    async def _list_group(self, call: Call) -> web.Response:
        group = call.group().name.lower()
        apps = [app for app in self.subscription.apps.values() if app.group.lower() == group]
        return call.page(apps, self._show)

    async def _list_subscription(self, call: Call) -> web.Response:
        return call.page(list(self.subscription.apps.values()), self._show)

    async def _list_revisions(self, call: Call) -> web.Response:
        app = self._find(call)
        return call.page([r for r in app.revisions.values() if r.active], lambda r: self._show_revision(app, r))

    async def _get_revision(self, call: Call) -> web.Response:
        app, name = self._find(call), call.params["revision"]
        revision = app.revisions.get(name)
        if revision is None:
            raise AzureError(404, "RevisionNotFound", f"Revision '{name}' of '{app.name}' was not found.")
        return web.json_response(self._show_revision(app, revision))

    async def _operation_status(self, call: Call) -> web.Response:
        operation = self._find_operation(call)
        body: JSON = {
            "id": call.path,
            "name": operation.id,
            "status": operation.status,
            "startTime": operation.started.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        }
        if operation.error:
            body["error"] = operation.error
        return web.json_response(body)

    async def _operation_result(self, call: Call) -> web.Response:
        operation = self._find_operation(call)
        if operation.status == "InProgress":
            return web.Response(status=202, headers={"Location": f"{call.base_url}{call.path}?{_query(call)}"})
        if operation.error:
            raise AzureError(400, operation.error["code"], operation.error["message"])
        app = self.subscription.apps.get(operation.app_key)
        if app is None:
            return web.Response(status=204)
        return web.json_response(app_view.render(self.subscription, app))

    def _find(self, call: Call) -> ContainerApp:
        group, name = call.group().name, call.params["name"]
        app = self.subscription.apps.get(key(group, name))
        if app is None:
            raise resource_not_found(_TYPE, name, group)
        return app

    def _find_operation(self, call: Call) -> Operation:
        if not self.operations_readable:
            text = "The client does not have authorization over the scope of the subscription."
            raise AzureError(403, "AuthorizationFailed", text)
        operation = self.subscription.operations.get(call.params["operation"])
        if operation is None:
            raise AzureError(404, "OperationNotFound", "The operation was not found.")
        return operation

    def _check_secrets(self, body: JSON) -> None:
        """Container Apps reads each reference at once, with the identity's rights of that moment."""
        for secret in (body["properties"].get("configuration") or {}).get("secrets") or []:
            if not secret.get("keyVaultUrl"):
                continue
            name, identity = secret["name"], self.subscription.identity_by_id(secret["identity"])
            try:
                if identity is not None:
                    self.read_secret(identity.principal_id, secret["keyVaultUrl"])
                    continue
                reason = "the identity does not exist"
            except AzureError as refused:
                reason = refused.code
            text = (
                f"Field 'configuration.secrets' is invalid with details: 'Invalid value: \"{name}\": Unable to get "
                f"value using Managed identity {secret['identity']} for secret {name}. Error: unable to fetch secret "
                f"'{name}' using Managed identity '{secret['identity']}' ({reason})'."
            )
            raise AzureError(400, "InvalidParameterValueInContainerTemplate", text)

    def _begin(self, app: ContainerApp, body: JSON, *, state: str = "InProgress") -> Operation:
        operation = Operation(key(app.group, app.name), self.clock())
        self.subscription.operations[operation.id] = operation
        app.operation, app.body, app.provisioning_state, app.modified = operation, body, state, operation.started
        return operation

    def _switch(self, call: Call, *, stopped: bool) -> web.Response:
        app = self._find(call)
        _refuse_if_busy(app)
        operation = self._begin(app, app.body)
        self._spawn(self._switch_later(app, operation, stopped=stopped))
        return self._accepted(call, operation)

    async def _switch_later(self, app: ContainerApp, operation: Operation, *, stopped: bool) -> None:
        await self._work(app)
        app.stopped = stopped
        await (self.runtime.stop(app) if stopped else self.runtime.start(app))
        _finish(app, operation)

    async def _work(self, app: ContainerApp) -> None:
        """Takes as long as a change does."""
        if hold := self.stuck.pop(app.name, None):
            await hold.pause()
        await asyncio.sleep(self.delays.app)

    async def _provision(self, app: ContainerApp, operation: Operation) -> None:
        await self._work(app)
        revision = self._next_revision(app)
        if revision is None:
            _finish(app, operation)
            return
        try:
            if not cores.has_room(self.subscription, app, revision.template, self.runtime.running()):
                await asyncio.sleep(self.delays.revision_timeout)
                raise RevisionFailed(cores.EXCEEDED)
            await self.runtime.roll(app, revision)
        except RevisionFailed as failure:
            revision.error = str(failure)
            text = f"Failed to provision revision for container app '{app.name}'. Error details: {failure}"
            _finish(app, operation, error={"code": "ContainerAppOperationError", "message": text})
            return
        revision.provisioned, revision.error = True, None
        for other in app.revisions.values():
            other.active = other is revision
        _finish(app, operation)
        await asyncio.sleep(self.delays.ready_lag)
        app.latest_ready_revision = revision.name

    def _next_revision(self, app: ContainerApp) -> Revision | None:
        """The revision to roll out: a new one if the template changed, the same again if it failed."""
        template = app.body["properties"]["template"]
        latest = app.revisions.get(app.latest_revision)
        if latest is not None and app_view.same_template(latest.template, template):
            return latest if latest.error else None
        suffix = template.get("revisionSuffix") or "".join(
            secrets.choice(string.ascii_lowercase + string.digits) for _ in range(7)
        )
        name = f"{app.name}--{suffix}"
        if name in app.revisions:  # a suffix that was used before changes nothing, silently
            return None
        app.latest_revision = name
        app.revisions[name] = Revision(name, template, self.clock())
        return app.revisions[name]

    async def _remove(self, app: ContainerApp, operation: Operation) -> None:
        await self.runtime.close(app)
        await self._work(app)
        del self.subscription.apps[key(app.group, app.name)]
        operation.status = "Succeeded"

    def _show(self, app: ContainerApp) -> JSON:
        return app_view.render(self.subscription, app)

    def _show_revision(self, app: ContainerApp, revision: Revision) -> JSON:
        replicas = self.runtime.replicas(app.name) if revision.active else 0
        return app_view.render_revision(self.subscription, app, revision, replicas)

    def _accepted(self, call: Call, operation: Operation) -> web.Response:
        headers = {**_WRITE_HEADERS, "Location": self._operation_url(call, "Results", operation)}
        return web.Response(status=202, headers=headers)

    def _operation_url(self, call: Call, kind: str, operation: Operation) -> str:
        location = next(iter(self.subscription.environments.values())).location
        path = _OPERATIONS.format(subscription=self.subscription.id, location=location)
        query = f"api-version={call.api_version}&azureAsyncOperation=true&c={_CERTIFICATE}&s={uuid.uuid4().hex}"
        return f"{call.base_url}{path}/containerappOperation{kind}/{operation.id}?{query}"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_WRITE_HEADERS = {"x-ms-async-operation-timeout": "PT15M"}


def _refuse_if_busy(app: ContainerApp) -> None:
    if app.busy and app.operation is not None:
        text = (
            f"Cannot modify a container app '{app.name}' because there is an active provisioning operation in "
            f"progress. OperationId: '{app.operation.id}'"
        )
        raise AzureError(409, "ContainerAppOperationInProgress", text)


def _finish(app: ContainerApp, operation: Operation, *, error: JSON | None = None) -> None:
    operation.status = app.provisioning_state = "Failed" if error else "Succeeded"
    operation.error = error


def _query(call: Call) -> str:
    return "&".join(f"{name}={value}" for name, value in call.query.items())
