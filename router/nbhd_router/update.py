"""Reading an update: which chat it belongs to, and which bot-wide ids it brings along.

``intake`` needs the first few fields of each update only; the body goes on unread, as the bytes that Telegram sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from nbhd_router.grants import Kind

ALLOWED_UPDATES = ("message", "edited_message", "callback_query", "my_chat_member", "stopped_message_generation")
# Seconds after which an update of this kind is of no use; Telegram itself forgets a callback query after 150 s.
LIFETIME = {"callback_query": 150.0, "stopped_message_generation": 150.0}
DEFAULT_LIFETIME = 600.0
OWN_COMMANDS = ("/start", "/help", "/paysupport", "/terms", "/privacy")
CALLBACK_PREFIX = "nbhd"  # of the buttons that the router itself sends

_Id = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]


class Chat(msgspec.Struct, frozen=True, gc=False):
    """A chat; a private one has its user's id."""

    id: _Id
    type: str = ""


class User(msgspec.Struct, frozen=True, gc=False):
    """A Telegram user."""

    id: _Id


class Message(msgspec.Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """A message, or what stands for one that is no longer accessible."""

    chat: Chat
    message_id: int = 0
    from_: User | None = None
    text: str | None = None


class CallbackQuery(msgspec.Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """A pressed button; without a message if it came from inline mode."""

    id: str
    from_: User
    message: Message | None = None
    data: str | None = None


class InChat(msgspec.Struct, frozen=True, gc=False):
    """Any other update that names its chat."""

    chat: Chat


class Update(msgspec.Struct, frozen=True, gc=False):
    """An update of one of the kinds that the webhook asks for, or of none of them."""

    update_id: _Id
    message: Message | None = None
    edited_message: Message | None = None
    callback_query: CallbackQuery | None = None
    my_chat_member: InChat | None = None
    stopped_message_generation: InChat | None = None


decode = msgspec.json.Decoder(Update).decode
"""Reads an update; raises ``msgspec.MsgspecError`` for what is not one."""


@dataclass(frozen=True)
class Key:
    """What an update is and where it belongs."""

    kind: str
    chat: Chat
    own: bool  # the router answers it itself


def key(update: Update) -> Key | None:
    """None for what is not routed: other kinds, changes of membership, callback queries from inline mode."""
    message = update.message
    if message is not None:
        return Key("message", message.chat, _is_command(message.text, message.chat))
    if update.edited_message is not None:
        return Key("edited_message", update.edited_message.chat, own=False)
    if update.callback_query is not None and update.callback_query.message is not None:
        own = (update.callback_query.data or "").startswith(CALLBACK_PREFIX)
        return Key("callback_query", update.callback_query.message.chat, own)
    if update.stopped_message_generation is not None:
        return Key("stopped_message_generation", update.stopped_message_generation.chat, own=False)
    return None


def command(text: str | None) -> tuple[str, str]:
    """A message's command without the bot's name, and what follows it; two empty strings if it is none."""
    if not text or not text.startswith("/"):
        return "", ""
    word, *rest = text.split(None, 1)
    return word.partition("@")[0].lower(), rest[0].strip() if rest else ""


def _is_command(text: str | None, chat: Chat) -> bool:
    word, payload = command(text)
    if chat.type != "private":
        return word == "/start" and payload != ""  # a link opened in a group: everything else there is not for us
    return word in OWN_COMMANDS


def ids(body: bytes) -> Iterator[tuple[Kind, str]]:
    """Every file id in an update, wherever it is, and its callback query's id."""
    update: dict[str, Any] = msgspec.json.decode(body)
    query = update.get("callback_query")
    if isinstance(query, dict) and isinstance(query.get("id"), str):
        yield "callback", query["id"]
    if b'file_id"' in body:
        yield from (("file", file_id) for file_id in _file_ids(update))


def _file_ids(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, str):
                if name.endswith("file_id"):
                    yield inner
            else:
                yield from _file_ids(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _file_ids(inner)
