"""One bot's state on Telegram's side: chats and their messages, files, callback queries, webhook settings.

The methods change it for the bot, `people` for the users; what the bot does in a chat is told to ``watchers``.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from nbhd_local.clock import Clock

from . import formatting
from .errors import bad_request, forbidden
from .files import FileStore
from .updates import NOT_BY_DEFAULT, Json, UpdateStore, kind_of

CALLBACK_LIFETIME = 150.0
OutgoingKind = Literal["message", "edit", "delete", "action", "answer"]


@dataclass
class Chat:
    """A private chat has its user's id. ``reachable`` becomes true when the user starts the bot."""

    id: int
    wire: Json
    reachable: bool = False
    blocked: bool = False
    messages: dict[int, Json] = field(default_factory=dict)
    next_message_id: int = 1

    @property
    def private(self) -> bool:
        return bool(self.wire["type"] == "private")


@dataclass(frozen=True)
class Outgoing:
    """Something that the bot did in a chat: a message as it now is, or what an action or answer says."""

    kind: OutgoingKind
    chat_id: int
    content: Json


@dataclass(frozen=True)
class Callback:
    """A tapped button that waits for answerCallbackQuery."""

    chat_id: int
    asked_at: float


@dataclass
class Webhook:
    """What setWebhook set, and what happened at the URL since."""

    url: str = ""
    secret: str = field(default="", repr=False)
    max_connections: int = 40
    allowed: tuple[str, ...] = ()
    last_error_date: int | None = None
    last_error_message: str = ""


class Bot:
    """The state of one bot, known by its token."""

    def __init__(self, *, token: str, username: str, clock: Clock) -> None:
        self._clock = clock
        self.token = token
        self.username = username
        self.id = int(token.partition(":")[0])
        self.user: Json = {"id": self.id, "is_bot": True, "first_name": "Neighbourhood", "username": username}
        self.chats: dict[int, Chat] = {}
        self.people: dict[int, Json] = {}
        self.files = FileStore()
        self.callbacks: dict[str, Callback] = {}
        self.commands: dict[tuple[str, str], list[Json]] = {}
        self.webhook = Webhook()
        self.updates = UpdateStore()
        self.watchers: list[Callable[[Outgoing], None]] = []

    def __repr__(self) -> str:
        return f"Bot(@{self.username})"

    def now(self) -> float:
        """Seconds since the epoch, by the world's clock."""
        return self._clock().timestamp()

    def update(self, body: Json) -> None:
        """Stores an update, unless the bot did not ask for its kind."""
        kind = kind_of(body)
        allowed = kind in self.webhook.allowed if self.webhook.allowed else kind not in NOT_BY_DEFAULT
        if allowed:
            self.updates.put(body, now=self.now())

    def chat_to_write(self, chat_id: int | None) -> Chat:
        """The chat that a method names, if the bot may write there.

        Raises:
            TelegramError: 400 for a chat that the bot does not know, 403 for a user who never started or blocked it.
        """
        chat = self.chat(chat_id)
        if not chat.reachable:
            raise forbidden("bot can't initiate conversation with a user")
        if chat.blocked:
            raise forbidden("bot was blocked by the user")
        return chat

    def chat(self, chat_id: int | None) -> Chat:
        """A known chat."""
        chat = self.chats.get(chat_id) if chat_id is not None else None
        if chat is None:
            raise bad_request("chat not found")
        return chat

    def add_message(self, chat: Chat, sender: Json, content: Json) -> Json:
        """Puts a message into a chat and returns it as the wire has it."""
        message: Json = {
            "message_id": chat.next_message_id,
            "from": sender,
            "chat": chat.wire,
            "date": int(self.now()),
            **content,
        }
        chat.next_message_id += 1
        chat.messages[message["message_id"]] = message
        return message

    def say(self, chat: Chat, content: Json) -> Json:
        """A message of the bot."""
        message = self.add_message(chat, self.user, content)
        self.tell("message", chat.id, message)
        return message

    def tell(self, kind: OutgoingKind, chat_id: int, content: Json) -> None:
        """Tells the watchers what the bot did."""
        outgoing = Outgoing(kind, chat_id, copy.deepcopy(content))
        for watcher in list(self.watchers):
            watcher(outgoing)

    def ask(self, person: Json, message: Json, data: str) -> str:
        """A user taps a button: makes the callback query and its update. Returns the query's id."""
        query_id = str(secrets.randbits(62) | 1 << 61)
        self.callbacks[query_id] = Callback(message["chat"]["id"], self.now())
        query: dict[str, Any] = {
            "id": query_id,
            "from": person,
            "message": message,
            "chat_instance": str(secrets.randbits(62)),
            "data": data,
        }
        self.update({"callback_query": query})
        return query_id


def text_content(text: str, entities: list[Json]) -> Json:
    """The members of a message that hold its text; commands and links are marked as the server does."""
    taken = [(one["offset"], one["offset"] + one["length"]) for one in entities]
    detected = [
        one
        for one in formatting.detect(text)
        if all(one["offset"] >= end or one["offset"] + one["length"] <= start for start, end in taken)
    ]
    marked = sorted(entities + detected, key=lambda one: (one["offset"], -one["length"]))
    return {"text": text, "entities": marked} if marked else {"text": text}
