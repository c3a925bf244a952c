"""What a tenant may ask of the shared bot: the methods, and the ids that its calls may name.

Pure: ``egress`` reads a call into a ``Call``, asks ``check`` here, and sends on what was checked, built anew, never the
bytes that came in. So there is no second way to read a call, and nothing that this module did not see reaches Telegram.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from nbhd_router.grants import Kind

Encoding = Literal["json", "form"]


@dataclass(frozen=True)
class Method:
    """A method that is forwarded; ``media`` names the parameters that may be a file."""

    name: str
    target: Literal["chat", "callback", "file"] = "chat"
    media: tuple[str, ...] = ()


_METHODS = (
    Method("sendMessage"),
    Method("sendChatAction"),
    Method("editMessageText"),
    Method("editMessageReplyMarkup"),
    Method("deleteMessage"),
    Method("sendPhoto", media=("photo",)),
    Method("sendDocument", media=("document", "thumbnail", "thumb")),
    Method("sendVoice", media=("voice",)),
    Method("sendAudio", media=("audio", "thumbnail", "thumb")),
    Method("setMessageReaction"),
    Method("getChat"),
    Method("answerCallbackQuery", target="callback"),
    Method("getFile", target="file"),
)
# Telegram ignores the case of a method's name.
FORWARDED = {method.name.lower(): method for method in _METHODS}

LOCAL: dict[str, Any] = {
    "setwebhook": True,
    "deletewebhook": True,
    "getwebhookinfo": {"url": "", "has_custom_certificate": False, "pending_update_count": 0},
    "getupdates": [],
    "setmycommands": True,
    "deletemycommands": True,
    "getmycommands": [],
    "logout": True,
    "close": True,
}
"""Methods that must not reach Telegram, and what a tenant is told; ``getMe`` is answered with the real bot's user."""

# At any depth: parameters that name another chat, message or person than the tenant's own.
_FORBIDDEN = frozenset(
    {
        "from_chat_id",
        "inline_message_id",
        "business_connection_id",
        "sender_chat_id",
        "user_id",
        "receiver_user_id",
        "direct_messages_topic_id",
    }
)
_TARGETS = frozenset({"chat_id", "callback_query_id", "file_id"})
_SCOPED = _FORBIDDEN | _TARGETS
# Parameters that hold a person's own words: JSON inside them is just text.
_WORDS = frozenset({"text", "caption", "title", "performer", "callback_query_id", "file_id", "url", "emoji"})


class RefusedError(Exception):
    """The call is not sent; ``code`` and the message become the Bot API's answer."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(description)
        self.code = code


@dataclass(frozen=True)
class Upload:
    """A file in a multipart call."""

    name: str
    filename: str
    content_type: str
    data: bytes


@dataclass(frozen=True)
class Call:
    """A call as read: each parameter once, JSON text in parameters parsed."""

    method: Method
    encoding: Encoding
    params: dict[str, Any]
    uploads: tuple[Upload, ...] = ()


def read_json(text: str | bytes) -> Any:
    """JSON in which no object has a key twice. Raises ``RefusedError``."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise RefusedError(400, "Bad Request: can't parse the JSON") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RefusedError(400, "Bad Request: a JSON object has a key twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(name)


def call(method: Method, encoding: Encoding, pairs: list[tuple[str, Any]], uploads: tuple[Upload, ...] = ()) -> Call:
    """Puts a call together from all its parameters, wherever they stood. Raises ``RefusedError``."""
    params: dict[str, Any] = {}
    for name, value in pairs:
        if name in params:
            raise RefusedError(400, f"Bad Request: parameter {name[:64]!r} is given twice")
        nested = isinstance(value, str) and name not in _WORDS and value.strip()[:1] in ("{", "[")
        params[name] = read_json(value) if nested else value
    names = [upload.name for upload in uploads]
    if len(set(names)) != len(names) or not params.keys().isdisjoint(names):
        raise RefusedError(400, "Bad Request: a parameter is given twice")
    if any(name.lower() in _SCOPED for name in names):
        raise RefusedError(400, "Bad Request: this parameter cannot be a file")
    return Call(method, encoding, params, uploads)


def check(asked: Call, chat: int) -> list[tuple[Kind, str]]:
    """Ids that the tenant must have been given before this call is sent. Raises ``RefusedError``."""
    for name, value in _walk(asked.params):
        plain = name.lower()
        if plain in _SCOPED and plain != name:
            raise RefusedError(400, f"Bad Request: write {plain}")
        if plain in _FORBIDDEN:
            raise RefusedError(403, f"Forbidden: {plain} is not available to this bot")
        if plain == "chat_id" and not _is_chat(value, chat):
            raise RefusedError(403, "Forbidden: bot can't reach this chat")
    target = asked.method.target
    if target == "chat":
        if "chat_id" not in asked.params:
            raise RefusedError(400, "Bad Request: chat_id is empty")
        return list(_media(asked))
    name = "callback_query_id" if target == "callback" else "file_id"
    value = asked.params.get(name)
    if not isinstance(value, str) or not value:
        raise RefusedError(400, f"Bad Request: {name} is empty")
    return [(target, value)]


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name, inner
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


def _is_chat(value: Any, chat: int) -> bool:
    if isinstance(value, str):
        return value == str(chat)
    return isinstance(value, int) and not isinstance(value, bool) and value == chat


def _media(asked: Call) -> Iterator[tuple[Kind, str]]:
    uploaded = {f"attach://{upload.name}" for upload in asked.uploads}
    for name in asked.method.media:
        value = asked.params.get(name)
        if value is None or value in uploaded:
            continue
        if not isinstance(value, str) or not value:
            raise RefusedError(400, f"Bad Request: wrong {name}")
        if not value.startswith(("http://", "https://")):  # Telegram fetches those itself
            yield "file", value


def form(params: dict[str, Any]) -> dict[str, str]:
    """The parameters as form fields: text as it is, everything else as JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in params.items()}
