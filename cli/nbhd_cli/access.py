"""Reads and writes of our objects with a person's own rights, and errors as kubectl words them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from nbhd_cli.errors import CommandError
from nbhd_cli.options import Target
from nbhd_crds.api.meta import GROUP, VERSION, KubernetesObject
from nbhd_crds.client import Objects, connect, is_not_found

Json = dict[str, Any]
T = TypeVar("T", bound=KubernetesObject)
_TIMEOUT = 15.0
_MERGE = "application/merge-patch+json"


class Access:
    """One person's access to one namespace, or to all of them when ``namespace`` is empty."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.api, self.namespace = api, namespace
        self._objects = client.CustomObjectsApi(api)

    @property
    def where(self) -> str:
        """The namespace in words."""
        return f'namespace "{self.namespace}"' if self.namespace else "any namespace"

    def within(self, namespace: str) -> Access:
        """The same person's access to one namespace."""
        return Access(self.api, namespace)

    async def raw(self, kind: type[T], selector: str = "") -> list[Json]:
        """All objects of the kind, as the API server has them."""
        return [
            dict(item)
            async for page in Objects(self.api, kind, kind.plural).pages(self.namespace, selector)
            for item in page
        ]

    async def all(self, kind: type[T], selector: str = "") -> list[T]:
        """All objects of the kind."""
        return [kind.parse(item) for item in await self.raw(kind, selector)]

    async def find(self, kind: type[T], name: str) -> T | None:
        """The object, or None when it does not exist."""
        return await Objects(self.api, kind, kind.plural).get(self.namespace, name)

    async def get(self, kind: type[T], name: str) -> T:
        """The object. Raises ``CommandError`` if there is none."""
        found = await self.find(kind, name)
        if found is None:
            raise CommandError(f'{kind.kind.lower()} "{name}" not found in {self.where}')
        return found

    async def some(self, kind: type[T], names: tuple[str, ...], selector: str = "") -> list[T]:
        """The named objects, or all of them where none is named."""
        if not names:
            return await self.all(kind, selector)
        return [await self.get(kind, name) for name in dict.fromkeys(names)]

    async def create(self, kind: type[T], body: Json) -> T:
        """Makes the object. Raises ``ApiException`` with 409 if the name is taken."""
        raw = await self._objects.create_namespaced_custom_object(
            GROUP, VERSION, self.namespace, kind.plural, body, _request_timeout=_TIMEOUT
        )
        return kind.parse(raw)

    async def annotate(
        self, found: KubernetesObject, values: Mapping[str, str | None], *, unchanged: bool = False
    ) -> None:
        """Sets annotations, and removes those that are None; ``unchanged`` refuses it if anything was written since.

        Raises ``CommandError``.
        """
        meta = found.metadata
        metadata: Json = {"uid": meta.uid, "annotations": dict(values)}
        if unchanged:
            metadata["resourceVersion"] = meta.resource_version
        try:
            await self._objects.patch_namespaced_custom_object(
                GROUP,
                VERSION,
                meta.namespace,
                found.plural,
                meta.name,
                {"metadata": metadata},
                _content_type=_MERGE,
                _request_timeout=_TIMEOUT,
            )
        except ApiException as error:
            raise _changed(found, error) from None

    async def delete(self, found: KubernetesObject) -> None:
        """Asks for the deletion of the very object that was found; that it is gone already is no error."""
        meta = found.metadata
        try:
            await self._objects.delete_namespaced_custom_object(
                GROUP,
                VERSION,
                meta.namespace,
                found.plural,
                meta.name,
                body=client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=meta.uid)),
                _request_timeout=_TIMEOUT,
            )
        except ApiException as error:
            if not is_not_found(error):
                raise _changed(found, error) from None


def _changed(found: KubernetesObject, error: ApiException) -> Exception:
    if error.status == 409:
        return CommandError(f"{title(found)} was changed at the same time: look at it and try again")
    return error


def title(found: KubernetesObject) -> str:
    """As kubectl names an object that it did something to."""
    return f"{found.kind.lower()}.{GROUP}/{found.metadata.name}"


def explain(error: ApiException) -> str:
    """What the API server said; it is meant for people."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, TypeError, KeyError):
        return f"the server answered {error.status} {error.reason}"


@contextlib.asynccontextmanager
async def connected(target: Target) -> AsyncIterator[Access]:
    """Access to what the flags name. Raises ``CommandError`` for whatever the API server does not do."""
    paths = _kubeconfig(target)
    try:
        api = await connect(Path(paths), target.context)
        namespace = "" if target.everywhere else target.namespace or _namespace(paths, target.context)
    except config.ConfigException as error:
        raise CommandError(f"kubeconfig {paths}: {error}") from None
    try:
        yield Access(api, namespace)
    except ApiException as error:
        raise CommandError(explain(error)) from None
    except (aiohttp.ClientError, OSError) as error:  # a TimeoutError, too
        raise CommandError(f"cannot reach the server: {type(error).__name__}") from None
    finally:
        await api.close()  # type: ignore[no-untyped-call] # untyped upstream
        # What was cut off in a TLS handshake is closed in the loop's next turn, and there may be none:
        # https://docs.aiohttp.org/en/stable/client_advanced.html#graceful-shutdown
        await asyncio.sleep(0)


def _kubeconfig(target: Target) -> str:
    """One path, or several with colons between them, as kubectl takes them."""
    paths = target.kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    if not any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path):
        raise CommandError(f"kubeconfig {paths}: there is no such file")
    return paths


def _namespace(paths: str, name: str | None) -> str:
    contexts, active = config.list_kube_config_contexts(config_file=paths)  # type: ignore[no-untyped-call] # upstream
    chosen = next((one for one in contexts if one["name"] == name), active)
    return str(chosen["context"].get("namespace") or "default")
