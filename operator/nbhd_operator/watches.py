"""kopf's watches, through the session that ``handlers.py`` logs kopf in with: where they begin, and whether they live.

kopf begins with every object there is, and takes most of a millisecond for each: seconds in which a change would wait.
``runtime.py`` has listed them already, so a watch begins where that list ended. Whether it lives kopf does not tell,
and ``/readyz`` must: kopf closes a watch that was silent for longer than the server's bookmarks come, so a watch is
alive exactly while its answer is open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import aiohttp
import kopf

_RECONNECTING = 10.0  # seconds; the server ends every watch now and then


class Watches:
    """The watches of ``plurals``, from the session that they are made with."""

    def __init__(self, plurals: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: dict[str, aiohttp.ClientResponse] = {}
        self._seen = dict.fromkeys(plurals, float("-inf"))
        self._listed: dict[str, str] = {}

    def listed(self, plural: str, version: str) -> None:
        """All objects of the kind are known as they were at ``version``: the next watch may leave them out."""
        self._listed[plural] = version

    def session(self, info: kopf.ConnectionInfo) -> kopf.AiohttpSession:
        """The same connection with our tracing, and with watches that begin where a list ended."""
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._answered)
        connector = aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context())
        return kopf.AiohttpSession(
            server=info.server,
            priority=info.priority,
            default_namespace=info.default_namespace,
            expiration=info.expiration,
            aiohttp_session=aiohttp.ClientSession(
                connector=connector,
                headers=info.as_http_headers(),
                proxy=info.proxy_url,
                trust_env=info.trust_env,
                trace_configs=[trace],
                middlewares=[self._begin],
            ),
        )

    def missing(self) -> str | None:
        """Which watch is not alive, or None."""
        now = self._clock()
        for plural, answer in self._answers.items():
            if not answer.closed:
                self._seen[plural] = now
        dead = [plural for plural, seen in self._seen.items() if now - seen > _RECONNECTING]
        return f"no watch of {', '.join(dead)}" if dead else None

    async def _begin(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Asks for what is newer than the list, once; kopf asks for everything when the server has forgotten that."""
        if request.url.query.get("sendInitialEvents") == "true":
            version = self._listed.pop(request.url.path.rpartition("/")[2], None)
            if version is not None:
                asked = request.url.without_query_params("sendInitialEvents", "resourceVersionMatch")
                request.url = asked.update_query(resourceVersion=version)
        return await send(request)

    async def _answered(self, _: object, __: object, call: aiohttp.TraceRequestEndParams) -> None:
        plural = call.url.path.rpartition("/")[2]
        if plural in self._seen and call.url.query.get("watch") == "true" and call.response.status == 200:
            self._answers[plural] = call.response
