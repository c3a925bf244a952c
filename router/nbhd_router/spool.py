"""The durable spool between ``intake`` and ``dispatch``: an update that Telegram was told 200 for is on disk.

A lane is what stays in order: a chat's messages to its container, or its commands to the router. The interface is
small, so that another store can follow when there is more than one active router.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nbhd_router.database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS updates (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of arrival
    bot INTEGER NOT NULL,
    update_id INTEGER NOT NULL,
    chat INTEGER NOT NULL,
    own INTEGER NOT NULL,
    kind TEXT NOT NULL,
    received REAL NOT NULL,
    spec_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    body BLOB,
    outcome TEXT,     -- absent while the update waits
    finished REAL,
    UNIQUE (bot, update_id)
);
CREATE INDEX IF NOT EXISTS waiting ON updates (bot, chat, own, seq) WHERE outcome IS NULL;
CREATE INDEX IF NOT EXISTS finished ON updates (finished) WHERE outcome IS NOT NULL;
CREATE TABLE IF NOT EXISTS unreadable (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, bot INTEGER NOT NULL, received REAL NOT NULL, body BLOB NOT NULL
);
"""

KEEP = 48 * 3600.0  # seconds; Telegram repeats an update for at most 24 hours
_UNREADABLE_BYTES = 64 << 10


@dataclass(frozen=True)
class Lane:
    """What stays in order, one at a time; ``own`` is the lane of what the router answers itself."""

    bot: int
    chat: int
    own: bool = False


@dataclass(frozen=True)
class Incoming:
    """An update as received. ``spec_id`` and ``generation`` say who the chat belonged to then, if that was known."""

    lane: Lane
    update_id: int
    kind: str
    body: bytes
    spec_id: str = ""
    generation: int = 0


@dataclass(frozen=True)
class Row:
    """A waiting update; ``received`` in seconds since 1970."""

    seq: int
    update: Incoming
    received: float


@dataclass(frozen=True)
class Waiting:
    """How many updates wait; ``since`` is when the oldest came, in seconds since 1970, 0 if none waits."""

    updates: int
    since: float


Put = Literal["stored", "duplicate", "overflow"]


class Spool:
    """Waiting updates, and the ids of finished ones for 48 hours."""

    def __init__(self, database: Database, *, clock: Callable[[], float], cap: int = 200) -> None:
        """``cap``: how many updates of one lane may wait; more are acknowledged and dropped."""
        self._database = database
        self._cap = cap
        self._clock = clock

    async def put(self, update: Incoming) -> Put:
        """Stores an update once, durably. Raises ``DatabaseError`` if it is not on disk."""
        received = self._clock()

        def work(sql: sqlite3.Connection) -> Put:
            lane = update.lane
            (waiting,) = sql.execute(
                "SELECT count(*) FROM updates WHERE bot = ? AND chat = ? AND own = ? AND outcome IS NULL",
                (lane.bot, lane.chat, lane.own),
            ).fetchone()
            over = waiting >= self._cap
            inserted = sql.execute(
                "INSERT OR IGNORE INTO updates (bot, update_id, chat, own, kind, received, spec_id, generation, body,"
                " outcome, finished) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    lane.bot,
                    update.update_id,
                    lane.chat,
                    lane.own,
                    update.kind,
                    received,
                    update.spec_id,
                    update.generation,
                    None if over else update.body,
                    "Overflow" if over else None,
                    received if over else None,
                ),
            ).rowcount
            if not inserted:
                return "duplicate"
            return "overflow" if over else "stored"

        return await self._database.run(work)

    async def put_unreadable(self, bot: int, body: bytes) -> None:
        """Keeps an authentic update that cannot be read, for a person to look at."""
        values = (bot, self._clock(), body[:_UNREADABLE_BYTES])
        await self._database.run(
            lambda sql: sql.execute("INSERT INTO unreadable (bot, received, body) VALUES (?, ?, ?)", values).rowcount
        )

    async def next(self, lane: Lane) -> Row | None:
        """The oldest waiting update of the lane."""

        def work(sql: sqlite3.Connection) -> Row | None:
            found = sql.execute(
                "SELECT seq, update_id, kind, body, spec_id, generation, received FROM updates"
                " WHERE bot = ? AND chat = ? AND own = ? AND outcome IS NULL ORDER BY seq LIMIT 1",
                (lane.bot, lane.chat, lane.own),
            ).fetchone()
            if found is None:
                return None
            seq, update_id, kind, body, spec_id, generation, received = found
            return Row(seq, Incoming(lane, update_id, kind, body, spec_id, generation), received)

        return await self._database.run(work)

    async def done(self, row: Row) -> None:
        """Delivered or answered: the body goes, the id stays so that a repetition is known."""
        await self._finish(row, "Done", "body = NULL,")

    async def fail(self, row: Row, reason: str) -> None:
        """Dead letter: given up, with a CamelCase reason; the body stays for 48 hours."""
        await self._finish(row, reason, "")

    async def _finish(self, row: Row, outcome: str, also: str) -> None:
        values = (outcome, self._clock(), row.seq)
        await self._database.run(
            lambda sql: (
                sql.execute(
                    f"UPDATE updates SET {also} outcome = ?, finished = ? WHERE seq = ?",  # noqa: S608 - two constants
                    values,
                ).rowcount
            )
        )

    async def recover(self) -> list[Lane]:
        """Every lane with something waiting, those that wait longest first."""
        rows = await self._database.run(
            lambda sql: sql.execute(
                "SELECT bot, chat, own FROM updates WHERE outcome IS NULL GROUP BY bot, chat, own ORDER BY min(seq)"
            ).fetchall()
        )
        return [Lane(bot, chat, bool(own)) for bot, chat, own in rows]

    async def waiting(self) -> Waiting:
        """How much waits in all lanes."""

        def work(sql: sqlite3.Connection) -> Waiting:
            updates, since = sql.execute("SELECT count(*), min(received) FROM updates WHERE outcome IS NULL").fetchone()
            return Waiting(updates, since or 0.0)

        return await self._database.run(work)

    async def purge(self) -> None:
        """Forgets what was finished more than 48 hours ago."""
        before = (self._clock() - KEEP,)

        def work(sql: sqlite3.Connection) -> None:
            sql.execute("DELETE FROM updates WHERE outcome IS NOT NULL AND finished < ?", before)
            sql.execute("DELETE FROM unreadable WHERE received < ?", before)

        await self._database.run(work)
