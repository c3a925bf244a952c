"""Names, derived credentials and link tokens."""

from __future__ import annotations

import base64
import datetime
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbhd_crds.api.tenant import ID_PATTERN
from nbhd_crds.identity import (
    LINK_LIFETIME,
    Keyring,
    LinkError,
    account_code,
    azure_name,
    bot_token,
    mint_link,
    read_link,
    same_secret,
    tenant_id,
)

NOW = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)
OLD, NEW = bytes(32), bytes(range(32))
RING = Keyring("link", {"k2": NEW, "k1": OLD})
IDS = st.from_regex(ID_PATTERN, fullmatch=True)


def encoded(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


@given(st.text(), st.text())
def test_the_id_of_a_customer(platform: str, customer: str) -> None:
    made = tenant_id(platform, customer)
    assert re.fullmatch(ID_PATTERN, made)
    assert len(azure_name(made)) <= 32
    assert made == tenant_id(platform, customer)
    assert made != tenant_id(platform + "x", customer)
    assert made != tenant_id(platform, customer + "x")


def test_the_id_of_a_customer_stays_the_same_for_ever() -> None:
    assert tenant_id("nbhd", "cus_1") == "zzqrlglls63nnyq2pvmc"


def test_the_code_that_people_compare() -> None:
    assert account_code("abcdefgh12345678wxyz") == "78WXYZ"


def test_a_keyring() -> None:
    ring = Keyring.parse("bot", f"k2:{encoded(NEW)}, k1:{encoded(OLD)}")
    assert (ring.current, ring.keys) == ("k2", {"k2": NEW, "k1": OLD})
    assert encoded(NEW) not in repr(ring)
    assert repr(NEW) not in repr(ring)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "looks like"),
        ("topsecret", "looks like"),
        (f":{encoded(NEW)}", "looks like"),
        (f"K1:{encoded(NEW)}", "looks like"),
        ("k1:topsecret", "not base64url"),
        ("k1:!", "not"),
        (f"k1:{encoded(NEW)},k1:{encoded(OLD)}", "twice"),
        (f"k1:{encoded(NEW)},", "looks like"),
    ],
)
def test_a_malformed_keyring_is_not_quoted(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        Keyring.parse("bot", text)
    assert "topsecret" not in str(caught.value)
    assert encoded(NEW) not in str(caught.value)


def test_derived_secrets_differ_in_every_input() -> None:
    bot, webhook = Keyring("bot", RING.keys), Keyring("webhook", RING.keys)
    made = [
        bot.derive("nbhd", "abcdefgh", 1),
        bot.derive("nbhd", "abcdefgh", 2),
        bot.derive("nbhd", "abcdefgi", 1),
        bot.derive("other", "abcdefgh", 1),
        bot.derive("nbhd", "abcdefgh", 1, "k1"),
        webhook.derive("nbhd", "abcdefgh", 1),
    ]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", secret) for secret in made)
    assert made[0] == bot.derive("nbhd", "abcdefgh", 1, "k2")
    with pytest.raises(KeyError):
        bot.derive("nbhd", "abcdefgh", 1, "k3")


def test_a_bot_token_looks_like_telegrams() -> None:
    assert re.fullmatch(r"7000000001:[A-Za-z0-9_-]{35}", bot_token(RING, 7000000001, "nbhd", "abcdefgh", 1))


def test_comparing_secrets() -> None:
    assert same_secret("b", ["a", "b"])
    assert not same_secret("c", ["a", "b"])
    assert not same_secret("a", [])
    assert not same_secret("é", ["a"])


@given(IDS, st.integers(0, 2**31 - 1))
def test_a_link_says_what_it_was_made_for(spec_id: str, generation: int) -> None:
    token = mint_link(RING, "nbhd", spec_id, generation, NOW)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", token)
    link = read_link(RING, "nbhd", token, NOW)
    assert (link.spec_id, link.generation, link.expires) == (spec_id, generation, NOW + LINK_LIFETIME)


def test_a_link_of_the_key_before_still_counts() -> None:
    token = mint_link(Keyring("link", {"k1": OLD}), "nbhd", "abcdefgh", 0, NOW)
    assert read_link(RING, "nbhd", token, NOW).spec_id == "abcdefgh"


def test_a_link_expires() -> None:
    token = mint_link(RING, "nbhd", "abcdefgh", 0, NOW)
    read_link(RING, "nbhd", token, NOW + LINK_LIFETIME - datetime.timedelta(seconds=1))
    with pytest.raises(LinkError, match="Expired"):
        read_link(RING, "nbhd", token, NOW + LINK_LIFETIME)


def test_a_link_of_another_platform_or_key_is_forged() -> None:
    token = mint_link(RING, "nbhd", "abcdefgh", 0, NOW)
    for ring, platform in ((RING, "other"), (Keyring("link", {"k3": b"x" * 32}), "nbhd")):
        with pytest.raises(LinkError, match="Forged"):
            read_link(ring, platform, token, NOW)


@given(st.integers(0, 200), st.characters(codec="ascii"))
def test_no_changed_character_passes(position: int, character: str) -> None:
    token = mint_link(RING, "nbhd", "abcdefgh12345678wxyz", 7, NOW)
    at = position % len(token)
    changed = token[:at] + character + token[at + 1 :]
    if changed != token:
        with pytest.raises(LinkError):
            read_link(RING, "nbhd", changed, NOW)


@given(st.text(max_size=80) | st.text(alphabet="abcABC019_-=", max_size=80))
def test_no_text_breaks_it(text: str) -> None:
    with pytest.raises(LinkError):
        read_link(RING, "nbhd", text, NOW)


def test_a_link_is_for_a_tenant_id() -> None:
    with pytest.raises(ValueError, match="not a tenant id"):
        mint_link(RING, "nbhd", "NOT AN ID", 0, NOW)
