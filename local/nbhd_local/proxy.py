"""A reverse proxy with fault hooks, for the ways that no emulator is at an end of.

In front of the API server, or of a service's own listener, it lets a story hold, fail or cut exactly one request before
or after it took effect (``traffic.py``). Answers are passed on whole, but for a watch, which streams.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from nbhd_local import web as listeners
from nbhd_local.traffic import AnsweredError, Traffic

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length"}
)
_MAX_BODY = 64 * 1024 * 1024


class ProxyError(AnsweredError):
    """What a fault that a test asked for, or a target that is away, looks like."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status, self.code = status, code

    def response(self) -> web.Response:
        """The HTTP answer; the API server's clients find a Status in it."""
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": self.code, "code": self.status}
        return web.json_response(body, status=self.status)


@asynccontextmanager
async def proxy(
    target: str,
    traffic: Traffic,
    name: str,
    *,
    tls: ssl.SSLContext | None = None,
    trust: ssl.SSLContext | None = None,
    port: int = 0,
) -> AsyncIterator[str]:
    """Serves ``target`` on loopback and yields the proxy's base URL. ``tls`` is ours, ``trust`` the target's CA."""
    connector = aiohttp.TCPConnector(ssl=trust or True, limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
            body = await request.read() if request.can_read_body else None
            try:
                async with session.request(
                    request.method, f"{target}{request.raw_path}", headers=headers, data=body, allow_redirects=False
                ) as answer:
                    kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
                    if request.query.get("watch") != "true" or answer.status != 200:
                        return web.Response(status=answer.status, headers=kept, body=await answer.read())
                    stream = web.StreamResponse(status=answer.status, headers=kept)
                    await stream.prepare(request)
                    traffic.streams[stream] = request
                    try:
                        async for chunk in answer.content.iter_any():
                            if not traffic.silent:
                                await stream.write(chunk)
                    finally:
                        del traffic.streams[stream]
                    return stream
            except (aiohttp.ClientConnectionError, ConnectionResetError) as error:
                raise ProxyError(503, type(error).__name__) from error

        app = web.Application(middlewares=[traffic.middleware(name)], client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", forward)
        async with listeners.serve(app, tls=tls, port=port) as url:
            try:
                yield url
            finally:
                traffic.release_all()


def injected(status: int, code: str, _headers: object) -> ProxyError:
    """The error of a fault that a test asked for."""
    return ProxyError(status, code)
