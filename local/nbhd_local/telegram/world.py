"""Telegram on this machine: the Bot API, the webhook sender, and people who chat with the one bot.

`TelegramWorld` wires the parts; the services meet it through ``api_url`` and webhook POSTs only.
"""

from __future__ import annotations

import random
import re
import secrets
from collections import Counter
from collections.abc import Collection
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Self

from nbhd_local import web
from nbhd_local.ca import Authority
from nbhd_local.clock import Clock, utc_now
from nbhd_local.traffic import Traffic

from .api import Api, Call
from .bot import Bot, Outgoing
from .chat_page import ChatPage
from .errors import TelegramError, injected
from .limits import Limiter, Limits
from .params import Params
from .people import User
from .sender import Attempt, Tuning, WebhookSender
from .updates import Json


class TelegramWorld:
    """Use as an async context manager.

    ``authority`` puts the API behind TLS; ``webhook_ca`` (by default the same) is what the webhook sender trusts. The
    chat page for a browser is always plain HTTP. ``tuning`` shortens the sender's waits, ``limits`` turns on 429s.
    """

    def __init__(
        self,
        authority: Authority | None = None,
        *,
        bot_token: str | None = None,
        bot_username: str = "nbhd_local_bot",
        clock: Clock = utc_now,
        webhook_ca: Authority | None = None,
        tuning: Tuning | None = None,
        limits: Limits | None = None,
        latency: tuple[float, float] = (0.005, 0.03),
        rng: random.Random | None = None,
        host: str = web.LOOPBACK,
        web_host: str | None = None,
        port: int = 0,
        web_port: int = 0,
    ) -> None:
        chance = rng or random.SystemRandom()
        self._authority = authority
        self._webhook_ca = webhook_ca or authority
        self._host, self._web_host, self._ports = host, web_host or host, (port, web_port)
        self.bot_token = bot_token or f"{secrets.randbelow(9 * 10**9) + 10**9}:{secrets.token_urlsafe(27)[:35]}"
        self.bot_username = bot_username
        self._bot = Bot(token=self.bot_token, username=bot_username, clock=clock)
        self._bot.watchers.append(self._dispatch)
        self._sender = WebhookSender(self._bot, tuning=tuning or Tuning(), execute=self._execute, rng=chance)
        self.traffic = Traffic(clock, injected, shown=lambda path: re.sub(r"bot[^/]+", "bot…", path))
        self._api = Api(
            self._bot,
            Limiter(limits or Limits()),
            self.traffic,
            latency=latency,
            rng=chance,
            on_webhook=self._sender.reset,
        )
        self._people: dict[int, User] = {}
        self._stack = AsyncExitStack()
        self.outgoing: list[Outgoing] = []
        self.api_url = ""
        self.web_url = ""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._sender.open(self._webhook_ca.client_context() if self._webhook_ca else None)
            stack.push_async_callback(self._sender.close)
            tls = self._authority.server_context() if self._authority else None
            api = self._api.application()
            self.api_url = await stack.enter_async_context(
                web.serve(api, tls=tls, port=self._ports[0], host=self._host)
            )
            stack.callback(self.traffic.release_all)
            page = ChatPage(self.bot_username, self.user, lambda: self.people).application()
            self.web_url = await stack.enter_async_context(web.serve(page, port=self._ports[1], host=self._web_host))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # People and raw updates

    def user(self, user_id: int, *, first_name: str | None = None, username: str | None = None) -> User:
        """The person with this id; made when first named."""
        if user_id not in self._people:
            name = first_name or f"User {user_id}"
            self._people[user_id] = User(self._bot, user_id, first_name=name, username=username)
        return self._people[user_id]

    @property
    def people(self) -> Collection[User]:
        """Everybody so far."""
        return self._people.values()

    def inject(self, update: Json) -> int:
        """Queues an update as it is, whatever ``allowed_updates`` says; gives it an id if it has none.

        Returns the id.
        """
        return self._bot.updates.put(update, now=self._bot.now()).id

    async def settled(self) -> None:
        """Returns when every update so far was accepted with a 2xx, or given up."""
        await self._bot.updates.empty.wait()

    # What a test or the demo looks at

    @property
    def calls(self) -> list[Call]:
        """Every Bot API call, oldest first; it never holds the token."""
        return self._api.calls

    @property
    def counters(self) -> Counter[str]:
        """Calls by method, and ``download`` for files."""
        return self._api.counters

    @property
    def attempts(self) -> list[Attempt]:
        """Every POST of an update to the webhook, oldest first."""
        return self._sender.attempts

    @property
    def pending(self) -> list[Json]:
        """Updates that are neither delivered nor given up, oldest first."""
        return [self._bot.updates.waiting[one].body for one in sorted(self._bot.updates.waiting)]

    def messages(self, chat_id: int) -> list[Json]:
        """A chat's messages as the wire has them, oldest first; a group's too."""
        chat = self._bot.chats.get(chat_id)
        return list(chat.messages.values()) if chat else []

    @property
    def webhook_url(self) -> str:
        """What setWebhook set; empty while there is none."""
        return self._bot.webhook.url

    async def _execute(self, method: str, params: Params) -> None:
        with suppress(TelegramError):  # as the real server: the answer goes nowhere; the call is in the log
            await self._api.call(method, params, via_webhook=True)

    def _dispatch(self, outgoing: Outgoing) -> None:
        self.outgoing.append(outgoing)
        user = self._people.get(outgoing.chat_id)
        if user is not None:
            user.notice(outgoing)
