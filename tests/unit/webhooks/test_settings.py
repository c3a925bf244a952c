"""Which settings the service accepts, and the one line that it stops with otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbhd_crds.settings import read
from nbhd_webhooks.settings import WebhooksSettings

KEY = "a1:" + "A" * 43
GOOD = {
    "STRIPE_TEST_SECRET_KEY": "sk_test_abc",
    "STRIPE_WEBHOOK_SECRETS": "whsec_one, whsec_two",
    "STRIPE_PRICE_BASIC": "price_basic",
    "STRIPE_PRICE_PLUS": "price_plus",
    "FRONTEND_URL": "https://nbhd.example/",
    "TELEGRAM_BOT_USERNAME": "nbhd_bot",
    "NBHD_LINK_KEYS": KEY,
    "NBHD_NAMESPACE": "tenants",
}


def test_what_is_needed_and_no_more() -> None:
    settings = read(WebhooksSettings, GOOD)
    assert settings.api_key.get_secret_value() == "sk_test_abc"
    assert [secret.get_secret_value() for secret in settings.signing_secrets] == ["whsec_one", "whsec_two"]
    assert settings.stripe_url == "https://api.stripe.com"
    assert settings.frontend_url == "https://nbhd.example"
    assert settings.plan_prices == {"basic": "price_basic", "plus": "price_plus"}


def test_live_mode_uses_the_live_key() -> None:
    env = GOOD | {"STRIPE_LIVE_MODE": "true", "STRIPE_LIVE_SECRET_KEY": "rk_live_abc"}
    assert read(WebhooksSettings, env).api_key.get_secret_value() == "rk_live_abc"


def test_secrets_from_files(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY + "\n")
    env = {k: v for k, v in GOOD.items() if k != "NBHD_LINK_KEYS"} | {"NBHD_LINK_KEYS_FILE": str(file)}
    assert read(WebhooksSettings, env).link_keys.current == "a1"


@pytest.mark.parametrize("name", sorted(GOOD))
def test_each_required_setting_is_named_when_it_is_missing(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: is required") as caught:
        read(WebhooksSettings, {k: v for k, v in GOOD.items() if k != name})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("STRIPE_TEST_SECRET_KEY", "sk_live_abc", "must begin with sk_test_"),
        ("STRIPE_LIVE_SECRET_KEY", "sk_test_abc", "must begin with sk_live_"),
        ("STRIPE_WEBHOOK_SECRETS", "whsec_one,,whsec_two", "comma-separated"),
        ("STRIPE_WEBHOOK_SECRETS", "topsecret", "comma-separated"),
        ("STRIPE_PRICE_BASIC", "prod_1", "pattern"),
        ("STRIPE_PRICE_PLUS", "price_basic", "another price"),
        ("STRIPE_API_URL", "http://stripe.example", "https://"),
        ("FRONTEND_URL", "http://nbhd.example", "https://"),
        ("FRONTEND_URL", "https://nbhd.example/?a=b", "plain URL"),
        ("FRONTEND_URL", "nbhd.example", "plain URL"),
        ("TELEGRAM_BOT_USERNAME", "@nbhd_bot", "pattern"),
        ("NBHD_LINK_KEYS", "a1:tooshort", "not 32"),
        ("NBHD_NAMESPACE", "Not A Namespace", "pattern"),
        ("NBHD_LISTEN", "8080", "pattern"),
    ],
)
def test_a_malformed_setting_is_named_and_never_quoted(name: str, value: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: .*{reason}") as caught:
        read(WebhooksSettings, GOOD | {name: value})
    assert value not in str(caught.value)


def test_real_money_is_refused_for_an_emulated_cloud() -> None:
    env = GOOD | {"STRIPE_LIVE_MODE": "true", "STRIPE_LIVE_SECRET_KEY": "sk_live_abc", "AZURE_MOCK": "true"}
    with pytest.raises(ValueError, match=r"^STRIPE_LIVE_MODE: must not be true with AZURE_MOCK=true"):
        read(WebhooksSettings, env)


def test_live_mode_without_a_live_key() -> None:
    with pytest.raises(ValueError, match=r"^STRIPE_LIVE_SECRET_KEY: is required when STRIPE_LIVE_MODE is true"):
        read(WebhooksSettings, GOOD | {"STRIPE_LIVE_MODE": "true"})


def test_no_secret_in_the_settings_text() -> None:
    text = repr(read(WebhooksSettings, GOOD | {"STRIPE_LIVE_SECRET_KEY": "sk_live_abc"}))
    assert not [secret for secret in ("sk_test_abc", "sk_live_abc", "whsec_one", "A" * 43) if secret in text]
