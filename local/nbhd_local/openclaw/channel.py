"""The Telegram channel: start order, webhook listener, durable acknowledgement, one turn at a time, clean stop.

An update goes from ``_receive`` into the inbox and is acknowledged; ``_drain`` takes it from there, asks ``agent.py``
and replies through the Bot API.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import html
import itertools
import json
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web

from nbhd_local.openclaw.agent import answer
from nbhd_local.openclaw.bot_api import BotApi, BotApiError
from nbhd_local.openclaw.settings import Settings
from nbhd_local.openclaw.store import Inbox

_MAX_BODY = 1024 * 1024
_BODY_SECONDS = 30
_MAX_RETRY_SECONDS = 60.0
_TYPING_SECONDS = 4.0
_CHUNK = 4000
_DURABLE = {"x-openclaw-delivery-accepted": "durable"}
_ALLOWED_UPDATES = [
    *("message", "edited_message", "channel_post", "edited_channel_post", "business_connection", "business_message"),
    *("edited_business_message", "deleted_business_messages", "guest_message", "message_reaction"),
    *("message_reaction_count", "inline_query", "chosen_inline_result", "callback_query", "shipping_query"),
    *("pre_checkout_query", "purchased_paid_media", "poll", "poll_answer", "my_chat_member", "chat_member"),
    *("chat_join_request", "chat_boost", "removed_chat_boost"),
]


async def run(settings: Settings) -> None:
    """Runs the gateway until SIGTERM; the turn that is under way is finished first."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    inbox = Inbox(settings.state_dir)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        channel = Channel(settings, inbox, BotApi(session, settings.api_root, settings.bot_token))
        work = asyncio.create_task(channel.work())
        stop = asyncio.create_task(stopping.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()  # raises what broke it; a channel that was refused for good leaves an idle gateway
            await stop
        _say("stopping: finishing the turn")
        await channel.stop()
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    inbox.close()


class Channel:
    """One bot account in webhook mode, at ``address`` once it is ``listening``."""

    def __init__(self, settings: Settings, inbox: Inbox, bot: BotApi) -> None:
        self._settings, self._inbox, self._bot = settings, inbox, bot
        self._arrived = asyncio.Event()
        self._between_turns = asyncio.Lock()
        self._runner: web.AppRunner | None = None
        self.address = ("", 0)
        self.listening = asyncio.Event()

    async def work(self) -> None:
        """Starts as OpenClaw does, then takes turns for ever."""
        with contextlib.suppress(BotApiError):
            await self._bot.call("getMe", verb="GET")  # the probe: its failure is no obstacle
        if not await self._persist("getMe", {}):
            return
        await self._listen()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._announce())
            group.create_task(self._drain())

    async def stop(self) -> None:
        """Takes no further updates and waits for the turn that is under way."""
        await self._close()
        await self._between_turns.acquire()

    async def _persist(self, method: str, parameters: dict[str, Any]) -> bool:
        """Calls until it succeeds, backing off; False when it never will."""
        wait = self._settings.retry_seconds
        while True:
            try:
                await self._bot.call(method, parameters)
            except BotApiError as error:
                _say(f"{method} failed: {error.code} {error.description}")
                if not error.retryable:
                    return False
                await asyncio.sleep(error.retry_after or wait)
                wait = min(_MAX_RETRY_SECONDS, wait * 2)
            else:
                return True

    async def _listen(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.webhook_host, self._settings.webhook_port).start()
        self.address = self._runner.addresses[0]
        self.listening.set()
        _say(f"webhook listening on {self.address}")

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _announce(self) -> None:
        """Registers the webhook while the listener already works; being refused for good shuts it."""
        registration = {
            "url": self._settings.webhook_url,
            "secret_token": self._settings.webhook_secret,
            "allowed_updates": _ALLOWED_UPDATES,
        }
        if not await self._persist("setWebhook", registration):
            await self._close()
            return
        scopes: list[dict[str, Any]] = [{}, {"scope": {"type": "all_group_chats"}}]
        for scope in scopes:
            await self._persist("deleteMyCommands", scope)
        if self._settings.native_commands:
            for scope in scopes:
                commands = [{"command": "status", "description": "Status"}, {"command": "new", "description": "New"}]
                await self._persist("setMyCommands", {"commands": commands, **scope})

    async def _receive(self, request: web.Request) -> web.Response:
        if request.method == "GET" and request.raw_path == "/healthz":
            return web.Response(text="ok")
        if request.method != "POST" or request.raw_path != self._settings.webhook_path:
            return web.Response(status=404)
        given = request.headers.get("x-telegram-bot-api-secret-token", "")
        if not hmac.compare_digest(given.encode(), self._settings.webhook_secret.encode()):
            return web.Response(status=401)
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await _read(request)
            update = json.loads(body)
        except TimeoutError:
            return web.Response(status=408)
        except _TooLarge:
            return web.Response(status=413, headers={"Connection": "close"})
        except ValueError:
            return web.Response(status=400)
        number = update.get("update_id") if isinstance(update, dict) else None
        if not isinstance(number, int) or isinstance(number, bool):
            return web.Response(status=500)
        if self._inbox.accept(update):
            self._arrived.set()
        return web.Response(headers=_DURABLE)

    async def _drain(self) -> None:
        while True:
            self._arrived.clear()
            if not self._inbox.waiting():
                await self._arrived.wait()
                continue
            async with self._between_turns:
                if _is_plain_text(self._inbox.waiting()[0]):
                    await asyncio.sleep(self._settings.merge_seconds)
                await self._take_turn(_first_turn(self._inbox.waiting()))

    async def _take_turn(self, updates: list[dict[str, Any]]) -> None:
        try:
            await self._handle(updates)
        except BotApiError as error:
            _say(f"the reply was not delivered: {error.code} {error.description}")
        for update in updates:
            self._inbox.finish(update)

    async def _handle(self, updates: list[dict[str, Any]]) -> None:
        callback = updates[0].get("callback_query")
        if isinstance(callback, dict):
            await self._bot.deliver("answerCallbackQuery", {"callback_query_id": callback.get("id")})
        messages = [update["message"] for update in updates if isinstance(update.get("message"), dict)]
        if not messages:
            return
        chat = messages[0]["chat"]
        if chat.get("type") != "private":
            await self._bot.deliver("getChat", {"chat_id": chat["id"]})
            return
        allowed = [message for message in messages if self._may_write(message)]
        if allowed:
            async with _typing(self._bot, chat["id"]):
                await self._reply(chat["id"], allowed)

    def _may_write(self, message: dict[str, Any]) -> bool:
        if self._settings.dm_policy in {"open", "disabled"}:
            return self._settings.dm_policy == "open"
        return str((message.get("from") or {}).get("id")) in self._settings.allow_from

    async def _reply(self, chat_id: int, messages: list[dict[str, Any]]) -> None:
        reply = answer(self._settings, self._inbox, messages)
        text = reply.text
        if reply.attempt is not None:
            wish = {"chat_id": reply.attempt.chat_id, "text": reply.attempt.text}
            try:
                await self._bot.call("sendMessage", wish)
            except BotApiError as error:
                text = f"{text} It was refused: {error.code} {error.description}"
        for start in range(0, len(text), _CHUNK):
            chunk = html.escape(text[start : start + _CHUNK], quote=False)
            await self._bot.deliver("sendMessage", {"chat_id": str(chat_id), "text": chunk, "parse_mode": "HTML"})


