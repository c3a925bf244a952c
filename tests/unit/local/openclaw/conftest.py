"""A scriptable Bot API and a gateway's environment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from nbhd_local.web import serve

CREDENTIALS = {
    "TELEGRAM_BOT_TOKEN": "7000001:" + "t" * 35,
    "TG_WEBHOOK_SECRET": "w" * 43,
    "OPENCLAW_GATEWAY_TOKEN": "g" * 43,
    "LLM_API_KEY": "m" * 43,
}


@dataclass
class BotApi:
    """Records calls; ``answers`` are (method, status, body) to give once, ``delay`` slows sendMessage down."""

    url: str = ""
    delay: float = 0.0
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    answers: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        parameters = json.loads(await request.read() or b"null")
        refusal = next((answer for answer in self.answers if answer[0] == method), None)
        if refusal is not None:
            self.answers.remove(refusal)
        async with self.changed:
            self.calls.append((request.method, method, parameters))
            self.changed.notify_all()
        if method == "sendMessage":
            await asyncio.sleep(self.delay)
        if refusal is not None:
            _, status, body = refusal
            return web.json_response({"ok": False, "error_code": status, **body}, status=status)
        return web.json_response({"ok": True, "result": True})

    async def wait(self, method: str, count: int = 1) -> list[Any]:
        """The parameters of all calls of a method, once there are ``count``."""
        async with asyncio.timeout(10), self.changed:
            while len(found := [p for _, name, p in self.calls if name == method]) < count:
                await self.changed.wait()
        return found


@pytest.fixture
async def bot() -> AsyncIterator[BotApi]:
    api = BotApi()
    app = web.Application()
    app.router.add_route("*", "/tenant/bot{token}/{method}", api.handle)
    async with serve(app) as url:
        api.url = f"{url}/tenant"
        yield api


Environ = Callable[..., dict[str, str]]


@pytest.fixture
def environ(tmp_path: Path) -> Environ:
    """Builds a container's environment; keyword arguments change members of ``channels.telegram``."""

    def build(api_root: str = "http://127.0.0.1:9", **telegram: Any) -> dict[str, str]:
        config = {
            "gateway": {"mode": "local", "auth": {"mode": "token", "token": "${OPENCLAW_GATEWAY_TOKEN}"}},
            "models": {"providers": {"nbhd": {"apiKey": "${LLM_API_KEY}"}}},
            "agents": {"list": [{"id": "main", "identity": {"name": "Ada"}}]},
            "messages": {"inbound": {"debounceMs": 0}},
            "channels": {
                "telegram": {
                    "botToken": "${TELEGRAM_BOT_TOKEN}",
                    "apiRoot": api_root,
                    "dmPolicy": "allowlist",
                    "allowFrom": ["42"],
                    "groupPolicy": "disabled",
                    "webhookUrl": "https://nbhd.invalid/abc",
                    "webhookSecret": "${TG_WEBHOOK_SECRET}",
                    "webhookPort": 0,
                    **telegram,
                }
            },
        }
        return {
            "HOME": str(tmp_path),
            "NBHD_CREDENTIALS": json.dumps(CREDENTIALS),
            "OPENCLAW_CONFIG_JSON": json.dumps(config),
            "STAND_IN_RETRY_SECONDS": "0.01",
        }

    return build
