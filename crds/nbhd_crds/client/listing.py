"""A complete list of one kind, for who keeps what was listed before: an object that has not changed is not read again.

With thousands of objects reading costs far more than the request does. The list's version is where a watch may go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import aiohttp
import msgspec
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api.meta import GROUP, VERSION
from nbhd_crds.client.watch import Head, Meta, Page

T = TypeVar("T")

_PAGE = 500
_TIMEOUT = 30.0


@dataclass(frozen=True)
class Listed(Generic[T]):
    """All objects, as they were at ``version``."""

    items: list[T]
    version: str


_head = msgspec.json.Decoder(Head).decode
_page = msgspec.json.Decoder(Page).decode


class Lists(Generic[T]):
    """Lists the objects of one kind: of one namespace, or of all of them when ``namespace`` is empty.

    ``read`` makes of the JSON of one what its caller keeps.
    """

    def __init__(self, api: client.ApiClient, plural: str, namespace: str, read: Callable[[bytes], T]) -> None:
        self._api = client.CustomObjectsApi(api)
        self._plural, self._namespace, self._read = plural, namespace, read

    async def __call__(self, have: Callable[[Meta], T | None] = lambda _: None) -> Listed[T]:
        """``have`` gives an object that is known in exactly this version already.

        Raises ``ApiException``, ``aiohttp.ClientError`` or what ``read`` does.
        """
        items: list[T] = []
        token: str | None = None
        while True:
            token, version = self._take(await self._ask(token), have, items)
            if not token:
                return Listed(items, version)

    def _take(self, body: bytes, have: Callable[[Meta], T | None], items: list[T]) -> tuple[str, str]:
        """Reads a page; nothing of it is left when the next one comes. Returns the token of that, and the version."""
        try:
            page = _page(body)
            for raw in page.items:
                known = have(_head(raw).metadata)
                items.append(self._read(bytes(raw)) if known is None else known)
        except msgspec.MsgspecError as error:
            raise aiohttp.ClientPayloadError(str(error)) from None
        return page.metadata.continue_, page.metadata.resource_version

    async def _ask(self, token: str | None) -> bytes:
        options: dict[str, Any] = {"limit": _PAGE, "_continue": token, "_request_timeout": _TIMEOUT}
        if self._namespace:
            answer: Any = await self._api.list_namespaced_custom_object_without_preload_content(
                GROUP, VERSION, self._namespace, self._plural, **options
            )
        else:
            answer = await self._api.list_cluster_custom_object_without_preload_content(
                GROUP, VERSION, self._plural, **options
            )
        async with answer:
            if answer.status != 200:
                raise ApiException(status=answer.status, reason=answer.reason)
            body: bytes = await answer.read()
            return body
