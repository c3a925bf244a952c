"""The HTTP face of a bot: ``/bot<token>/<method>`` and ``/file/bot<token>/<path>``.

Decodes with `params`, checks token and limits, calls the method, and writes the log of calls (never with a token).
"""

from __future__ import annotations

import asyncio
import datetime
import hmac
import inspect
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web

from nbhd_local.traffic import Traffic

from . import methods_bot, methods_media, methods_messages, methods_webhook, params
from .bot import Bot
from .errors import TelegramError
from .limits import Limiter
from .methods_webhook import Described
from .params import Params, parse_integer

UPLOAD_LIMIT = 50 * 1024 * 1024

METHODS: dict[str, Callable[[Bot, Params], Any]] = {
    "answerCallbackQuery": methods_messages.answer_callback_query,
    "deleteMessage": methods_messages.delete_message,
    "deleteMyCommands": methods_bot.delete_my_commands,
    "deleteWebhook": methods_webhook.delete_webhook,
    "editMessageReplyMarkup": methods_messages.edit_message_reply_markup,
    "editMessageText": methods_messages.edit_message_text,
    "getChat": methods_bot.get_chat,
    "getFile": methods_media.get_file,
    "getMe": methods_bot.get_me,
    "getMyCommands": methods_bot.get_my_commands,
    "getUpdates": methods_webhook.get_updates,
    "getWebhookInfo": methods_webhook.get_webhook_info,
    "sendChatAction": methods_messages.send_chat_action,
    "sendDocument": methods_media.send_document,
    "sendMessage": methods_messages.send_message,
    "sendPhoto": methods_media.send_photo,
    "setMyCommands": methods_bot.set_my_commands,
    "setWebhook": methods_webhook.set_webhook,
}
_BY_LOWER = {name.lower(): name for name in METHODS}
_LIMITED = frozenset({"editMessageReplyMarkup", "editMessageText", "sendDocument", "sendMessage", "sendPhoto"})


@dataclass(frozen=True)
class Call:
    """One call in the log. ``via_webhook`` marks a method that the answer to an update named."""

    method: str
    chat_id: int | None
    status: int
    at: datetime.datetime
    via_webhook: bool = False


class Api:
    """Serves one bot."""

    def __init__(
        self,
        bot: Bot,
        limiter: Limiter,
        traffic: Traffic,
        *,
        latency: tuple[float, float],
        rng: random.Random,
        on_webhook: Callable[[], None],
    ) -> None:
        self._bot = bot
        self._limiter = limiter
        self._traffic = traffic
        self._latency = latency
        self._rng = rng
        self._on_webhook = on_webhook
        self.calls: list[Call] = []
        self.counters: Counter[str] = Counter()

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=UPLOAD_LIMIT, middlewares=[self._traffic.middleware("telegram")])
        app.router.add_route(hdrs.METH_GET, "/file/bot{token:[^/]*}/{path:.+}", self._download)
        app.router.add_route(hdrs.METH_ANY, "/bot{token:[^/]*}/{method:[^/]*}", self._handle)
        app.router.add_route(hdrs.METH_ANY, "/{tail:.*}", self._nothing)
        return app

    async def _handle(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self._rng.uniform(*self._latency))
        if not self._knows(request.match_info["token"]):
            await request.read()
            return _refusal(TelegramError(HTTPStatus.UNAUTHORIZED, "Unauthorized"))
        if request.method not in {hdrs.METH_GET, hdrs.METH_POST}:
            return _refusal(TelegramError(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed"))
        try:
            given = await params.read(request)
        except TelegramError as error:
            return _refusal(error)
        except web.HTTPRequestEntityTooLarge:
            return _refusal(TelegramError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Request Entity Too Large"))
        return await self._respond(request.match_info["method"], given)

    async def _respond(self, method: str, given: Params) -> web.Response:
        try:
            result = await self.call(method, given)
        except TelegramError as error:
            return _refusal(error)
        if isinstance(result, Described):
            return web.json_response({"ok": True, "result": result.result, "description": result.description})
        return web.json_response({"ok": True, "result": result})

    async def call(self, method: str, given: Params, *, via_webhook: bool = False) -> object:
        """Runs a method and logs the call.

        Raises:
            TelegramError: it was refused.
        """
        name = _BY_LOWER.get(method.lower(), "")
        chat_id = parse_integer(given.text("chat_id"))
        status: int = HTTPStatus.OK
        before = self._bot.webhook
        try:
            if not name:
                raise TelegramError(HTTPStatus.NOT_FOUND, "Not Found: method not found")
            if name in _LIMITED and chat_id is not None:
                self._limiter.check(chat_id, time.monotonic())
            result = METHODS[name](self._bot, given)
            return await result if inspect.isawaitable(result) else result
        except TelegramError as error:
            status = error.code
            raise
        finally:
            now = datetime.datetime.fromtimestamp(self._bot.now(), datetime.UTC)
            self.calls.append(Call(name or "unknown", chat_id, status, now, via_webhook))
            self.counters[name or "unknown"] += 1
            if self._bot.webhook is not before:
                self._on_webhook()

    async def _download(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self._rng.uniform(*self._latency))
        if not self._knows(request.match_info["token"]):
            return _refusal(TelegramError(HTTPStatus.UNAUTHORIZED, "Unauthorized"))
        stored = self._bot.files.by_path(request.match_info["path"])
        self.counters["download"] += 1
        if stored is None:
            return _refusal(TelegramError(HTTPStatus.NOT_FOUND, "Not Found"))
        return web.Response(body=stored.data, content_type="application/octet-stream")

    async def _nothing(self, _request: web.Request) -> web.Response:
        return _refusal(TelegramError(HTTPStatus.NOT_FOUND, "Not Found"))

    def _knows(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._bot.token.encode())


def _refusal(error: TelegramError) -> web.Response:
    return web.json_response(error.envelope(), status=error.code)
