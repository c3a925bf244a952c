"""What can go wrong in the router, as one small tree."""

from __future__ import annotations


class RouterError(Exception):
    """Base of the router's errors. None of them quotes a secret or an address that holds one."""


class DatabaseError(RouterError):
    """What was asked for is not on disk: the disk is full or read-only, or the file is closed."""


class TryLaterError(RouterError):
    """Something that is needed, such as the API server, does not answer at this moment."""


class TelegramError(RouterError):
    """A Bot API call that did not work; ``code`` is Telegram's error code, or 0 when there was no answer."""

    def __init__(self, method: str, code: int, description: str, retry_after: float = 0) -> None:
        super().__init__(f"{method}: {code} {description}")
        self.code = code
        self.retry_after = retry_after
