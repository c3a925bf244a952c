"""The bot's webhook: check, commit to the spool, answer an empty 200. ``dispatch`` comes next.

Telegram's window of open deliveries is shared by the whole bot, so nothing here waits for a tenant, and nothing is ever
refused for one's sake. The only refusal that Telegram repeats, a 503, means that this router could not write its disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec
from aiohttp import web

from nbhd_crds.identity import same_secret
from nbhd_router import update
from nbhd_router.directory import Directory
from nbhd_router.errors import DatabaseError
from nbhd_router.metrics import Metrics
from nbhd_router.notices import Notices
from nbhd_router.spool import Incoming, Lane, Spool
from nbhd_router.texts import Text

log = logging.getLogger(__name__)

WEBHOOK_PATH = "/telegram/webhook"
MAX_BYTES = 4 << 20
_SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - a header's name


class Intake:
    """Takes updates in."""

    def __init__(
        self,
        bot: int,
        secrets: Sequence[str],
        spool: Spool,
        directory: Directory,
        notices: Notices,
        metrics: Metrics,
        wake: Callable[[Lane], None],
    ) -> None:
        """``wake`` is told each lane in which something new waits."""
        self._bot = bot
        self._secrets = tuple(secrets)
        self._spool = spool
        self._directory = directory
        self._notices = notices
        self._metrics = metrics
        self._wake = wake
        self._background: set[asyncio.Task[None]] = set()

    def app(self) -> web.Application:
        """The public listener's application."""
        app = web.Application(client_max_size=MAX_BYTES)
        app.router.add_post(WEBHOOK_PATH, self.receive)
        return app

    async def receive(self, request: web.Request) -> web.Response:
        """401 for a wrong secret, 503 if the update is not on disk, else an empty 200."""
        if not same_secret(request.headers.get(_SECRET_HEADER, ""), self._secrets):
            self._metrics.updates.labels("unauthorized").inc()
            return web.Response(status=401)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            self._metrics.updates.labels("oversize").inc()
            log.warning("update dropped", extra={"reason": "Oversize", "limit": MAX_BYTES})
            return web.Response()
        try:
            result = await self._store(body)
        except DatabaseError as error:
            self._metrics.updates.labels("not_stored").inc()
            log.error("update not stored", extra={"error": str(error)})
            return web.Response(status=503, headers={"Retry-After": "1"})
        self._metrics.updates.labels(result).inc()
        return web.Response()

    async def _store(self, body: bytes) -> str:
        try:
            found = update.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            await self._spool.put_unreadable(self._bot, body)
            log.warning("update not readable", extra={"bytes": len(body)})
            return "unreadable"
        key = update.key(found)
        if key is None:
            return "ignored"
        lane = Lane(self._bot, key.chat.id, key.own)
        owner = self._directory.route(key.chat.id)
        result = await self._spool.put(Incoming(lane, found.update_id, key.kind, body, owner.spec_id, owner.generation))
        if result == "stored":
            self._wake(lane)
        elif result == "overflow":
            log.warning("update dropped", extra={"reason": "Overflow", "update": found.update_id})
            self._say(key.chat.id, Text.TOO_MANY)
        return result

    def _say(self, chat: int, text: Text) -> None:
        task = asyncio.create_task(self._notices.tell(chat, text))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
