"""Which bot-wide ids a tenant may use at the egress root: files and callback queries that were delivered to it.

File ids, file paths and callback ids belong to the whole shared bot, so ``dispatch`` records here what it hands to a
tenant, and ``egress`` refuses the rest. Kept on disk: a container may ask after the router was restarted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Literal

from nbhd_router.database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS grants (
    spec_id TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, granted REAL NOT NULL,
    PRIMARY KEY (spec_id, kind, value)
) WITHOUT ROWID;
"""

Kind = Literal["file", "path", "callback"]
# Seconds. Telegram guarantees a file's path for an hour; an old file id comes again with each message that quotes it.
LIFETIME: dict[Kind, float] = {"file": 48 * 3600.0, "path": 3900.0, "callback": 900.0}


class Grants:
    """Ids by tenant."""

    def __init__(self, database: Database, *, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def grant(self, spec_id: str, ids: Iterable[tuple[Kind, str]]) -> None:
        """Lets the tenant use ``ids``, from now on for each kind's lifetime."""
        now = self._clock()
        rows = [(spec_id, kind, value, now) for kind, value in ids]
        if rows:
            await self._database.run(
                lambda sql: sql.executemany("INSERT OR REPLACE INTO grants VALUES (?, ?, ?, ?)", rows).rowcount
            )

    async def holds(self, spec_id: str, kind: Kind, value: str) -> bool:
        """True if the id was given to this tenant and still counts."""
        values = (spec_id, kind, value, self._clock() - LIFETIME[kind])
        found = await self._database.run(
            lambda sql: sql.execute(
                "SELECT 1 FROM grants WHERE spec_id = ? AND kind = ? AND value = ? AND granted > ?", values
            ).fetchone()
        )
        return found is not None

    async def purge(self) -> None:
        """Forgets what no longer counts."""
        now = self._clock()

        def work(sql: sqlite3.Connection) -> None:
            for kind, lifetime in LIFETIME.items():
                sql.execute("DELETE FROM grants WHERE kind = ? AND granted < ?", (kind, now - lifetime))

        await self._database.run(work)
