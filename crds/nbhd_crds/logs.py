"""Logs of all services: a constant message and key-value pairs, one line each, on stderr.

``log.info("tenant linked", extra={"tenant": name})`` prints ``… INFO nbhd_router.linking tenant linked tenant=…``.
"""

from __future__ import annotations

import datetime
import logging
import sys
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        pairs = "".join(f" {k}={_plain(v)}" for k, v in vars(record).items() if k not in _STANDARD and k[:1] != "_")
        line = f"{at} {record.levelname} {record.name} {record.getMessage()}{pairs}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line


def _plain(value: Any) -> str:
    text = str(value)
    return repr(text) if not text or any(c in text for c in ' "=\n') else text


def configure(level: str) -> None:
    """Sends all logs to stderr at ``level``; libraries that talk about every request are held to warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("azure", "msal", "aiohttp.access", "stripe", "kubernetes", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
