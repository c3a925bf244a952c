"""People who use the bot: what they do becomes updates, what the bot does becomes a line of their transcript.

For tests and demos; the page in `chat_page` puts a real person's browser in the same place.
"""

from __future__ import annotations

import asyncio
import datetime
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nbhd_local.web import is_private

from . import formatting
from .bot import Bot, Chat, Outgoing, text_content
from .methods_media import document
from .updates import Json

LineKind = Literal["message", "edit", "delete", "answer"]
_PAYLOAD = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Line:
    """One line of a transcript. An edit is a line of its own; ``answer`` is what a tapped button showed."""

    direction: Literal["user", "bot"]
    kind: LineKind
    at: datetime.datetime
    text: str
    buttons: tuple[str, ...] = ()
    message_id: int | None = None

    def __str__(self) -> str:
        mark = "" if self.kind == "message" else f" ({self.kind})"
        buttons = "".join(f" [{text}]" for text in self.buttons)
        return f"{self.at:%H:%M:%S}.{self.at.microsecond // 1000:03} {self.direction:>4}{mark}: {self.text}{buttons}"


class NotSaidError(AssertionError):
    """The bot did not say in time what was expected; the message holds the whole transcript."""


class User:
    """A person with a private chat with the bot.

    ``transcript`` is all that both said, ``actions`` the chat actions (``typing``, ...) that the bot showed.
    """

    def __init__(self, bot: Bot, user_id: int, *, first_name: str, username: str | None) -> None:
        self._bot = bot
        self._news = asyncio.Event()
        self._unread: list[Line] = []
        self.id = user_id
        self.wire: Json = {"id": user_id, "is_bot": False, "first_name": first_name, "language_code": "en"}
        name = {"first_name": first_name}
        if username is not None:
            self.wire["username"] = name["username"] = username
        self._chat = Chat(user_id, {"id": user_id, "type": "private", **name})
        self.transcript: list[Line] = []
        self.actions: list[str] = []
        bot.people[user_id] = self.wire
        bot.chats[user_id] = self._chat

    def __repr__(self) -> str:
        return f"User({self.id}, {self.wire['first_name']!r})"

    async def start(self, payload: str = "") -> int:
        """Presses Start, with a deep link's payload if there is one. The person sees ``/start`` only.

        Returns the message's id, as all that send do.

        Raises:
            ValueError: the payload is not 1 to 64 of ``A-Za-z0-9_-``.
        """
        if payload and not _PAYLOAD.fullmatch(payload):
            message = "a start payload is 1 to 64 characters of A-Z, a-z, 0-9, _ and -"
            raise ValueError(message)
        text = f"/start {payload}" if payload else "/start"
        entity = {"type": "bot_command", "offset": 0, "length": 6}
        return self._say({"text": text, "entities": [entity]}, shown="/start")

    async def open(self, link: str) -> int:
        """Follows ``https://t.me/<bot>?start=<payload>``, or the local page's form of it, and presses Start.

        Raises:
            ValueError: the link is not one to this bot.
        """
        parsed = urllib.parse.urlsplit(link)
        known = (parsed.scheme, parsed.netloc) == ("https", "t.me") or is_private(link)
        if not known or parsed.path.strip("/") != self._bot.username:
            message = f"not a link to @{self._bot.username}"
            raise ValueError(message)
        return await self.start(urllib.parse.parse_qs(parsed.query).get("start", [""])[0])

    async def send(self, text: str) -> int:
        """Types a text."""
        return self._say(text_content(text, []), shown=text)

    async def send_document(
        self, name: str, data: bytes, *, caption: str = "", content_type: str = "application/octet-stream"
    ) -> int:
        """Sends a file, which the bot can then fetch by getFile."""
        stored = self._bot.files.add("documents", name, content_type, data)
        content: Json = {"document": document(stored)}
        if caption:
            content |= {"caption": caption} | {"caption_entities": formatting.detect(caption)}
        return self._say(content, shown=caption or f"[{name}]")

    async def send_in_group(self, chat_id: int, text: str, *, title: str = "Group") -> int:
        """Types a text in a group (a negative id) that the bot is a member of from then on."""
        wire = {"id": chat_id, "type": "supergroup", "title": title}
        group = self._bot.chats.setdefault(chat_id, Chat(chat_id, wire, reachable=True))
        message = self._bot.add_message(group, self.wire, text_content(text, []))
        self._bot.update({"message": message})
        return int(message["message_id"])

    async def tap(self, button: str) -> str | None:
        """Presses a button of the latest message that has it. Returns the URL of a button that opens one.

        Raises:
            LookupError: no message shows such a button.
        """
        for message in reversed(self._chat.messages.values()):
            for row in message.get("reply_markup", {}).get("inline_keyboard", []):
                for found in row:
                    if found["text"] == button:
                        if "url" in found:
                            return str(found["url"])
                        self._bot.ask(self.wire, message, found.get("callback_data", ""))
                        return None
        reason = f"no button {button!r} in:\n{self.transcript_text()}"
        raise LookupError(reason)

    async def block(self) -> None:
        """Stops the bot, which then cannot write."""
        self._membership("member", "kicked", blocked=True)

    async def expect(self, wanted: str | Callable[[Line], bool], timeout: float = 10.0) -> Line:
        """Waits for the first line of the bot, not yet returned by an earlier call, that contains or satisfies this.

        Raises:
            NotSaidError: none came in time.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for line in self._unread:
                        if wanted in line.text if isinstance(wanted, str) else wanted(line):
                            self._unread.remove(line)
                            return line
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            what = repr(wanted) if isinstance(wanted, str) else getattr(wanted, "__name__", "the predicate")
            message = f"{self!r} did not get {what} within {timeout} s:\n{self.transcript_text()}"
            raise NotSaidError(message) from None

    def transcript_text(self) -> str:
        """The transcript, a line each."""
        return "\n".join(str(line) for line in self.transcript) or "(nothing was said)"

    async def changed(self, seen: int, timeout: float) -> None:
        """Returns when the transcript is longer than ``seen`` lines, or after the timeout."""
        try:
            async with asyncio.timeout(timeout):
                while len(self.transcript) <= seen:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass

    def notice(self, outgoing: Outgoing) -> None:
        """Takes note of what the bot did in this person's chat."""
        content = outgoing.content
        if outgoing.kind == "action":
            self.actions.append(content["action"])
            return
        if outgoing.kind == "answer" and not content["text"]:
            return
        line = Line("bot", outgoing.kind, self._now(), _shown(content), _buttons(content), content.get("message_id"))
        self.transcript.append(line)
        if outgoing.kind != "delete":
            self._unread.append(line)
        self._news.set()

    def _say(self, content: Json, *, shown: str) -> int:
        if self._chat.blocked:
            self._membership("kicked", "member", blocked=False)
        self._chat.reachable = True
        message = self._bot.add_message(self._chat, self.wire, content)
        self.transcript.append(Line("user", "message", self._now(), shown, (), message["message_id"]))
        self._news.set()
        self._bot.update({"message": message})
        return int(message["message_id"])

    def _membership(self, old: str, new: str, *, blocked: bool) -> None:
        self._chat.blocked = blocked
        kicked = {"until_date": 0}
        change: Json = {
            "chat": self._chat.wire,
            "from": self.wire,
            "date": int(self._bot.now()),
            "old_chat_member": {"user": self._bot.user, "status": old} | (kicked if old == "kicked" else {}),
            "new_chat_member": {"user": self._bot.user, "status": new} | (kicked if new == "kicked" else {}),
        }
        self._bot.update({"my_chat_member": change})

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._bot.now(), datetime.UTC)


def _shown(content: Json) -> str:
    if "text" in content:
        return str(content["text"])
    name = content["document"]["file_name"] if "document" in content else "photo"
    return str(content.get("caption", f"[{name}]"))


def _buttons(content: Json) -> tuple[str, ...]:
    rows = content.get("reply_markup", {}).get("inline_keyboard", [])
    return tuple(button["text"] for row in rows for button in row)
