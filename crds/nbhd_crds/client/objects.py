"""Reads and writes of our objects, with the preconditions that make concurrent writers safe.

Measured on a real API server: an apply with a resourceVersion on an *absent* object creates it again, so every apply
here carries the uid as well; and any writer's change moves the resourceVersion, so ``apply_part`` compares its own
part.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api.meta import API_VERSION, FINALIZER, GROUP, VERSION, KubernetesObject
from nbhd_crds.api.tenant import Tenant

T = TypeVar("T", bound=KubernetesObject)
Json = Mapping[str, Any]

_APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"
_TIMEOUT = 30.0
_PAGE = 500


class GoneError(Exception):
    """The object was deleted, or its name belongs to another object now."""


class ChangedError(Exception):
    """Our own part changed since it was read: decide again from what is there now."""


def is_not_found(error: BaseException) -> bool:
    """True for the API server's 404."""
    return isinstance(error, ApiException) and error.status == 404


def is_conflict(error: BaseException) -> bool:
    """True for the API server's 409: already exists, or a precondition that no longer holds."""
    return isinstance(error, ApiException) and error.status == 409


class Objects(Generic[T]):
    """Typed access to one kind in one namespace."""

    def __init__(self, api: client.ApiClient, kind: type[T], plural: str) -> None:
        self._api = client.CustomObjectsApi(api)
        self._kind = kind
        self._plural = plural

    async def get(self, namespace: str, name: str) -> T | None:
        """The object, or None when it does not exist."""
        try:
            raw = await self._api.get_namespaced_custom_object(
                GROUP, VERSION, namespace, self._plural, name, _request_timeout=_TIMEOUT
            )
        except ApiException as error:
            if is_not_found(error):
                return None
            raise
        return self._kind.parse(raw)

    async def list(self, namespace: str) -> list[T]:
        """All objects of the namespace; of all namespaces when it is empty."""
        return [self._kind.parse(item) async for page in self.pages(namespace) for item in page]

    async def pages(self, namespace: str, selector: str = "") -> AsyncIterator[Sequence[Json]]:
        """The same as the API server has them, page by page; only those with the labels of ``selector``."""
        options: dict[str, Any] = {"limit": _PAGE, "_request_timeout": _TIMEOUT}
        if selector:
            options["label_selector"] = selector
        while True:
            if namespace:
                page: Any = await self._api.list_namespaced_custom_object(
                    GROUP, VERSION, namespace, self._plural, **options
                )
            else:
                page = await self._api.list_cluster_custom_object(GROUP, VERSION, self._plural, **options)
            yield page["items"]
            options["_continue"] = page["metadata"].get("continue")
            if not options["_continue"]:
                return

    async def apply_status(self, seen: T, status: Json, manager: str) -> T:
        """Applies the whole status that ``manager`` owns.

        The status is computed from this very version, so a newer one refuses it (409): look again. Raises
        ``GoneError`` if the object is not the one that was seen.
        """
        try:
            raw = await self._api.patch_namespaced_custom_object_status(
                GROUP,
                VERSION,
                seen.metadata.namespace,
                self._plural,
                seen.metadata.name,
                _identified(seen) | {"status": dict(status)},
                field_manager=manager,
                force=True,
                _content_type=_APPLY,
                _request_timeout=_TIMEOUT,
            )
        except ApiException as error:
            if is_not_found(error):
                raise GoneError(seen.metadata.name) from error
            raise
        return self._kind.parse(raw)


