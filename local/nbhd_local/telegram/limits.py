"""Telegram's send limits: so many messages a second for the bot and for a chat, so many a minute for a group.

Off unless a world is given some. The real figures are about ``Limits(30, 1, 20)``.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus

from .errors import TelegramError


@dataclass(frozen=True)
class Limits:
    """None means no limit."""

    bot_per_second: int | None = None
    chat_per_second: int | None = None
    group_per_minute: int | None = None


@dataclass
class Limiter:
    """Counts sends in sliding windows; times are in seconds of any clock that only goes forward."""

    limits: Limits
    _sent: dict[tuple[str, int], deque[float]] = field(default_factory=dict)

    def check(self, chat_id: int, now: float) -> None:
        """Counts one send.

        Raises:
            TelegramError: 429 with ``retry_after``; the send is not counted then.
        """
        rules: list[tuple[tuple[str, int], int | None, float]] = [
            (("bot", 0), self.limits.bot_per_second, 1.0),
            (("chat", chat_id), self.limits.chat_per_second, 1.0),
        ]
        if chat_id < 0:
            rules.append((("group", chat_id), self.limits.group_per_minute, 60.0))
        windows = [(self._window(key, now - width), most, width) for key, most, width in rules if most is not None]
        for window, most, width in windows:
            if len(window) >= most:
                wait = max(1, math.ceil(window[0] + width - now))
                raise TelegramError(
                    HTTPStatus.TOO_MANY_REQUESTS, f"Too Many Requests: retry after {wait}", retry_after=wait
                )
        for window, _most, _width in windows:
            window.append(now)

    def _window(self, key: tuple[str, int], since: float) -> deque[float]:
        window = self._sent.setdefault(key, deque())
        while window and window[0] <= since:
            window.popleft()
        return window
