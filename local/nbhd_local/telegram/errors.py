"""Errors in the Bot API's envelope, raised by the methods and turned into a response by `api`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


class TelegramError(Exception):
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


def bad_request(reason: str) -> TelegramError:
    """400."""
    return TelegramError(HTTPStatus.BAD_REQUEST, f"Bad Request: {reason}")


def forbidden(reason: str) -> TelegramError:
    """403."""
    return TelegramError(HTTPStatus.FORBIDDEN, f"Forbidden: {reason}")
