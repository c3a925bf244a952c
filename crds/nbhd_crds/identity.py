"""Everything derived from a tenant's identity: names, credentials and link tokens.

Nothing here is stored. A credential is an HMAC of (purpose, platform, ``spec.id``, version) under a purpose key, so
provisioning is repeatable and verifying needs no table; rotation is a higher version or a new key id.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from nbhd_crds.api.tenant import ID_PATTERN

Purpose = Literal["bot", "webhook", "gateway", "model", "link"]

_ID = re.compile(ID_PATTERN)
_KEY_ID = re.compile(r"^[a-z0-9]{1,32}$")
_KEY_BYTES = 32
_BOT_SECRET_LENGTH = 35  # Telegram's own tokens are digits:35 characters, and strict clients check that
_SECRET_LENGTH = 43  # 256 bits in base64url

LINK_LIFETIME = datetime.timedelta(minutes=15)
_LINK_VERSION = 1
_LINK_HEAD = struct.Struct(">BII")  # version, generation, expiry in seconds since 1970
_LINK_MAC = 16
_LINK_MAX = 64  # Telegram's limit for a deep link's payload


class LinkError(Exception):
    """A link token that does not count; ``reason`` is Malformed, Forged or Expired."""

    def __init__(self, reason: Literal["Malformed", "Forged", "Expired"]) -> None:
        super().__init__(reason)
        self.reason = reason


def tenant_id(platform: str, customer_id: str) -> str:
    """``spec.id`` of a Stripe customer: 20 characters (100 bits); the same for every replica that computes it."""
    digest = hashlib.sha256(f"tenant\0{platform}\0{customer_id}".encode()).digest()
    return base64.b32encode(digest)[:20].decode().lower()


def azure_name(spec_id: str) -> str:
    """Name of everything that the tenant owns in Azure; within the 32 characters of a container app's name."""
    return f"nbhd-{spec_id}"


def account_code(spec_id: str) -> str:
    """Short name of the account that people compare in the chat and on the welcome page; not a secret."""
    return spec_id[-6:].upper()


@dataclass(frozen=True)
class Keyring:
    """Keys of one purpose by id; the first one is current, the others still verify."""

    purpose: Purpose
    keys: dict[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, purpose: Purpose, text: str) -> Keyring:
        """Reads ``id:base64url[,id:base64url]``. Raises ``ValueError`` that never quotes a key."""
        keys: dict[str, bytes] = {}
        for part in text.split(","):
            key_id, colon, encoded = part.strip().partition(":")
            if not colon or not _KEY_ID.match(key_id):  # without a colon the whole may be a key: do not quote it
                raise ValueError("a key looks like id:base64url, with an id of lower-case letters and digits")
            try:
                key = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            except (binascii.Error, ValueError):
                raise ValueError(f"key {key_id} is not base64url") from None
            if len(key) != _KEY_BYTES:
                raise ValueError(f"key {key_id} has {len(key)} bytes, not {_KEY_BYTES}")
            if key_id in keys:
                raise ValueError(f"key {key_id} is there twice")
            keys[key_id] = key
        return cls(purpose, keys)

    @property
    def current(self) -> str:
        """Id of the key that new credentials are made with."""
        return next(iter(self.keys))

    def derive(self, platform: str, spec_id: str, version: int, key_id: str | None = None) -> str:
        """The tenant's secret of this purpose, base64url. Raises ``KeyError`` for a key that is not in the ring."""
        key = self.keys[key_id or self.current]
        message = f"{self.purpose}\0{platform}\0{spec_id}\0{version}".encode()
        return _encode(hmac.new(key, message, hashlib.sha256).digest())[:_SECRET_LENGTH]


def bot_token(ring: Keyring, bot_id: int, platform: str, spec_id: str, version: int, key_id: str | None = None) -> str:
    """The stand-in Bot API token that the tenant's container holds instead of the real one."""
    return f"{bot_id}:{ring.derive(platform, spec_id, version, key_id)[:_BOT_SECRET_LENGTH]}"


def same_secret(given: str, accepted: Iterable[str]) -> bool:
    """Constant-time comparison with each accepted secret."""
    raw = given.encode(errors="surrogatepass")  # a header may hold anything
    matches = [hmac.compare_digest(raw, secret.encode()) for secret in accepted]
    return any(matches)


@dataclass(frozen=True)
class Link:
    """What a deep link's token says: which tenant, and which ``spec.telegram.generation`` it was made for."""

    spec_id: str
    generation: int
    expires: datetime.datetime


def mint_link(ring: Keyring, platform: str, spec_id: str, generation: int, now: datetime.datetime) -> str:
    """A signed token of at most 64 characters, valid for 15 minutes, for ``https://t.me/<bot>?start=<token>``.

    ``generation`` is the tenant's present ``spec.telegram.generation`` (0 if never linked): linking raises it, which
    spends every token that was made before.
    """
    if not _ID.match(spec_id):
        raise ValueError("not a tenant id")
    expires = int((now + LINK_LIFETIME).timestamp())
    head = _LINK_HEAD.pack(_LINK_VERSION, generation, expires) + spec_id.encode()
    token = _encode(head + _link_mac(ring.keys[ring.current], platform, head))
    if len(token) > _LINK_MAX:
        raise AssertionError("a link token must fit Telegram's 64 characters")
    return token


def read_link(ring: Keyring, platform: str, token: str, now: datetime.datetime) -> Link:
    """Checks a token's form, signature and expiry. Raises ``LinkError``."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        version, generation, expires = _LINK_HEAD.unpack(raw[: _LINK_HEAD.size])
        spec_id = raw[_LINK_HEAD.size : -_LINK_MAC].decode("ascii")
    except (ValueError, struct.error):
        raise LinkError("Malformed") from None
    if version != _LINK_VERSION or not _ID.match(spec_id) or _encode(raw) != token:
        raise LinkError("Malformed")
    head, mac = raw[:-_LINK_MAC], raw[-_LINK_MAC:]
    good = [hmac.compare_digest(mac, _link_mac(key, platform, head)) for key in ring.keys.values()]
    if not any(good):
        raise LinkError("Forged")
    expiry = datetime.datetime.fromtimestamp(expires, datetime.UTC)
    if expiry <= now:
        raise LinkError("Expired")
    return Link(spec_id, generation, expiry)


def _link_mac(key: bytes, platform: str, head: bytes) -> bytes:
    return hmac.new(key, b"link\0" + platform.encode() + b"\0" + head, hashlib.sha256).digest()[:_LINK_MAC]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
