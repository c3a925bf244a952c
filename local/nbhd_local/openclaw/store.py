"""The durable inbox: an update that is acknowledged is on disk, once, however often it arrives.

``channel.py`` writes here before it answers and takes turns from here afterwards; the file outlives the process.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS inbox (
  update_id INTEGER PRIMARY KEY, message TEXT UNIQUE, body TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


class Inbox:
    """Updates in the order of their arrival."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._database = sqlite3.connect(folder / "openclaw.sqlite", isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def accept(self, update: dict[str, Any]) -> bool:
        """Stores an update; False if this one, or its message under another number, is there already."""
        message = update.get("message")
        key = None
        if isinstance(message, dict):
            key = f"{(message.get('chat') or {}).get('id')}:{message.get('message_id')}"
        added = self._database.execute(
            "INSERT OR IGNORE INTO inbox (update_id, message, body) VALUES (?, ?, ?)",
            (update["update_id"], key, json.dumps(update)),
        )
        return added.rowcount > 0

    def waiting(self) -> list[dict[str, Any]]:
        """Accepted updates without a finished turn, in order of arrival."""
        rows = self._database.execute("SELECT body FROM inbox WHERE done = 0 ORDER BY rowid").fetchall()
        return [json.loads(body) for (body,) in rows]

    def finish(self, update: dict[str, Any]) -> None:
        """Marks an update as answered; it stays known as a duplicate."""
        self._database.execute("UPDATE inbox SET done = 1, body = '' WHERE update_id = ?", (update["update_id"],))

    def next_turn(self) -> int:
        """Counts a turn of the conversation: 1 for the first after state was lost."""
        row = self._database.execute(
            "INSERT INTO counters VALUES ('turn', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
        ).fetchone()
        return int(row[0])

    def forget_conversation(self) -> None:
        """Starts counting turns anew."""
        self._database.execute("DELETE FROM counters")
