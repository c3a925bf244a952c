"""The ``Stripe-Signature`` header, made by our own hand so that the real library's check means something."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable


def header(body: bytes, secrets: Iterable[str], timestamp: int) -> str:
    """``t=...,v1=...`` with one ``v1`` for each secret; during the roll of a secret there are two."""
    signed = str(timestamp).encode() + b"." + body
    signatures = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={timestamp}", *(f"v1={signature}" for signature in signatures)])
