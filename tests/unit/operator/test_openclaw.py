"""The gateway's configuration: the owner alone, no secret, stable."""

from __future__ import annotations

import json

from nbhd_operator import openclaw
from nbhd_operator.resources import secret
from tests.unit.operator import make

TENANT = make.tenant(telegram=make.telegram(42), preferences={"timeZone": "Europe/Berlin"})


def built() -> dict[str, object]:
    return openclaw.config(
        TENANT.spec, 42, "anthropic/m-1", egress_url="http://egress.test", model_url="http://model.test/v1"
    )


def test_only_the_owner_may_talk_to_it() -> None:
    channel = json.loads(json.dumps(built()))["channels"]["telegram"]
    assert channel["dmPolicy"] == "allowlist"
    assert channel["allowFrom"] == ["42"]
    assert channel["groupPolicy"] == "disabled"
    assert channel["apiRoot"] == f"http://egress.test/{TENANT.spec.id}"
    assert (channel["webhookPath"], channel["webhookPort"]) == ("/telegram-webhook", 8787)


def test_secrets_are_placeholders() -> None:
    text = json.dumps(built())
    values = json.loads(secret.bundle(TENANT, make.PLATFORM, make.RINGS).text)
    assert sorted(values) == ["LLM_API_KEY", "OPENCLAW_GATEWAY_TOKEN", "TELEGRAM_BOT_TOKEN", "TG_WEBHOOK_SECRET"]
    for name, value in values.items():
        assert f"${{{name}}}" in text
        assert value not in text


def test_the_model_goes_through_the_platforms_gateway() -> None:
    found = json.loads(json.dumps(built()))
    assert found["agents"]["defaults"]["model"]["primary"] == "nbhd/anthropic/m-1"
    provider = found["models"]["providers"]["nbhd"]
    assert provider["baseUrl"] == "http://model.test/v1"
    assert [model["id"] for model in provider["models"]] == ["anthropic/m-1"]


def test_the_environment_names_the_secrets_version_and_carries_the_configuration() -> None:
    variables = {v["name"]: v for v in openclaw.environment(built(), "v1")}
    assert json.loads(variables["OPENCLAW_CONFIG_JSON"]["value"]) == built()
    assert variables["NBHD_SECRET_VERSION"]["value"] == "v1"
    assert variables["NBHD_CREDENTIALS"] == {"name": "NBHD_CREDENTIALS", "secretRef": "credentials"}
    assert openclaw.environment(built(), "v1") == openclaw.environment(built(), "v1")
