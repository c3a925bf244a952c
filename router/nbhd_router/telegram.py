"""A small Bot API client for what the router says itself, and the one place that knows the real token.

``egress`` forwards tenants' calls through ``send``. The token is part of each address, so no error or log of this
module carries an address, and ``scrub`` cleans what Telegram answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from nbhd_router.errors import TelegramError

log = logging.getLogger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=5)
_PATIENCE = 60.0  # seconds of Telegram's "retry after" that a call waits in all


class _Parameters(msgspec.Struct):
    retry_after: float = 0


class _Answer(msgspec.Struct):
    ok: bool = False
    result: Any = None
    error_code: int = 0
    description: str = ""
    parameters: _Parameters | None = None


class Telegram:
    """Calls the Bot API as the real bot."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self._session = session
        self._url = url
        self._token = token
        self._secret = token.partition(":")[2]

    def __repr__(self) -> str:
        return f"Telegram({self._url!r})"

    def method_url(self, method: str) -> str:
        """Address of a method, which holds the token: for requests only, never for logs or answers."""
        return f"{self._url}/bot{self._token}/{method}"

    def file_url(self, path: str) -> str:
        """Address of a file, which holds the token: for requests only, never for logs or answers."""
        return f"{self._url}/file/bot{self._token}/{path}"

    def scrub(self, text: str) -> str:
        """Takes the token out of a text, however its colon is written."""
        return text.replace(self._secret, "***")

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """One call as JSON; waits and repeats when told to. Raises ``TelegramError``."""
        waited = 0.0
        while True:
            try:
                return await self._call(method, params or {})
            except TelegramError as error:
                if error.code != 429 or waited + error.retry_after > _PATIENCE:
                    raise
                waited += error.retry_after
                await asyncio.sleep(error.retry_after)

    async def _call(self, method: str, params: Mapping[str, Any]) -> Any:
        try:
            async with self._session.post(
                self.method_url(method), json=params, timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                raw = await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TelegramError(method, 0, type(error).__name__) from None  # the original may quote the address
        try:
            answer = msgspec.json.decode(raw, type=_Answer)
        except msgspec.MsgspecError:
            raise TelegramError(method, status, "not a Bot API answer") from None
        if answer.ok:
            return answer.result
        after = answer.parameters.retry_after if answer.parameters else 0
        raise TelegramError(method, answer.error_code or status, self.scrub(answer.description), max(after, 1.0))


async def announce(telegram: Telegram, webhook: Mapping[str, Any], found: asyncio.Future[dict[str, Any]]) -> None:
    """Learns who the bot is and sets its webhook; repeats with a back-off until both worked.

    Set anew at each start: the secret that Telegram has cannot be read back and compared.
    """
    delay = 0.5
    while True:
        try:
            if not found.done():
                found.set_result(await telegram.call("getMe"))
            await telegram.call("setWebhook", webhook)
        except TelegramError as error:
            log.warning("webhook not set yet", extra={"error": str(error), "next_try_s": delay})
            await asyncio.sleep(delay)
            delay = min(delay * 2, 30.0)
        else:
            log.info("webhook set", extra={"url": webhook["url"], "bot": found.result().get("username", "")})
            return
