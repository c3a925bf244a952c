"""What the "agent" answers. It may do what a real one can: print its environment, or try to write to someone else.

Pure but for the turn's number; ``channel.py`` sends what comes out.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from nbhd_local.openclaw.settings import Settings
from nbhd_local.openclaw.store import Inbox

_SEND = re.compile(r"^send (\S+) (.+)$", re.DOTALL)


@dataclass(frozen=True)
class Attempt:
    """The agent's own wish to write into a chat, outside of its reply."""

    chat_id: str
    text: str


@dataclass(frozen=True)
class Answer:
    """A turn's outcome."""

    text: str
    attempt: Attempt | None = None


def answer(settings: Settings, inbox: Inbox, messages: list[dict[str, Any]]) -> Answer:
    """The reply to one turn, which may merge several messages."""
    text = "\n".join(_text_of(message) for message in messages)
    match text:
        case "/status":
            return Answer(f"{settings.persona} is up, model {settings.model}. {_marker()}")
        case "/whoami":
            sender = messages[-1].get("from") or {}
            return Answer(f"You are {sender.get('id')} in chat {messages[-1]['chat']['id']}. {_marker()}")
        case "/new":
            inbox.forget_conversation()
            return Answer(f"New conversation. {_marker()}")
        case "env":
            return Answer(_masked("\n".join(f"{name}={value}" for name, value in sorted(os.environ.items())), settings))
    turn = inbox.next_turn()
    wish = _SEND.match(text)
    if wish:
        return Answer(f"I tried to write to {wish[1]} (turn {turn}).", Attempt(wish[1], wish[2]))
    return Answer(f"{settings.persona}: You said: {text}\n(turn {turn}, {_marker()})")


def _marker() -> str:
    """Tells tenants apart: a container knows the name of its app."""
    return f"[{os.environ.get('CONTAINER_APP_NAME', 'local')}]"


def _text_of(message: dict[str, Any]) -> str:
    text = message.get("text") or message.get("caption")
    if text:
        return str(text)
    kinds = ("photo", "voice", "audio", "video", "document", "sticker", "location", "contact", "poll")
    return f"<{next((kind for kind in kinds if kind in message), 'something')}>"


def _masked(text: str, settings: Settings) -> str:
    for secret in settings.masked:
        text = text.replace(secret, "***")
    return text
