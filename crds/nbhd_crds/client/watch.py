"""Our watch: keeps a caller informed of every object of one kind, 10 to 100 times cheaper than the general clients.

WatchList where the server has it, else a paginated list; then bookmarks, reconnecting from the last version, a new list
on 410, and mark and sweep on each list, so that deletions missed while disconnected are reported. msgspec decodes only
the fields that the caller's type names.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, Protocol, TypeVar

import aiohttp
import msgspec
from kubernetes.aio import client

from nbhd_crds.api.meta import GROUP, VERSION

log = logging.getLogger(__name__)

_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_PAGE = 500
_WATCH_SECONDS = 290
_MAX_DELAY = 5.0  # a service has one watch a kind: asking every few seconds hurts nobody
_QUIET_SECONDS = 90.0  # the server sends a bookmark about once a minute


class Meta(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """The metadata that a watch needs."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None
    annotations: dict[str, str] | None = None


class Watched(Protocol):
    """What a caller's type must have."""

    @property
    def metadata(self) -> Meta:
        """Kubernetes' object metadata."""
        ...


T = TypeVar("T", bound=Watched)


class _ListMeta(msgspec.Struct, rename={"resource_version": "resourceVersion", "continue_": "continue"}):
    resource_version: str = ""
    continue_: str = ""


class Page(msgspec.Struct):
    """One page of a list; the items are read by whoever needs them."""

    metadata: _ListMeta
    items: list[msgspec.Raw]


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


class Head(msgspec.Struct):
    """An object, or a bookmark, of which only the metadata is read."""

    metadata: Meta


class _RelistError(Exception):
    """The server no longer knows our version."""


