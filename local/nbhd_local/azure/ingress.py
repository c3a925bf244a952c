"""The ingress in front of one app: TLS outside, plain HTTP to the replica's own address inside.

``runtime.py`` says which replica gets a request (or refuses it); here it is only carried there and back.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from nbhd_local.traffic import Traffic

REQUEST_SECONDS = 240.0
"""How long the service's ingress waits for an answer, a cold start included."""

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_MAX_BODY = 100 * 1024 * 1024
_SMALL = 64 * 1024  # an answer that is passed on whole, so that a fault can come between it and its reader


class Refused(Exception):  # noqa: N818 - an answer, not a fault of ours
    """The ingress answers by itself, as Azure's does."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


Target = Callable[[], AbstractAsyncContextManager[str]]
"""Enters with the base URL of a ready replica, counts the request while inside; raises ``Refused``."""


def application(target: Target, client: aiohttp.ClientSession, traffic: Traffic) -> web.Application:
    """The reverse proxy of one app."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            async with target() as base_url:
                return await _forward(request, base_url, client)
        except Refused as refused:
            return web.Response(status=refused.status, text=refused.text)

    app = web.Application(client_max_size=_MAX_BODY, middlewares=[traffic.middleware("ingress")])
    app.router.add_route("*", "/{tail:.*}", handle)
    return app


async def _forward(request: web.Request, base_url: str, client: aiohttp.ClientSession) -> web.StreamResponse:
    headers = _end_to_end(request.headers)
    headers["X-Forwarded-For"] = request.remote or ""
    headers["X-Forwarded-Proto"] = "https"
    body = await request.read()
    url = URL(base_url + request.raw_path, encoded=True)
    try:
        async with client.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as upstream:
            kept = _end_to_end(upstream.headers)
            if upstream.content_length is not None and upstream.content_length <= _SMALL:
                return web.Response(status=upstream.status, headers=kept, body=await upstream.read())
            response = web.StreamResponse(status=upstream.status, headers=kept)
            await response.prepare(request)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response
    except aiohttp.ClientConnectorError as error:
        raise Refused(503, "upstream connect error: connection refused") from error
    except TimeoutError as error:
        raise Refused(504, "stream timeout") from error
    except aiohttp.ClientError as error:
        raise Refused(502, "upstream connect error or disconnect/reset before headers") from error


def _end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Headers that concern the two ends, not one connection."""
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP | named)
