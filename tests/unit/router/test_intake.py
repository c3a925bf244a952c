"""The webhook: who may send, what is kept, and what Telegram is told."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nbhd_local.web import serve
from nbhd_router.intake import Intake
from nbhd_router.spool import Lane, Spool

from .conftest import ALICE, ALICE_ID, BOT, Kit, button, message, tenant

SECRETS = ("new-secret-new-secret", "old-secret-old-secret")


class Client:
    """Posts as Telegram does."""

    def __init__(self, kit: Kit, url: str, woken: list[Lane]) -> None:
        self.kit, self.url, self.woken = kit, url, woken

    async def post(self, body: Any, secret: str | None = SECRETS[0]) -> tuple[int, bytes, str | None]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"X-Telegram-Bot-Api-Secret-Token": secret} if secret is not None else {}
        async with self.kit.session.post(
            f"{self.url}/telegram/webhook", data=io.BytesIO(data), headers=headers
        ) as response:
            return response.status, await response.read(), response.headers.get("Retry-After")


@pytest.fixture
async def client(kit: Kit) -> AsyncIterator[Client]:
    woken: list[Lane] = []
    spool = Spool(kit.database, clock=time.time, cap=3)
    intake = Intake(BOT, SECRETS, spool, kit.directory, kit.notices, kit.metrics, woken.append)
    async with serve(intake.app()) as url:
        yield Client(kit, url, woken)


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRETS[0] + "x", SECRETS[0][:-1], "\udcff"])
async def test_a_wrong_secret_is_refused_and_nothing_is_kept(client: Client, secret: str | None) -> None:
    if secret == "\udcff":  # a client library cannot be made to send it
        host, port = client.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /telegram/webhook HTTP/1.1\r\nHost: x\r\nX-Telegram-Bot-Api-Secret-Token: \xff\r\n"
            b"Content-Length: 2\r\nConnection: close\r\n\r\n{}"
        )
        assert (await reader.readline()).split()[1] == b"401"
        writer.close()
    else:
        assert (await client.post(message(1, ALICE), secret))[0] == 401
    assert await client.kit.spool.recover() == []


@pytest.mark.parametrize("secret", SECRETS)
async def test_every_secret_of_the_list_counts(client: Client, secret: str) -> None:
    assert await client.post(message(1, ALICE), secret) == (200, b"", None)
    assert client.woken == [Lane(BOT, ALICE)]


async def test_the_owner_at_receipt_is_kept_with_the_update(client: Client) -> None:
    client.kit.directory.set(tenant(ALICE_ID, ALICE, generation=5, resource_version=2))
    body = json.dumps(message(1, ALICE, "ä")).encode()
    await client.post(body)
    row = await client.kit.spool.next(Lane(BOT, ALICE))
    assert row is not None
    assert (row.update.spec_id, row.update.generation, row.update.kind) == (ALICE_ID, 5, "message")
    assert row.update.body == body


async def test_a_repetition_is_acknowledged_and_wakes_nobody(client: Client) -> None:
    answers = await asyncio.gather(*(client.post(message(1, ALICE)) for _ in range(4)))
    assert answers == [(200, b"", None)] * 4
    assert client.woken == [Lane(BOT, ALICE)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"update_id": "1"}',
        b'{"update_id": 1e400}',
        b"\xff",
        b'{"update_id": 99999999999999999999, "message": {"chat": {"id": 1}}}',
    ],
)
async def test_an_authentic_update_that_cannot_be_read_is_kept_aside(client: Client, body: bytes) -> None:
    assert await client.post(body) == (200, b"", None)
    with sqlite3.connect(client.kit.path) as sql:
        assert sql.execute("SELECT bot, body FROM unreadable").fetchall() == [(BOT, body)]
    sql.close()


async def test_too_large_an_update_is_acknowledged_and_dropped(client: Client) -> None:
    assert await client.post(b'{"update_id": 1, "x": "' + b"a" * (4 << 20) + b'"}') == (200, b"", None)
    assert client.kit.count("updates", result="oversize") == 1
    assert (await client.post(b'{"update_id": 2, "message": {"chat": {"id": 5}, "x": "' + b"a" * (2 << 20) + b'"}}'))[
        0
    ] == 200
    assert client.woken == [Lane(BOT, 5)]


async def test_only_a_failed_commit_is_refused(client: Client) -> None:
    await client.kit.database.close()
    assert await client.post(message(1, ALICE)) == (503, b"", "1")


async def test_more_than_a_chat_may_hold_is_acknowledged_and_said_once(client: Client) -> None:
    for update_id in range(6):
        assert (await client.post(message(update_id, ALICE)))[0] == 200
    await client.kit.until(lambda: client.kit.api.count("sendMessage") == 1)
    assert len(client.woken) == 3
    assert client.kit.count("updates", result="overflow") == 3


@pytest.mark.parametrize(
    ("update", "lane"),
    [
        (message(1, ALICE, "/start"), Lane(BOT, ALICE, own=True)),
        (message(1, ALICE, "/start abc"), Lane(BOT, ALICE, own=True)),
        (message(1, ALICE, "/help@the_bot"), Lane(BOT, ALICE, own=True)),
        (message(1, ALICE, "/privacy please"), Lane(BOT, ALICE, own=True)),
        (message(1, ALICE, "/starting"), Lane(BOT, ALICE)),
        (message(1, ALICE, "/new"), Lane(BOT, ALICE)),
        (message(1, ALICE, "see /help"), Lane(BOT, ALICE)),
        (message(1, ALICE, ""), Lane(BOT, ALICE)),
        (message(1, -55, "/start abc", kind="group"), Lane(BOT, -55, own=True)),
        (message(1, -55, "/help", kind="group"), Lane(BOT, -55)),
        (button(1, ALICE, "nbhd1abc"), Lane(BOT, ALICE, own=True)),
        (button(1, ALICE, "ok:1"), Lane(BOT, ALICE)),
        ({"update_id": 1, "edited_message": message(1, ALICE, "/start x")["message"]}, Lane(BOT, ALICE)),
        ({"update_id": 1, "stopped_message_generation": {"chat": {"id": ALICE}}}, Lane(BOT, ALICE)),
        ({"update_id": 1, "my_chat_member": {"chat": {"id": ALICE}, "from": {"id": ALICE}}}, None),
        ({"update_id": 1, "business_message": {"chat": {"id": ALICE}}}, None),
        ({"update_id": 1, "callback_query": {"id": "1", "from": {"id": ALICE}, "inline_message_id": "x"}}, None),
        ({"update_id": 1, "inline_query": {"id": "1", "from": {"id": ALICE}}}, None),
    ],
)
async def test_where_an_update_belongs(client: Client, update: dict[str, Any], lane: Lane | None) -> None:
    assert await client.post(update) == (200, b"", None)
    assert await client.kit.spool.recover() == ([lane] if lane else [])