class _TooLarge(Exception):  # noqa: N818 - the HTTP status' name
    pass


async def _read(request: web.Request) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > _MAX_BODY:
            raise _TooLarge
    return bytes(body)


def _is_plain_text(update: dict[str, Any]) -> bool:
    message = update.get("message")
    text = message.get("text") if isinstance(message, dict) else None
    return isinstance(text, str) and not text.startswith("/")


def _first_turn(waiting: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is answered next: plain texts that follow each other in one chat are one turn, all else stands alone."""
    first = waiting[0]
    if not _is_plain_text(first):
        return [first]
    chat = first["message"]["chat"]["id"]
    return list(itertools.takewhile(lambda u: _is_plain_text(u) and u["message"]["chat"]["id"] == chat, waiting))


@contextlib.asynccontextmanager
async def _typing(bot: BotApi, chat_id: int) -> AsyncIterator[None]:
    """Shows "typing…" at once and every few seconds while a turn runs."""

    async def show() -> None:
        with contextlib.suppress(BotApiError):
            await bot.call("sendChatAction", {"chat_id": chat_id, "action": "typing"})

    async def keep_showing() -> None:
        while True:
            await asyncio.sleep(_TYPING_SECONDS)
            await show()

    await show()
    task = asyncio.create_task(keep_showing())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _say(text: str) -> None:
    print(f"[gateway] {text}", file=sys.stderr, flush=True)