class Tenants(Objects[Tenant]):
    """Access to Tenants, with the writes that our services make."""

    def __init__(self, api: client.ApiClient) -> None:
        super().__init__(api, Tenant, Tenant.plural)

    async def create(self, namespace: str, name: str, spec_id: str) -> Tenant:
        """Creates a Tenant that has nothing but its identity; one that exists already is read instead.

        Raises ``GoneError`` if it vanished in between.
        """
        body = {
            "apiVersion": API_VERSION,
            "kind": Tenant.kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"id": spec_id},
        }
        try:
            raw = await self._api.create_namespaced_custom_object(
                GROUP, VERSION, namespace, self._plural, body, _request_timeout=_TIMEOUT
            )
        except ApiException as error:
            if not is_conflict(error):
                raise
            existing = await self.get(namespace, name)
            if existing is None:
                raise GoneError(name) from error
            return existing
        return Tenant.parse(raw)

    async def apply_part(self, seen: Tenant, part: str, value: object, manager: str) -> Tenant:
        """Applies ``spec.<part>`` as ``manager``, if that part still is what ``seen`` has.

        ``part`` is the field's Python name, ``value`` its JSON form. Raises ``ChangedError`` if the part is
        another by now, ``GoneError`` if the object is not the one that was seen.
        """
        wire = Tenant.model_fields["spec"].annotation.model_fields[part].alias  # type: ignore[union-attr]
        current = seen
        while True:
            try:
                return await self._apply(current, {"spec": {"id": current.spec.id, wire: value}}, manager)
            except ApiException as error:
                if not is_conflict(error):
                    raise
            latest = await self.get(seen.metadata.namespace, seen.metadata.name)
            if latest is None or latest.metadata.uid != seen.metadata.uid:
                raise GoneError(seen.metadata.name)
            if getattr(latest.spec, part) != getattr(seen.spec, part):
                raise ChangedError(part)
            if latest.metadata.resource_version == current.metadata.resource_version:
                await asyncio.sleep(0)  # refused for another reason than a newer version; do not starve the loop
            current = latest

    async def _apply(self, seen: Tenant, body: Json, manager: str) -> Tenant:
        raw = await self._api.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            seen.metadata.namespace,
            self._plural,
            seen.metadata.name,
            _identified(seen) | dict(body),
            field_manager=manager,
            force=True,
            _content_type=_APPLY,
            _request_timeout=_TIMEOUT,
        )
        return Tenant.parse(raw)

    async def add_finalizer(self, seen: Tenant) -> Tenant:
        """Sets our finalizer, on exactly the version that was seen; 409 or 422 when there is a newer one.

        Nothing happens if it is there: the API server would keep it twice.
        """
        if FINALIZER in seen.metadata.finalizers:
            return seen
        return await self._patch_finalizers(seen, [*seen.metadata.finalizers, FINALIZER])

    async def remove_finalizer(self, seen: Tenant) -> None:
        """Takes our finalizer away, which lets Kubernetes delete the object; nothing happens if it is gone already."""
        rest = [name for name in seen.metadata.finalizers if name != FINALIZER]
        try:
            await self._patch_finalizers(seen, rest)
        except ApiException as error:
            if not is_not_found(error):
                raise

    async def _patch_finalizers(self, seen: Tenant, finalizers: list[str]) -> Tenant:
        patch: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/uid", "value": seen.metadata.uid},
            {"op": "test", "path": "/metadata/resourceVersion", "value": seen.metadata.resource_version},
            {"op": "add", "path": "/metadata/finalizers", "value": finalizers},
        ]
        raw = await self._api.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            seen.metadata.namespace,
            self._plural,
            seen.metadata.name,
            patch,
            _content_type=_JSON_PATCH,
            _request_timeout=_TIMEOUT,
        )
        return Tenant.parse(raw)


def _identified(seen: KubernetesObject) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": seen.kind,
        "metadata": {
            "name": seen.metadata.name,
            "namespace": seen.metadata.namespace,
            "uid": seen.metadata.uid,
            "resourceVersion": seen.metadata.resource_version,
        },
    }


def namespace_uid(api: client.ApiClient) -> Callable[[str], Awaitable[str]]:
    """Tells the uid of a namespace: another one after a cluster was built anew."""

    async def uid(name: str) -> str:
        """Raises ``ApiException``. The client's own CoreV1Api takes a second and 24 MB to be imported."""
        request = await api.param_serialize(
            "GET",
            "/api/v1/namespaces/{name}",
            path_params={"name": name},
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        answer: Any = await api.call_api(*request, _request_timeout=_TIMEOUT)
        await answer.read()
        found: Any = api.response_deserialize(answer, {"200": "object"}).data
        return str(found["metadata"]["uid"])

    return uid
