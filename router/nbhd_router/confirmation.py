"""The data behind the "Connect" button: 64 bytes that say what was asked, of whom, and until when.

Made when a valid link is opened and read when the button is pressed (``linking``). It is signed, so nothing has to be
remembered in between, a restart changes nothing, and only the person who was asked can press it.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import struct

from nbhd_crds.identity import Keyring, Link, LinkError
from nbhd_router.update import CALLBACK_PREFIX

DECLINE = f"{CALLBACK_PREFIX}0"
_ACCEPT = f"{CALLBACK_PREFIX}1"
_HEAD = struct.Struct(">II")  # generation, expiry in seconds since 1970
_MAC = 16
_MAX = 64  # Telegram's limit for callback data


def mint(ring: Keyring, platform: str, link: Link, user: int) -> str:
    """Callback data that lets ``user`` confirm ``link`` until the link expires."""
    head = _HEAD.pack(link.generation, int(link.expires.timestamp())) + link.spec_id.encode()
    raw = head + _mac(ring.keys[ring.current], platform, head, user)
    data = _ACCEPT + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    if len(data) > _MAX:
        raise AssertionError("callback data must fit Telegram's 64 bytes")
    return data


def read(ring: Keyring, platform: str, data: str, user: int, now: datetime.datetime) -> Link:
    """The link that ``user`` confirms. Raises ``LinkError``."""
    encoded = data.removeprefix(_ACCEPT)
    try:
        raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        generation, expires = _HEAD.unpack(raw[: _HEAD.size])
        spec_id = raw[_HEAD.size : -_MAC].decode("ascii")
    except (ValueError, struct.error):
        raise LinkError("Malformed") from None
    head, mac = raw[:-_MAC], raw[-_MAC:]
    good = [hmac.compare_digest(mac, _mac(key, platform, head, user)) for key in ring.keys.values()]
    if not any(good):
        raise LinkError("Forged")
    expiry = datetime.datetime.fromtimestamp(expires, datetime.UTC)
    if expiry <= now:
        raise LinkError("Expired")
    return Link(spec_id, generation, expiry)


def _mac(key: bytes, platform: str, head: bytes, user: int) -> bytes:
    message = f"confirm\0{platform}\0{user}\0".encode() + head
    return hmac.new(key, message, hashlib.sha256).digest()[:_MAC]
