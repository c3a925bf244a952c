"""Starting and stopping the emulators' HTTP listeners, on loopback only."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

LOOPBACK = "127.0.0.1"


@asynccontextmanager
async def serve(
    app: web.Application, *, tls: ssl.SSLContext | None = None, port: int = 0, host: str = LOOPBACK
) -> AsyncIterator[str]:
    """Serves ``app`` on loopback while the context lasts and yields its base URL, without a trailing slash.

    ``port=0`` takes a free one. Connections that are still open at the end are given one second.
    """
    if not host.startswith("127."):
        message = f"the local world listens on loopback only, not on {host}"
        raise ValueError(message)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls)
        await site.start()
        bound = runner.addresses[0][1]
        yield f"{'https' if tls else 'http'}://{host}:{bound}"
    finally:
        await runner.cleanup()
