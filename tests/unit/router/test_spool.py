"""The spool keeps order, knows repetitions, and loses nothing that was acknowledged."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from nbhd_router import grants, spool
from nbhd_router.database import Database
from nbhd_router.errors import DatabaseError
from nbhd_router.spool import KEEP, Incoming, Lane, Spool

from .conftest import BOT, Kit

A, B = Lane(BOT, 1), Lane(BOT, 2)
SECRET = "s" * 32

SERVER = """
import asyncio, sys, time
from pathlib import Path
from nbhd_local.web import serve
from nbhd_router import grants, spool
from nbhd_router.database import Database
from nbhd_router.directory import Directory
from nbhd_router.intake import Intake
from nbhd_router.metrics import Metrics
from nbhd_router.spool import Spool

async def main():
    store = Spool(Database(Path(sys.argv[1]), spool.SCHEMA + grants.SCHEMA), clock=time.time, cap=10**6)
    intake = Intake(424242, [sys.argv[2]], store, Directory(), None, Metrics(), lambda lane: None)
    async with serve(intake.app()) as url:
        print(url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def update(lane: Lane, update_id: int, body: bytes = b"{}") -> Incoming:
    return Incoming(lane, update_id, "message", body)


async def test_a_lane_is_first_in_first_out_by_arrival(kit: Kit) -> None:
    for update_id in (5, 3, 9):
        assert await kit.spool.put(update(A, update_id)) == "stored"
    await kit.spool.put(update(B, 1))
    order = []
    while row := await kit.spool.next(A):
        order.append(row.update.update_id)
        await kit.spool.done(row)
    assert order == [5, 3, 9]
    assert await kit.spool.recover() == [B]


async def test_a_repeated_update_is_stored_once_even_after_it_is_done(kit: Kit) -> None:
    results = await asyncio.gather(*(kit.spool.put(update(A, 7)) for _ in range(5)))
    assert sorted(results) == ["duplicate"] * 4 + ["stored"]
    row = await kit.spool.next(A)
    assert row is not None
    await kit.spool.done(row)
    assert await kit.spool.put(update(A, 7)) == "duplicate"
    assert await kit.spool.next(A) is None
    assert await kit.spool.put(update(Lane(99, 1), 7)) == "stored"  # another bot counts for itself


async def test_a_lane_takes_no_more_than_its_cap(kit: Kit) -> None:
    small = Spool(kit.database, clock=time.time, cap=2)
    assert [await small.put(update(A, n)) for n in range(4)] == ["stored", "stored", "overflow", "overflow"]
    assert await small.put(update(A, 3)) == "duplicate"
    assert await small.put(update(B, 10)) == "stored"
    row = await small.next(A)
    assert row is not None
    await small.done(row)
    assert await small.put(update(A, 4)) == "stored"


async def test_bodies_go_when_done_and_ids_after_48_hours(kit: Kit) -> None:
    now = 1000.0
    aged = Spool(kit.database, clock=lambda: now)
    for update_id in (1, 2):
        await aged.put(update(A, update_id, b"private"))
    first = await aged.next(A)
    assert first is not None
    await aged.done(first)
    second = await aged.next(A)
    assert second is not None
    await aged.fail(second, "Expired")
    await aged.put_unreadable(BOT, b"?")

    def stored() -> list[tuple[int, bytes | None, str | None]]:
        with sqlite3.connect(kit.path) as sql:
            found = sql.execute("SELECT update_id, body, outcome FROM updates ORDER BY seq").fetchall()
        sql.close()
        return found

    assert stored() == [(1, None, "Done"), (2, b"private", "Expired")]
    await aged.purge()
    assert len(stored()) == 2
    now += KEEP + 1
    await aged.put(update(A, 3))
    await aged.purge()
    assert stored() == [(3, b"{}", None)]


async def test_what_waits_is_found_again_after_a_restart(kit: Kit) -> None:
    await kit.spool.put(Incoming(A, 1, "message", b"body", "someone", 4))
    await kit.database.close()
    database = Database(kit.path, spool.SCHEMA + grants.SCHEMA)
    again = Spool(database, clock=time.time)
    assert await again.recover() == [A]
    row = await again.next(A)
    await database.close()
    assert row is not None
    assert row.update == Incoming(A, 1, "message", b"body", "someone", 4)
    assert kit.path.stat().st_mode & 0o077 == 0


async def test_one_failing_write_says_so_and_the_next_one_works(kit: Kit) -> None:
    with pytest.raises(DatabaseError):
        await kit.database.run(lambda sql: sql.execute("INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(DatabaseError):
        await kit.spool.put(update(A, 2**70))
    assert await kit.spool.put(update(A, 1)) == "stored"
    await kit.database.close()
    with pytest.raises(DatabaseError):
        await kit.spool.put(update(A, 2))


async def test_no_acknowledged_update_is_lost_when_the_router_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    acked: set[int] = set()
    count = iter(range(1, 10**9))
    for enough in (50, 250, 600):  # acknowledgements after which the process is killed
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVER, str(path), SECRET, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        reached = asyncio.Event()

        async def send(session: aiohttp.ClientSession, url: str, enough: int, reached: asyncio.Event) -> None:
            while True:
                update_id = next(count)
                document = {"update_id": update_id, "message": {"chat": {"id": update_id % 7, "type": "private"}}}
                headers = {"X-Telegram-Bot-Api-Secret-Token": SECRET}
                try:
                    async with session.post(f"{url}/telegram/webhook", json=document, headers=headers) as response:
                        assert response.status == 200
                        assert await response.read() == b""
                except (aiohttp.ClientError, OSError):
                    return
                acked.add(update_id)
                if len(acked) >= enough:
                    reached.set()

        async with aiohttp.ClientSession() as session:
            senders = [asyncio.create_task(send(session, url, enough, reached)) for _ in range(16)]
            await reached.wait()
            process.kill()
            await asyncio.gather(*senders)
        await process.wait()
    with sqlite3.connect(path) as sql:
        stored = [row[0] for row in sql.execute("SELECT update_id FROM updates WHERE outcome IS NULL")]
    sql.close()
    assert len(acked) >= 600
    assert acked <= set(stored)
    assert len(stored) == len(set(stored))
