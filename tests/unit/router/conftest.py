"""What the router's tests share: keys, Tenants as the watch reports them, a Bot API and a container on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from nbhd_crds.identity import Keyring
from nbhd_local.web import serve
from nbhd_router import announcements, grants, spool
from nbhd_router.database import Database
from nbhd_router.directory import Directory, TenantView
from nbhd_router.grants import Grants
from nbhd_router.metrics import Metrics
from nbhd_router.notices import Notices
from nbhd_router.spool import Spool
from nbhd_router.telegram import Telegram
from nbhd_router.texts import Texts

BOT = 424242
TOKEN = f"{BOT}:REALrealREALrealREALrealREALrealREA"
ALICE, BOB = 1001, 1002
ALICE_ID, BOB_ID = "aliceaaaaaaaaaaaaaaa", "bobbbbbbbbbbbbbbbbbb"
LINK = "https://account.example"


def tenant(
    spec_id: str,
    chat: int | None,
    *,
    state: str | None = "Active",
    served: bool = True,
    endpoint: str | None = None,
    generation: int = 1,
    version: int = 1,
    previous: int | None = None,
    uid: str = "",
    resource_version: int = 1,
    deleting: bool = False,
    conditions: list[dict[str, str]] | None = None,
    reason: str = "Test",
    until: str | None = None,
    billing: dict[str, str] | None = None,
) -> TenantView:
    """A Tenant as the watch reports it; ``served`` says that the operator has confirmed the chat."""
    metadata: dict[str, Any] = {
        "name": spec_id,
        "namespace": "tenants",
        "uid": uid or f"uid-{spec_id}",
        "resourceVersion": str(resource_version),
    }
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    spec: dict[str, Any] = {"id": spec_id}
    status: dict[str, Any] = {"credentials": {"version": version, "botKey": "k1", "webhookKey": "k1"}}
    if chat is not None:
        spec["telegram"] = {"chatId": chat, "userId": chat, "generation": generation}
        if served:
            status["chatId"] = chat
    if state is not None:
        status["entitlement"] = {"state": state, "reason": reason} | ({"until": until} if until else {})
    if billing is not None:
        spec["billing"] = billing
    if endpoint is not None:
        status["endpoint"] = endpoint
    if previous is not None:
        status["previousCredentials"] = {"version": previous, "botKey": "k1", "webhookKey": "k1"}
    if conditions is not None:
        status["conditions"] = conditions
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": status}, TenantView)


def message(update_id: int, chat: int, text: str = "hello", *, kind: str = "private") -> dict[str, Any]:
    """An update with a text message, as Telegram sends it."""
    return {
        "update_id": update_id,
        "message": {
            "message_id": update_id,
            "date": 1,
            "chat": {"id": chat, "type": kind},
            "from": {"id": chat if chat > 0 else ALICE, "is_bot": False, "first_name": "A"},
            "text": text,
        },
    }


def button(update_id: int, chat: int, data: str, *, user: int | None = None) -> dict[str, Any]:
    """An update with a pressed button under message 7."""
    return {
        "update_id": update_id,
        "callback_query": {
            "id": f"q{update_id}",
            "from": {"id": user or chat, "is_bot": False, "first_name": "A"},
            "chat_instance": "1",
            "message": {"message_id": 7, "date": 1, "chat": {"id": chat, "type": "private"}},
            "data": data,
        },
    }


@dataclass
class Asked:
    """One call that reached the Bot API."""

    token: str
    method: str
    params: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)


class BotApi:
    """A Bot API that records what it is asked; ``answer`` may be replaced."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Asked] = []
        self.files: dict[str, bytes] = {}
        self.answer: Callable[[Asked], tuple[int, dict[str, Any]]] = lambda _: (200, {"ok": True, "result": True})

    def app(self) -> web.Application:
        """Its listener."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/bot{token}/{method}", self._serve)
        app.router.add_get("/file/bot{token}/{path:.+}", self._file)
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        params: dict[str, Any] = dict(request.query)
        files: dict[str, bytes] = {}
        if request.content_type == "application/json":
            params |= await request.json()
        else:
            for name, value in (await request.post()).items():
                if isinstance(value, web.FileField):
                    files[name] = value.file.read()
                else:
                    params[name] = value
        asked = Asked(request.match_info["token"], request.match_info["method"], params, files)
        self.calls.append(asked)
        status, document = self.answer(asked)
        return web.json_response(document, status=status)

    async def _file(self, request: web.Request) -> web.Response:
        self.calls.append(Asked(request.match_info["token"], "file", {"path": request.match_info["path"]}))
        return web.Response(body=self.files[request.match_info["path"]])

    def said(self, chat: int) -> list[str]:
        """Texts sent to the chat."""
        return [
            str(c.params["text"])
            for c in self.calls
            if c.method == "sendMessage" and str(c.params["chat_id"]) == str(chat)
        ]

    def count(self, method: str) -> int:
        """How often a method was called."""
        return sum(call.method == method for call in self.calls)


class Container:
    """A tenant's container: records what it is sent. ``script`` holds answers (status, receipt) for coming requests."""

    def __init__(self) -> None:
        self.url = ""
        self.script: list[tuple[int, str | None]] = []
        self.seen: list[tuple[int, str]] = []
        self.accepted: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def app(self) -> web.Application:
        """Its listener."""
        app = web.Application(client_max_size=8 << 20)
        app.router.add_post("/telegram-webhook", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        update_id = int(json.loads(await request.read())["update_id"])
        self.seen.append((update_id, request.headers["X-Telegram-Bot-Api-Secret-Token"]))
        await self.gate.wait()
        status, receipt = self.script.pop(0) if self.script else (200, "durable")
        if status == 200 and receipt == "durable":
            self.accepted.append(update_id)
        headers = {"x-openclaw-delivery-accepted": receipt} if receipt else {}
        return web.Response(status=status, headers=headers, text='{"method":"sendMessage"}')


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions on plain state have no event
            await asyncio.sleep(0.005)


@dataclass
class Kit:
    """Everything that a test may need, on real sockets and a real file."""

    path: Path
    database: Database
    spool: Spool
    grants: Grants
    session: aiohttp.ClientSession
    api: BotApi
    telegram: Telegram
    notices: Notices
    directory: Directory
    metrics: Metrics
    bot_ring: Keyring
    webhook_ring: Keyring
    link_ring: Keyring
    now: datetime.datetime

    tenant = staticmethod(tenant)
    message = staticmethod(message)
    button = staticmethod(button)
    until = staticmethod(until)
    serve = staticmethod(serve)
    bot, token, alice, bob, alice_id, bob_id, link = BOT, TOKEN, ALICE, BOB, ALICE_ID, BOB_ID, LINK

    def count(self, name: str, **labels: str) -> float:
        """What a counter says."""
        return self.metrics.registry.get_sample_value(f"nbhd_router_{name}_total", labels) or 0


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    """A kit with two active tenants, of Alice and of Bob, without endpoints."""
    api = BotApi()
    path = tmp_path / "spool.sqlite"
    database = Database(path, spool.SCHEMA + grants.SCHEMA + announcements.SCHEMA)
    async with aiohttp.ClientSession() as session, serve(api.app()) as api.url:
        telegram = Telegram(session, api.url, TOKEN)
        directory = Directory()
        directory.set(tenant(ALICE_ID, ALICE))
        directory.set(tenant(BOB_ID, BOB))
        yield Kit(
            path,
            database,
            Spool(database, clock=time.time),
            Grants(database, clock=time.time),
            session,
            api,
            telegram,
            Notices(telegram, Texts(LINK), clock=lambda: datetime.datetime.now(datetime.UTC)),
            directory,
            Metrics(),
            Keyring("bot", {"k1": b"b" * 32, "k2": b"B" * 32}),
            Keyring("webhook", {"k1": b"w" * 32}),
            Keyring("link", {"k1": b"l" * 32}),
            datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        )
        await database.close()


@pytest.fixture
async def containers(kit: Kit) -> AsyncIterator[dict[int, Container]]:
    """A running container for Alice and one for Bob, by chat; both tenants are ready."""
    found = {ALICE: Container(), BOB: Container()}
    async with contextlib.AsyncExitStack() as stack:
        for chat, spec_id in ((ALICE, ALICE_ID), (BOB, BOB_ID)):
            found[chat].url = await stack.enter_async_context(serve(found[chat].app()))
            kit.directory.set(tenant(spec_id, chat, endpoint=found[chat].url, resource_version=2))
        yield found
