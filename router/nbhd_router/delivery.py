"""One attempt to hand an update to a tenant's container. ``dispatch`` decides when and how often.

The container took an update when it answered 200 *and* said that it is durable: an ingress, a proxy or a starting
container may answer 200 as well. Its body is never passed on: Telegram would execute it as the real bot.
"""

from __future__ import annotations

import io
import ssl
from dataclasses import dataclass
from enum import Enum

import aiohttp

from nbhd_crds.identity import Keyring
from nbhd_router.directory import Route

WEBHOOK_PATH = "/telegram-webhook"
_RECEIPT = "x-openclaw-delivery-accepted"
_LARGE = 1 << 20  # bytes; aiohttp asks for a stream beyond that
_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
# Answers that blame the update itself. All others may change: 401 while credentials rotate, 404 while there is no app.
_REFUSALS = frozenset({400, 405, 406, 410, 411, 413, 414, 415, 422, 431})


class Outcome(Enum):
    """What an attempt came to."""

    DELIVERED = "delivered"
    RETRY = "retry"
    REFUSED = "refused"


@dataclass(frozen=True)
class Result:
    """The outcome, and a CamelCase or numeric word for why."""

    outcome: Outcome
    reason: str


class Delivery:
    """Posts updates to containers."""

    def __init__(self, session: aiohttp.ClientSession, ring: Keyring, platform: str) -> None:
        self._session = session
        self._ring = ring
        self._platform = platform

    async def attempt(self, route: Route, update_id: int, body: bytes) -> Result:
        """Tries the credentials in force, and on 401 those from before."""
        result = Result(Outcome.RETRY, "NoCredentials")
        for credentials in route.credentials:
            try:
                secret = self._ring.derive(self._platform, route.spec_id, credentials.version, credentials.webhook_key)
            except KeyError:
                result = Result(Outcome.RETRY, "UnknownKey")
                continue
            result = await self._post(route.endpoint, update_id, body, secret)
            if result.reason != "401":
                break
        return result

    async def _post(self, endpoint: str, update_id: int, body: bytes, secret: str) -> Result:
        headers = {
            "Content-Type": "application/json",
            "X-Telegram-Bot-Api-Secret-Token": secret,
            "X-Update-Id": str(update_id),
        }
        data = io.BytesIO(body) if len(body) > _LARGE else body
        try:
            async with self._session.post(
                f"{endpoint}{WEBHOOK_PATH}", data=data, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                return judge(response.status, response.headers.get(_RECEIPT))
        except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError) as error:
            return Result(Outcome.RETRY, type(error).__name__)


def judge(status: int, receipt: str | None) -> Result:
    """What the container's answer means."""
    if status == 200:
        return Result(Outcome.DELIVERED, "200") if receipt == "durable" else Result(Outcome.RETRY, "NoReceipt")
    return Result(Outcome.REFUSED if status in _REFUSALS else Outcome.RETRY, str(status))
