"""Errors in the Bot API's envelope, raised by the methods and turned into a response by `api`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from nbhd_local.traffic import AnsweredError


class TelegramError(AnsweredError):
    """A refused call: ``error_code`` (also the HTTP status), a description, and sometimes when to come back."""

    def __init__(self, code: int, description: str, *, retry_after: int | None = None) -> None:
        super().__init__(description)
        self.code = int(code)
        self.description = description
        self.retry_after = retry_after

    def envelope(self) -> dict[str, Any]:
        """The response body."""
        body: dict[str, Any] = {"ok": False, "error_code": self.code, "description": self.description}
        if self.retry_after is not None:
            body["parameters"] = {"retry_after": self.retry_after}
        return body

    def response(self) -> web.Response:
        """The HTTP answer."""
        return web.json_response(self.envelope(), status=self.code)


def injected(status: int, code: str, headers: Mapping[str, str]) -> TelegramError:
    """The error of a fault that a test asked for; ``Retry-After`` becomes Telegram's ``retry_after``."""
    after = headers.get("Retry-After")
    return TelegramError(status, code, retry_after=int(after) if after else None)


def bad_request(reason: str) -> TelegramError:
    """400."""
    return TelegramError(HTTPStatus.BAD_REQUEST, f"Bad Request: {reason}")


def forbidden(reason: str) -> TelegramError:
    """403."""
    return TelegramError(HTTPStatus.FORBIDDEN, f"Forbidden: {reason}")
