"""Settings: what is missing or malformed is named in one line that never quotes a secret."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from nbhd_crds.settings import read
from nbhd_router.settings import RouterSettings

RING = "k1:" + base64.urlsafe_b64encode(b"k" * 32).decode()
GOOD = {
    "TELEGRAM_BOT_TOKEN": "123456:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "TELEGRAM_WEBHOOK_SECRET": "first-secret-value,second-secret-value",
    "NBHD_PUBLIC_URL": "https://bot.example/",
    "NBHD_SPOOL_PATH": "/var/lib/nbhd/spool.sqlite",
    "FRONTEND_URL": "https://account.example",
    "NBHD_BOT_KEYS": RING,
    "NBHD_WEBHOOK_KEYS": RING,
    "NBHD_LINK_KEYS": RING,
}


def test_a_complete_environment() -> None:
    found = read(RouterSettings, GOOD)
    assert found.bot_id == 123456
    assert found.accepted_secrets == ("first-secret-value", "second-secret-value")
    assert found.public_url == "https://bot.example"
    for secret in (GOOD["TELEGRAM_BOT_TOKEN"], "first-secret-value"):
        assert secret not in repr(found)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: is required"):
        read(RouterSettings, {key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TELEGRAM_BOT_TOKEN", "not-a-token-value"),
        ("TELEGRAM_WEBHOOK_SECRET", "short"),
        ("TELEGRAM_WEBHOOK_SECRET", "first-secret-value, spaced"),
        ("NBHD_PUBLIC_URL", "bot.example"),
        ("NBHD_LISTEN", "8080"),
        ("NBHD_BOT_KEYS", "k1:zzzz-not-a-key"),
    ],
)
def test_what_is_malformed_is_named_and_not_quoted(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: ") as caught:
        read(RouterSettings, GOOD | {name: value})
    assert value not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(GOOD["TELEGRAM_BOT_TOKEN"] + "\n")
    environment = {key: value for key, value in GOOD.items() if key != "TELEGRAM_BOT_TOKEN"}
    assert read(RouterSettings, environment | {"TELEGRAM_BOT_TOKEN_FILE": str(file)}).bot_id == 123456
