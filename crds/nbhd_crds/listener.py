"""HTTP listeners of the router and webhooks: a client that misbehaves gets a 400 and costs one line of the log.

Without this aiohttp answers 500 to a body that is cut or wrongly compressed, and logs a traceback for each request that
is no HTTP, which may quote what was sent. The services bring their applications, ``health.py`` makes one more.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import AsyncIterator

from aiohttp import http_exceptions, web
from aiohttp.typedefs import Handler

log = logging.getLogger(__name__)

# aiohttp.web.RequestPayloadError: the body breaks its own encoding. ConnectionError: the client went away.
_CLIENTS_FAULTS = (http_exceptions.HttpProcessingError, web.RequestPayloadError, ConnectionError)


@contextlib.asynccontextmanager
async def listening(
    app: web.Application, address: str, *, tls: ssl.SSLContext | None = None, drain: float = 5.0
) -> AsyncIterator[str]:
    """Serves ``app`` on ``host:port`` while the context lasts and gives the URL (port 0 means any free one).

    At the end no new connection is accepted, and requests in progress have ``drain`` seconds to finish.
    """
    logging.getLogger("aiohttp.server").addFilter(_one_line)  # adding it again changes nothing
    app.middlewares.append(_readable)  # the innermost: the application's own middlewares see an HTTP 400
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=drain)  # an access log would show tokens in addresses
    await runner.setup()
    try:
        await web.TCPSite(runner, host, int(port), ssl_context=tls).start()
        url = f"{'https' if tls else 'http'}://{host}:{runner.addresses[0][1]}"
        log.info("listening", extra={"url": url})
        yield url
    finally:
        await runner.cleanup()


@web.middleware
async def _readable(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (web.RequestPayloadError, ConnectionError) as error:
        log.warning("request not readable", extra={"error": type(error).__name__})
        raise web.HTTPBadRequest(text="the request cannot be read\n") from None


def _one_line(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, _CLIENTS_FAULTS):
        record.msg, record.args, record.exc_info = "request not readable", None, None
        record.error = type(error).__name__
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True
