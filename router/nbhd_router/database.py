"""The router's SQLite file: one thread owns it and commits what many callers asked for in one fsync (group commit).

``spool`` and ``grants`` keep their tables in it. A caller resumes only after its work is on disk.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from nbhd_router.errors import DatabaseError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

_BATCH = 512


class Database:
    """Runs functions on the connection, in the order asked for; several may share a transaction.

    A function that raises fails every other one of its transaction too.
    """

    def __init__(self, path: Path, schema: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._path = path
        self._schema = schema
        self._asked: queue.SimpleQueue[tuple[Work, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._connection = self._open()
        self._thread = threading.Thread(target=self._serve, name="database", daemon=True)
        self._thread.start()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.executescript(self._schema)
        return connection

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs ``work`` in a transaction and returns its result once that is durable. Raises ``DatabaseError``."""
        if self._closed:
            raise DatabaseError("closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._asked.put((work, future))
        return await future

    async def close(self) -> None:
        """Commits what was asked for so far and closes the file."""
        if not self._closed:
            self._closed = True
            self._asked.put(None)
            await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        last = False
        while not last:
            item = self._asked.get()
            batch: list[tuple[Work, asyncio.Future[Any]]] = []
            while item is not None:
                batch.append(item)
                if len(batch) == _BATCH:
                    break
                try:
                    item = self._asked.get_nowait()
                except queue.Empty:
                    break
            last = item is None
            if batch:
                self._commit(batch)
        self._connection.close()

    def _commit(self, batch: list[tuple[Work, asyncio.Future[Any]]]) -> None:
        results: list[tuple[asyncio.Future[Any], Any]] = []
        problem: DatabaseError | None = None
        try:
            self._connection.execute("BEGIN")
            results = [(future, work(self._connection)) for work, future in batch]
            self._connection.execute("COMMIT")
        except Exception as error:  # whatever it is, the thread must go on: without it nothing is ever stored again
            problem = DatabaseError(f"{type(error).__name__}: {error}")
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            results = [(future, None) for _, future in batch]
        self._loop.call_soon_threadsafe(_release, results, problem)


def _release(results: list[tuple[asyncio.Future[Any], Any]], problem: DatabaseError | None) -> None:
    for future, result in results:
        if future.done():
            continue  # its caller was cancelled
        if problem:
            future.set_exception(problem)
        else:
            future.set_result(result)
