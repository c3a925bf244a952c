"""The configuration of one tenant's OpenClaw gateway: pure builders of ``openclaw.json`` and of the variables.

The hosted profile: one owner and nobody else may talk to it, no shell, no self-update, nothing reachable but the
Telegram webhook. Secrets are placeholders that OpenClaw fills from its environment; the entrypoint puts them there from
the bundle ``NBHD_CREDENTIALS``. OpenClaw refuses unknown keys, so each one here is documented for 2026.9.
"""

from __future__ import annotations

import json
from typing import Any

from nbhd_crds.api import TenantSpec

WEBHOOK_PATH = "/telegram-webhook"
WEBHOOK_PORT = 8787
SECRET_NAME = "credentials"  # noqa: S105 - the name of the app's secret, not its value
_PROVIDER = "nbhd"
_CONTEXT_WINDOW = 128_000
_MAX_TOKENS = 4_096


def config(tenant: TenantSpec, chat_id: int, model: str, *, egress_url: str, model_url: str) -> dict[str, Any]:
    """The content of ``openclaw.json``; it holds no secret."""
    preferences = tenant.preferences
    defaults: dict[str, Any] = {
        "model": {"primary": f"{_PROVIDER}/{model}"},
        "heartbeat": {"every": "0m"},  # a heartbeat would be a paid turn that nobody asked for
    }
    if preferences and preferences.time_zone:
        defaults["userTimezone"] = preferences.time_zone
    return {
        "gateway": {
            "mode": "local",
            "port": 18789,
            "bind": "loopback",
            "auth": {"mode": "token", "token": "${OPENCLAW_GATEWAY_TOKEN}"},
            "controlUi": {"enabled": False},
            "reload": {"mode": "off"},
        },
        "update": {"checkOnStart": False},
        "browser": {"enabled": False},
        "commands": dict.fromkeys(("config", "bash", "debug", "restart", "plugins", "mcp"), False),
        "plugins": {"allow": ["telegram", "memory-core"]},
        "tools": {
            "profile": "minimal",
            "alsoAllow": ["group:fs", "group:memory", "group:web", "cron", "message"],
            "deny": ["group:runtime", "group:ui", "group:nodes", "gateway"],
            "fs": {"workspaceOnly": True},
        },
        "models": {
            "mode": "replace",
            "catalogRefresh": {"enabled": False},
            "providers": {
                _PROVIDER: {
                    "baseUrl": model_url,
                    "apiKey": "${LLM_API_KEY}",
                    "api": "openai-completions",
                    "models": [
                        {
                            "id": model,
                            "name": model,
                            "reasoning": False,
                            "input": ["text", "image"],
                            "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
                            "contextWindow": _CONTEXT_WINDOW,
                            "maxTokens": _MAX_TOKENS,
                        }
                    ],
                }
            },
        },
        "agents": {"defaults": defaults},
        "channels": {
            "telegram": {
                "enabled": True,
                "botToken": "${TELEGRAM_BOT_TOKEN}",
                "apiRoot": f"{egress_url}/{tenant.id}",
                "dmPolicy": "allowlist",
                "allowFrom": [str(chat_id)],
                "groupPolicy": "disabled",
                "configWrites": False,
                "streaming": {"mode": "off"},
                "commands": {"native": False, "nativeSkills": False},
                # OpenClaw registers this at its apiRoot on each start; the router answers and ignores it.
                "webhookUrl": f"https://nbhd.invalid/{tenant.id}",
                "webhookSecret": "${TG_WEBHOOK_SECRET}",
                "webhookPath": WEBHOOK_PATH,
                "webhookHost": "${OPENCLAW_WEBHOOK_HOST}",
                "webhookPort": WEBHOOK_PORT,
            }
        },
    }


def model(configuration: dict[str, Any]) -> str:
    """The model of a configuration that ``config`` made. Raises ``LookupError`` or ``TypeError`` for any other one."""
    primary: str = configuration["agents"]["defaults"]["model"]["primary"]
    return primary.split("/", 1)[1]


def environment(configuration: dict[str, Any], secret_version: str) -> list[dict[str, str]]:
    """The container's variables, in a stable order.

    A changed secret alone makes no new revision, so its version is a variable: rotating then replaces the container.
    """
    plain = {
        "OPENCLAW_CONFIG_JSON": json.dumps(configuration, sort_keys=True, separators=(",", ":")),
        "OPENCLAW_CONFIG_READONLY": "1",
        "OPENCLAW_DISABLE_BONJOUR": "1",
        "OPENCLAW_EXEC_SHELL_SNAPSHOT": "0",
        "OPENCLAW_NO_AUTO_UPDATE": "1",
        "OPENCLAW_NO_RESPAWN": "1",
        "OPENCLAW_WEBHOOK_HOST": "0.0.0.0",  # noqa: S104 - the container's own network; the ingress must reach it
        "NBHD_SECRET_VERSION": secret_version,
    }
    variables = [{"name": name, "value": value} for name, value in plain.items()]
    return [*variables, {"name": "NBHD_CREDENTIALS", "secretRef": SECRET_NAME}]
