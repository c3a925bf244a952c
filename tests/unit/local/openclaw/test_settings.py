from __future__ import annotations

import json
from typing import Any

import pytest

from nbhd_local.openclaw.settings import ConfigError, load


def test_credentials_become_variables_that_the_configuration_names(environ: Any) -> None:
    environment = environ(apiRoot="http://router/t7/bot7000001:abc/")
    settings = load(environment)
    assert settings.bot_token == environment["TELEGRAM_BOT_TOKEN"]
    assert settings.webhook_secret == environment["TG_WEBHOOK_SECRET"]
    assert "NBHD_CREDENTIALS" not in environment
    assert (settings.api_root, settings.persona) == ("http://router/t7", "Ada")
    assert settings.masked == (environment["TELEGRAM_BOT_TOKEN"], environment["LLM_API_KEY"])
    assert not [secret for secret in settings.masked if secret in repr(settings)]


def test_defaults_are_openclaws(environ: Any) -> None:
    environment = environ()
    config = json.loads(environment["OPENCLAW_CONFIG_JSON"])
    del config["channels"]["telegram"]["webhookPort"], config["messages"], config["agents"]
    environment["OPENCLAW_CONFIG_JSON"] = json.dumps(config)
    settings = load(environment)
    assert (settings.webhook_host, settings.webhook_port) == ("127.0.0.1", 8787)
    assert (settings.webhook_path, settings.merge_seconds) == ("/telegram-webhook", 0.3)


@pytest.mark.parametrize(
    ("telegram", "complaint"),
    [
        ({"bogus": 1}, "unknown key channels.telegram.bogus"),
        ({"allowFrom": []}, "non-empty allowFrom"),
        ({"dmPolicy": "everyone"}, "dmPolicy must be one of"),
        ({"groupPolicy": "none"}, "groupPolicy must be one of"),
        ({"webhookSecret": None}, "webhookSecret has no value"),
        ({"botToken": "${MISSING}"}, "botToken has no value"),
        ({"webhookUrl": ""}, "webhookUrl is missing"),
        ({"webhookPort": 70000}, "must be a port number"),
        ({"webhookHost": "${OPENCLAW_WEBHOOK_HOST}"}, "names a variable that is not set"),
        ({"enabled": False}, "not enabled"),
    ],
)
def test_a_telegram_channel_that_cannot_work_is_refused(environ: Any, telegram: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load(environ(**telegram))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"telegram": {}}, "unknown key telegram"),
        ({"gateway": {}}, "gateway.mode must be set"),
        ({"gateway": {"mode": "local", "color": "red"}}, "unknown key gateway.color"),
        ({"gateway": {"mode": "local", "auth": {"token": "${NONE}"}}}, "gateway.auth.token has no value"),
        ({"models": {"providers": {"a": {"apiKey": "${NONE}"}}}}, "apiKey has no value"),
    ],
)
def test_a_configuration_that_openclaw_refuses_is_refused(environ: Any, change: Any, complaint: str) -> None:
    environment = environ()
    environment["OPENCLAW_CONFIG_JSON"] = json.dumps(json.loads(environment["OPENCLAW_CONFIG_JSON"]) | change)
    with pytest.raises(ConfigError, match=complaint):
        load(environment)


@pytest.mark.parametrize("text", ["", "[]", "{'a': 1}"])
def test_a_configuration_that_is_none_is_refused(environ: Any, text: str) -> None:
    with pytest.raises(ConfigError):
        load(environ() | {"OPENCLAW_CONFIG_JSON": text})
    with pytest.raises(ConfigError, match="NBHD_CREDENTIALS"):
        load(environ() | {"NBHD_CREDENTIALS": text})
