"""The Bot API as OpenClaw calls it: everything below ``apiRoot``, with the token in the path."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

_ATTEMPTS = 9  # about two minutes
_FIRST_WAIT = 0.5
_SERVER_ERRORS = 500
_TOO_MANY = 429


class BotApiError(Exception):
    """The Bot API refused (``code`` is Telegram's), or could not be reached (``code`` 0). It never shows the URL."""

    def __init__(self, method: str, code: int, description: str) -> None:
        super().__init__(f"{method}: {code} {description}")
        self.code = code
        self.description = description
        self.retry_after = 0.0

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.code in {0, _TOO_MANY} or self.code >= _SERVER_ERRORS


class BotApi:
    """Calls methods; ``session`` is closed by its owner."""

    def __init__(self, session: aiohttp.ClientSession, api_root: str, token: str) -> None:
        self._session = session
        self._base = f"{api_root}/bot{token}"

    async def call(self, method: str, parameters: dict[str, Any] | None = None, *, verb: str = "POST") -> Any:
        """One attempt; returns the result or raises ``BotApiError``."""
        try:
            async with self._session.request(verb, f"{self._base}/{method}", json=parameters) as answer:
                reply = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise BotApiError(method, 0, type(error).__name__) from None
        if isinstance(reply, dict) and reply.get("ok"):
            return reply.get("result")
        reply = reply if isinstance(reply, dict) else {}
        refused = BotApiError(
            method, int(reply.get("error_code") or answer.status), str(reply.get("description") or "")
        )
        refused.retry_after = float((reply.get("parameters") or {}).get("retry_after") or 0)
        raise refused

    async def deliver(self, method: str, parameters: dict[str, Any]) -> Any:
        """Attempts with back-off for minutes, as for a reply; raises the last ``BotApiError``.

        OpenClaw 2026.9 tries three times within two seconds; then its delivery queue does, after 5 s, 25 s and 2 min.
        """
        for attempt in range(_ATTEMPTS - 1):
            try:
                return await self.call(method, parameters)
            except BotApiError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(error.retry_after or _FIRST_WAIT * 2**attempt)
        return await self.call(method, parameters)
