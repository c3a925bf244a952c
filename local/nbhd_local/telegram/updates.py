"""Updates waiting for the bot: their queues and lifetimes, and the store that `sender` and getUpdates empty.

The server keeps one queue for each chat, and others for each user; within a queue order is kept, across queues not.
"""

from __future__ import annotations

import asyncio
import copy
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
QueueKey = tuple[str, object]

NOT_BY_DEFAULT = frozenset({"chat_member", "message_reaction", "message_reaction_count"})
"""Sent only when ``allowed_updates`` names them."""

_DAY = 24 * 3600.0
_LIFETIMES = {
    "callback_query": 150.0,
    "shipping_query": 150.0,
    "pre_checkout_query": 150.0,
    "inline_query": 30.0,
    "chosen_inline_result": 600.0,
}
_CHAT = frozenset({"message", "edited_message", "channel_post", "edited_channel_post"})
_OWN_CHAT_QUEUE = {
    "my_chat_member": "membership",
    "message_reaction": "reaction",
    "message_reaction_count": "reaction count",
    "chat_boost": "boost",
    "removed_chat_boost": "boost",
}
_OWN_USER_QUEUE = {
    "callback_query": "callback",
    "inline_query": "inline",
    "chosen_inline_result": "inline result",
    "shipping_query": "payment",
    "pre_checkout_query": "payment",
    "purchased_paid_media": "payment",
    "chat_member": "members",
    "chat_join_request": "members",
    "guest_message": "guest",
}


@dataclass(frozen=True)
class Update:
    """``lifetime`` is in seconds from ``made_at``, by the world's clock; ``kind`` is the member besides the id."""

    id: int
    kind: str
    body: Json = field(repr=False)
    queue: QueueKey
    lifetime: float
    made_at: float


def kind_of(body: Json) -> str:
    """The one member of an update besides its id.

    Raises:
        ValueError: there are more or none.
    """
    kinds = [name for name in body if name != "update_id"]
    if len(kinds) != 1 or not isinstance(body[kinds[0]], dict):
        message = f"an update has one object besides update_id, not {kinds}"
        raise ValueError(message)
    return kinds[0]


def queue_of(body: Json) -> QueueKey:
    """The queue in which the server keeps an update."""
    kind = kind_of(body)
    content: Json = body[kind]
    chat = content.get("chat", {}).get("id")
    user = (content.get("from") or content.get("user") or {}).get("id")
    if kind in _CHAT:
        return "chat", chat
    if kind in _OWN_CHAT_QUEUE:
        return _OWN_CHAT_QUEUE[kind], chat
    if kind in _OWN_USER_QUEUE:
        return _OWN_USER_QUEUE[kind], user
    if kind in {"poll", "poll_answer"}:
        return "poll", content.get("poll_id", content.get("id"))
    return kind, chat if chat is not None else user


def lifetime_of(body: Json, now: float) -> float:
    """Seconds until the server gives an update up; for messages counted from their date."""
    kind = kind_of(body)
    if kind in _LIFETIMES:
        return _LIFETIMES[kind]
    date: float = body[kind].get("date", now)
    return max(0.0, date + _DAY - now)


@dataclass
class UpdateStore:
    """Undelivered updates in the order of their ids, which rise by one and start anywhere."""

    waiting: dict[int, Update] = field(default_factory=dict)
    added: list[Callable[[Update], None]] = field(default_factory=list)
    cleared: list[Callable[[], None]] = field(default_factory=list)
    next_id: int = field(default_factory=lambda: 100_000_000 + secrets.randbelow(800_000_000))
    empty: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.empty.set()

    def put(self, body: Json, *, now: float) -> Update:
        """Gives an update its id, unless it brings one, and stores it."""
        update_id = body.get("update_id", self.next_id)
        if "update_id" not in body:
            self.next_id += 1
        full = {"update_id": update_id} | copy.deepcopy(body)
        update = Update(update_id, kind_of(full), full, queue_of(full), lifetime_of(full, now), now)
        self.waiting[update_id] = update
        self.empty.clear()
        for callback in list(self.added):
            callback(update)
        return update

    def remove(self, update_id: int) -> None:
        """Delivered, or given up."""
        self.waiting.pop(update_id, None)
        if not self.waiting:
            self.empty.set()

    def clear(self) -> None:
        """``drop_pending_updates``."""
        self.waiting.clear()
        self.empty.set()
        for callback in list(self.cleared):
            callback()
