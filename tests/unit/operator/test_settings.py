"""Settings: what stops the operator at start, in words that name the setting."""

from __future__ import annotations

import base64

import pytest

from nbhd_crds.settings import read
from nbhd_operator.settings import OperatorSettings

KEY = "k1:" + base64.urlsafe_b64encode(b"x" * 32).decode().rstrip("=")
GOOD = {
    "NBHD_BOT_KEYS": KEY,
    "NBHD_WEBHOOK_KEYS": KEY,
    "NBHD_GATEWAY_KEYS": KEY,
    "NBHD_MODEL_KEYS": KEY,
    "NBHD_BOT_ID": "1",
    "NBHD_EGRESS_URL": "http://egress/",
    "NBHD_MODEL_URL": "http://model/",
    "AZURE_TENANT_ID": "t",
    "AZURE_CLIENT_ID": "c",
    "AZURE_FEDERATED_TOKEN_FILE": "/var/run/token",
}


def test_the_defaults_are_microsofts() -> None:
    settings = read(OperatorSettings, GOOD)
    assert settings.arm_url == "https://management.azure.com"
    assert settings.platform.egress_url == "http://egress"
    assert settings.vault_allowed("https://v.vault.azure.net")
    assert not settings.vault_allowed("https://v.vault.azure.net.evil.example")


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_missing_setting_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: is required"):
        read(OperatorSettings, {k: v for k, v in GOOD.items() if k != name})


@pytest.mark.parametrize("name", ["AZURE_AUTHORITY_HOST", "AZURE_ARM_URL"])
def test_a_foreign_host_needs_azure_mock(name: str) -> None:
    foreign = GOOD | {name: "https://127.0.0.1:1"}
    with pytest.raises(ValueError, match=name):
        read(OperatorSettings, foreign)
    assert read(OperatorSettings, foreign | {"AZURE_MOCK": "true"}).vault_allowed("https://127.0.0.1:2")


def test_no_key_shows_when_settings_are_printed() -> None:
    assert KEY.partition(":")[2] not in repr(read(OperatorSettings, GOOD))
