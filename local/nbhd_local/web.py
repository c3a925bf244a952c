"""Starting and stopping the emulators' HTTP listeners, where nobody outside of this machine or cluster reaches them."""

from __future__ import annotations

import ipaddress
import ssl
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

LOOPBACK = "127.0.0.1"


@asynccontextmanager
async def serve(
    app: web.Application, *, tls: ssl.SSLContext | None = None, port: int = 0, host: str = LOOPBACK
) -> AsyncIterator[str]:
    """Serves ``app`` while the context lasts and yields its base URL, without a trailing slash.

    ``host`` is in the URL: an address of this machine, or a Service's name, for which all addresses of its Pod are
    taken. ``port=0`` takes a free one. Connections that are still open at the end are given one second. Raises
    ``ValueError`` for a host that is not private.
    """
    if not is_private(f"//{host}"):
        message = f"the local world listens on private addresses only, not on {host}"
        raise ValueError(message)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "0.0.0.0" if _is_service(host) else host, port, ssl_context=tls)  # noqa: S104
        await site.start()
        bound = runner.addresses[0][1]
        yield f"{'https' if tls else 'http'}://{host}:{bound}"
    finally:
        await runner.cleanup()


def is_private(url: str) -> bool:
    """True if the URL's host is this machine, a private address, or a Service of the cluster: nothing leaves."""
    host = urllib.parse.urlsplit(url).hostname or ""
    if host == "localhost" or _is_service(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_private and not address.is_unspecified


def _is_service(host: str) -> bool:
    return host.endswith((".svc", ".svc.cluster.local"))
