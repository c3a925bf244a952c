"""A running Telegram emulator, a plain HTTP client for its API, and a webhook receiver that can misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from nbhd_local.telegram import TelegramWorld, Tuning
from nbhd_local.web import serve

TOKEN = "123456789:abcdefghijklmnopqrstuvwxyzABCDEFGHI"


@dataclass
class Api:
    """Calls methods with JSON, without any bot library."""

    http: aiohttp.ClientSession
    root: str

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        async with self.http.post(f"{self.root}/{method}", json=params) as response:
            body: dict[str, Any] = await response.json()
            assert body["ok"] is (response.status == 200)
            assert response.status == body.get("error_code", 200)
            return body

    async def result(self, method: str, **params: Any) -> Any:
        body = await self.call(method, **params)
        assert body["ok"], body
        return body["result"]


@dataclass
class Receiver:
    """Keeps what it is sent. ``answer`` decides, update by update; by default an empty 200."""

    answer: Callable[[dict[str, Any]], Awaitable[web.Response]] | None = None
    updates: list[dict[str, Any]] = field(default_factory=list)
    accepted: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    peers: set[int] = field(default_factory=set)
    busy: int = 0
    most_busy: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        update: dict[str, Any] = json.loads(await request.read())
        self.updates.append(update)
        self.headers.append(dict(request.headers))
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername")[1])
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            response = await self.answer(update) if self.answer else web.Response()
        finally:
            self.busy -= 1
        if 200 <= response.status < 300:
            self.accepted.append(update)
        return response

    def texts(self) -> list[str]:
        return [update["message"]["text"] for update in self.accepted if "message" in update]


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/telegram", receiver.handle)
    async with serve(app) as url:
        yield receiver, f"{url}/telegram"


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[tuple[TelegramWorld, Api]]:
    settings: dict[str, Any] = {"bot_token": TOKEN, "latency": (0, 0), "tuning": Tuning(time_scale=0.001)}
    async with TelegramWorld(**settings | options) as world, aiohttp.ClientSession() as http:
        yield world, Api(http, f"{world.api_url}/bot{TOKEN}")


@pytest.fixture
async def both() -> AsyncIterator[tuple[TelegramWorld, Api]]:
    async with running() as pair:
        yield pair


@pytest.fixture
def world(both: tuple[TelegramWorld, Api]) -> TelegramWorld:
    return both[0]


@pytest.fixture
def api(both: tuple[TelegramWorld, Api]) -> Api:
    return both[1]


@pytest.fixture
async def receiver(api: Api) -> AsyncIterator[Receiver]:
    async with receiving() as (receiver, url):
        await api.result("setWebhook", url=url, secret_token="s3cret")
        yield receiver


async def settled(world: TelegramWorld, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        await world.settled()


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Waits for a condition that nothing announces."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (the emulator has no event for every fact that a test looks at)
            await asyncio.sleep(0.005)