class Watch(Generic[T]):
    """Reports every object of one kind to ``on_set`` and every deletion to ``on_delete``, for ever.

    Only the one called ``name``, if there is a name.
    ``on_delete`` gets the last object that was seen. Callbacks must be quick and must not raise. ``synced`` is set
    after the first complete list; ``last_contact`` is the monotonic time of the last byte from the server.
    """

    def __init__(
        self,
        api: client.ApiClient,
        kind: type[T],
        plural: str,
        *,
        namespace: str = "",
        name: str = "",
        on_set: Callable[[T], None],
        on_delete: Callable[[T], None],
    ) -> None:
        self._configuration = api.configuration
        scope = f"namespaces/{namespace}/" if namespace else ""
        self._url = f"{self._configuration.host}/apis/{GROUP}/{VERSION}/{scope}{plural}"
        self._only = {"fieldSelector": f"metadata.name={name}"} if name else {}
        self._on_set, self._on_delete = on_set, on_delete
        self._decode = msgspec.json.Decoder(kind).decode
        self._decode_list = msgspec.json.Decoder(Page).decode
        self._decode_event = msgspec.json.Decoder(_Event).decode
        self._known: dict[tuple[str, str], T] = {}
        self._version = ""
        self._watch_list = True
        self._session: aiohttp.ClientSession | None = None
        self._following = False
        self.synced = asyncio.Event()
        self.last_contact = 0.0

    @property
    def current(self) -> bool:
        """True while the server tells us every change: only then does a missing object not exist."""
        return self._following

    async def run(self) -> None:
        """Runs until cancelled; faults of the server or the network are logged and retried with a jittered back-off."""
        tls = client.rest.RESTClientObject(self._configuration).ssl_context
        connector = aiohttp.TCPConnector(ssl=tls)
        async with aiohttp.ClientSession(connector=connector, read_bufsize=1 << 20) as self._session:
            delay = 0.5
            while True:
                started = time.monotonic()
                try:
                    if not self._version:
                        await self._list()
                    await self._follow()
                except _RelistError as reason:
                    log.info("listing again", extra={"url": self._url, "reason": str(reason)})
                    self._version = ""
                except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError, OSError) as error:
                    log.warning("watch interrupted", extra={"url": self._url, "error": repr(error)})
                delay = 0.2 if self.last_contact > started else min(delay * 2, _MAX_DELAY)
                await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret

    async def _list(self) -> None:
        if self._watch_list and await self._stream_list():
            return
        seen: dict[tuple[str, str], T] = {}
        token = ""
        while True:
            query = {"limit": str(_PAGE)} | ({"continue": token} if token else {})
            async with self._get(query, aiohttp.ClientTimeout(total=60)) as response:
                if response.status == 410:
                    raise _RelistError("continue token expired")
                response.raise_for_status()
                page = self._decode_list(await response.read())
            for raw in page.items:
                self._set(self._decode(raw), seen)
            token = page.metadata.continue_
            if not token:
                self._sweep(seen, page.metadata.resource_version)
                return

    async def _stream_list(self) -> bool:
        seen: dict[tuple[str, str], T] = {}
        async for event in self._stream({"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}):
            if event.type == "BOOKMARK":
                meta = msgspec.json.decode(event.object, type=Head).metadata
                if (meta.annotations or {}).get(_INITIAL_EVENTS_END) == "true":
                    self._sweep(seen, meta.resource_version)
                    return True
            elif event.type in ("ADDED", "MODIFIED"):
                self._set(self._decode(event.object), seen)
            elif event.type == "DELETED":
                seen.pop(_key(self._decode(event.object)), None)
        if self._watch_list:
            raise aiohttp.ClientPayloadError("the initial stream ended early")
        return False

    async def _follow(self) -> None:
        try:
            async for event in self._stream({"resourceVersion": self._version}):
                self._version = self._take(event)
        finally:
            self._following = False

    def _take(self, event: _Event) -> str:
        if event.type == "BOOKMARK":
            return msgspec.json.decode(event.object, type=Head).metadata.resource_version
        found = self._decode(event.object)
        if event.type == "DELETED":
            self._known.pop(_key(found), None)
            self._on_delete(found)
        else:
            self._set(found, self._known)
        return found.metadata.resource_version

    def _set(self, found: T, seen: dict[tuple[str, str], T]) -> None:
        key = _key(found)
        before = self._known.get(key)
        if before is not None and before.metadata.uid != found.metadata.uid:
            self._on_delete(before)  # the name was given to another object while we were away
        seen[key] = self._known[key] = found
        self._on_set(found)

    def _sweep(self, seen: dict[tuple[str, str], T], version: str) -> None:
        for key in self._known.keys() - seen.keys():
            self._on_delete(self._known[key])
        self._known, self._version = seen, version
        self.synced.set()

    async def _stream(self, extra: dict[str, str]) -> AsyncIterator[_Event]:
        query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_SECONDS), **extra}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_QUIET_SECONDS)
        async with self._get(query, timeout) as response:
            if response.status == 410:
                raise _RelistError("version expired")
            if response.status in (400, 422) and "sendInitialEvents" in extra:
                self._watch_list = False  # an older server
                return
            response.raise_for_status()
            self._following = "sendInitialEvents" not in extra
            rest = b""
            async for chunk in response.content.iter_any():
                self.last_contact = time.monotonic()
                lines = (rest + chunk).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    event = self._decode_event(line)
                    if event.type == "ERROR":
                        status = msgspec.json.decode(event.object, type=_Status)
                        if status.code == 410:
                            raise _RelistError(status.message)
                        raise aiohttp.ClientPayloadError(f"{status.code} {status.reason} {status.message}")
                    yield event

    @contextlib.asynccontextmanager
    async def _get(
        self, query: dict[str, str], timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("run() opens the session")
        headers = {"Accept": "application/json"}
        # Asked anew for each request: a projected ServiceAccount token is replaced every hour.
        for setting in (await self._auth()).values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        async with self._session.get(
            self._url, params=query | self._only, headers=headers, timeout=timeout
        ) as response:
            yield response

    async def _auth(self) -> dict[str, dict[str, Any]]:
        settings: dict[str, dict[str, Any]] = await self._configuration.auth_settings()
        return settings


def _key(found: Watched) -> tuple[str, str]:
    return found.metadata.namespace, found.metadata.name
