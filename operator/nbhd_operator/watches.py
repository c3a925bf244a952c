"""Whether kopf's watches are alive, which kopf itself does not tell: half of what ``/readyz`` answers.

``handlers.py`` logs kopf in with our session, whose requests are traced. kopf closes a watch that was silent for longer
than the server's bookmarks come, so a watch is alive exactly while its answer is open.
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

    def session(self, info: kopf.ConnectionInfo) -> kopf.AiohttpSession:
        """The same connection with our tracing."""
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

    async def _answered(self, _: object, __: object, call: aiohttp.TraceRequestEndParams) -> None:
        plural = call.url.path.rpartition("/")[2]
        if plural in self._seen and call.url.query.get("watch") == "true" and call.response.status == 200:
            self._answers[plural] = call.response
