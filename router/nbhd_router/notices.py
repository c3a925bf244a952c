"""What the router says in a chat itself; of its own accord at most once in ten minutes per chat and sentence.

``dispatch``, ``commands`` and ``announcements`` call it; it goes to Telegram through ``telegram``. A notice of its own
accord is a courtesy: one that cannot be sent is logged and never holds up a message.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Sequence
from typing import Any

from nbhd_router.errors import TelegramError
from nbhd_router.telegram import Telegram
from nbhd_router.texts import Text, Texts

log = logging.getLogger(__name__)

QUIET = datetime.timedelta(minutes=10)
_REMEMBERED = 100_000


class Notices:
    """Sends sentences of the catalogue."""

    def __init__(self, telegram: Telegram, texts: Texts, *, clock: Callable[[], datetime.datetime]) -> None:
        self._telegram = telegram
        self._texts = texts
        self._clock = clock
        self._told: dict[int, dict[Text, datetime.datetime]] = {}

    async def tell(self, chat: int, text: Text, *, account: str = "") -> None:
        """Says it, unless it was said to this chat within the last ten minutes."""
        now = self._clock()
        told = self._told.pop(chat, {})
        self._told[chat] = told  # at the end: the dict stays ordered by time
        if text in told and abs(now - told[text]) < QUIET:  # a clock that was set back must not silence us
            return
        told[text] = now
        while len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]
        try:
            await self._telegram.call("sendMessage", {"chat_id": chat, "text": self._texts.say(text, account)})
        except TelegramError as error:
            told.pop(text, None)
            log.warning("notice not sent", extra={"text": text.name, "error": str(error)})

    def forget(self, chat: int) -> None:
        """Things go well again for the chat: the next trouble is news."""
        self._told.pop(chat, None)

    async def answer(
        self,
        chat: int,
        text: Text,
        *,
        account: str = "",
        until: datetime.datetime | None = None,
        buttons: Sequence[tuple[Text, str]] = (),
    ) -> None:
        """Says it every time, as to somebody who asked. Raises ``TelegramError``.

        ``buttons``: what stands on each, and its callback data.
        """
        message: dict[str, Any] = {"chat_id": chat, "text": self._texts.say(text, account, until)}
        if buttons:
            row = [{"text": self._texts.say(label), "callback_data": data} for label, data in buttons]
            message["reply_markup"] = {"inline_keyboard": [row]}
        await self._telegram.call("sendMessage", message)

    async def remove_buttons(self, chat: int, message_id: int) -> None:
        """Takes the keyboard away from one of our messages."""
        try:
            await self._telegram.call("editMessageReplyMarkup", {"chat_id": chat, "message_id": message_id})
        except TelegramError as error:
            log.debug("keyboard not removed", extra={"error": str(error)})

    async def typing(self, chat: int) -> None:
        """Shows that somebody is at work, for five seconds."""
        try:
            await self._telegram.call("sendChatAction", {"chat_id": chat, "action": "typing"})
        except TelegramError as error:
            log.debug("typing not shown", extra={"error": str(error)})

    async def answer_query(self, query_id: str, text: str = "") -> None:
        """Ends the spinner on a pressed button, with a short text if there is one."""
        try:
            await self._telegram.call(
                "answerCallbackQuery", {"callback_query_id": query_id} | ({"text": text[:200]} if text else {})
            )
        except TelegramError as error:
            log.debug("callback query not answered", extra={"error": str(error)})
