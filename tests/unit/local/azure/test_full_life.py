"""One subscriber's whole life on the emulated cloud, with the stand-in as the image."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from aiohttp import web
from azure.core.exceptions import HttpResponseError

from nbhd_local.azure import AzureWorld, Delays
from nbhd_local.ca import Authority
from nbhd_local.web import serve

DELAYS = Delays(app=0.05, role_propagation=0.1, container_start=0.05, ready_lag=0.05, secret_transition=0.05)
CREDENTIALS = {
    "TELEGRAM_BOT_TOKEN": "7000001:" + "t" * 35,
    "TG_WEBHOOK_SECRET": "w" * 43,
    "OPENCLAW_GATEWAY_TOKEN": "g" * 43,
    "LLM_API_KEY": "m" * 43,
}


class BotApi:
    """The few methods that a container calls, and what it said."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.app = web.Application()
        self.app.router.add_route("*", "/abc/bot{token}/{method}", self._call)

    async def _call(self, request: web.Request) -> web.Response:
        assert request.match_info["token"] == CREDENTIALS["TELEGRAM_BOT_TOKEN"]
        await self.calls.put((request.match_info["method"], json.loads(await request.read() or b"null")))
        return web.json_response({"ok": True, "result": True})

    async def reply(self) -> Any:
        """The next message that the container sends."""
        async with asyncio.timeout(20):
            while True:
                method, parameters = await self.calls.get()
                if method == "sendMessage":
                    return parameters


def app_body(world: AzureWorld, identity_id: str, secret_url: str, api_root: str) -> dict[str, Any]:
    config = {
        "gateway": {"mode": "local", "auth": {"mode": "token", "token": "${OPENCLAW_GATEWAY_TOKEN}"}},
        "messages": {"inbound": {"debounceMs": 0}},
        "channels": {
            "telegram": {
                "enabled": True,
                "botToken": "${TELEGRAM_BOT_TOKEN}",
                "apiRoot": api_root,
                "dmPolicy": "allowlist",
                "allowFrom": ["42"],
                "webhookUrl": "https://nbhd.invalid/abc",
                "webhookSecret": "${TG_WEBHOOK_SECRET}",
                "webhookHost": "${OPENCLAW_WEBHOOK_HOST}",
                "commands": {"native": False},
            }
        },
    }
    pull = world.pull_identity_id
    return {
        "location": world.location,
        "tags": {"nbhd-tenant": "abc"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity_id: {}, pull: {}}},
        "properties": {
            "environmentId": world.environment_id,
            "configuration": {
                "activeRevisionsMode": "Single",
                "ingress": {"external": True, "targetPort": 8787, "transport": "auto"},
                "identitySettings": [{"identity": i, "lifecycle": "None"} for i in (identity_id, pull)],
                "registries": [{"server": world.registry_server, "identity": pull}],
                "secrets": [{"name": "credentials", "keyVaultUrl": secret_url, "identity": identity_id}],
            },
            "template": {
                "containers": [
                    {
                        "name": "openclaw",
                        "image": f"{world.registry_server}/openclaw@sha256:{'0' * 64}",
                        "resources": {"cpu": 1, "memory": "2Gi"},
                        "env": [
                            {"name": "OPENCLAW_CONFIG_JSON", "value": json.dumps(config)},
                            {"name": "OPENCLAW_WEBHOOK_HOST", "value": "0.0.0.0"},  # noqa: S104
                            {"name": "NBHD_CREDENTIALS", "secretRef": "credentials"},
                        ],
                    }
                ],
                "scale": {"minReplicas": 0, "maxReplicas": 1, "cooldownPeriod": 1},
                "terminationGracePeriodSeconds": 330,
            },
        },
    }


async def test_from_identity_to_a_reply_and_back_to_nothing(authority: Authority, connect: Any, tmp_path: Path) -> None:
    bot, world = BotApi(), AzureWorld(authority, delays=DELAYS, log_dir=tmp_path)
    async with serve(bot.app) as bot_url, world, connect(world) as azure:
        empty = world.inventory()
        identity, secret_url = await azure.tenant("nbhd-abc", json.dumps(CREDENTIALS))
        body = app_body(world, identity.id, secret_url, f"{bot_url}/abc")
        refusals: list[str | None] = []
        app = None
        while app is None:  # until the role is effective
            try:
                app = await azure.put("nbhd-abc", body)
            except HttpResponseError as refused:
                refusals.append(refused.error.code if refused.error else None)
        assert set(refusals) == {"InvalidParameterValueInContainerTemplate"}
        webhook = f"https://{app.properties.configuration.ingress.fqdn}/telegram-webhook"
        methods = [(await bot.calls.get())[0] for _ in range(5)]
        assert methods == ["getMe", "getMe", "setWebhook", "deleteMyCommands", "deleteMyCommands"]

        async def send(number: int, text: str) -> str | None:
            message = {"message_id": number, "from": {"id": 42}, "chat": {"id": 42, "type": "private"}, "text": text}
            headers = {"x-telegram-bot-api-secret-token": CREDENTIALS["TG_WEBHOOK_SECRET"]}
            update = {"update_id": number, "message": message}
            async with azure.session.post(webhook, json=update, headers=headers) as answer:
                assert (answer.status, await answer.read()) == (200, b"")
                receipt: str | None = answer.headers.get("x-openclaw-delivery-accepted")
                return receipt

        assert await send(1, "hello <you>") == "durable"
        assert await bot.reply() == {
            "chat_id": "42",
            "text": "Assistant: You said: hello &lt;you&gt;\n(turn 1, [nbhd-abc])",
            "parse_mode": "HTML",
        }
        await world.runtime.wait_for("nbhd-abc", "stopped")  # type: ignore[union-attr]
        await send(2, "after a cold start")
        assert "after a cold start\n(turn 1," in (await bot.reply())["text"]  # a container's disk is gone with it

        apps, group = azure.apps.container_apps, world.resource_group
        await (await apps.begin_delete(group, "nbhd-abc")).result()
        held = [item async for item in azure.roles.role_assignments.list_for_scope(azure.secret_scope("nbhd-abc"))]
        for assignment in held:
            if assignment.principal_id == identity.principal_id:
                await azure.roles.role_assignments.delete(assignment.scope, assignment.name)
        await azure.secrets.delete_secret("nbhd-abc", _polling_interval=0.02)
        await azure.identities.user_assigned_identities.delete(group, "nbhd-abc")
        left = world.inventory()
        assert left.pop("deletedSecrets").keys() == {"nbhd-abc"}
        assert left == {kind: found for kind, found in empty.items() if kind != "deletedSecrets"}
        logs = (tmp_path / "nbhd-abc.log").read_text()
        assert not [value for value in CREDENTIALS.values() if value in logs]
