"""``kubectl nbhd new``: a Tenant with a fresh identity, for somebody whom no Stripe customer stands behind.

It is printed, so that it can go to Git; the identity in it is made once and never used again. ``provision.py`` creates
the same in the cluster.
"""

from __future__ import annotations

import base64
import re
import secrets
from typing import Any

from nbhd_cli.errors import WrongUsageError
from nbhd_crds.api.meta import API_VERSION
from nbhd_crds.api.tenant import Tenant

_NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")


def fresh_id() -> str:
    """A new ``spec.id``: 20 characters with 100 random bits, as those of Stripe customers."""
    return base64.b32encode(secrets.token_bytes(13))[:20].decode().lower()


def manifest(
    name: str,
    *,
    namespace: str | None = None,
    plan: str | None = None,
    cell: str | None = None,
    complimentary: bool = False,
) -> dict[str, Any]:
    """The Tenant as JSON. Raises ``WrongUsageError`` for a name that Kubernetes would refuse."""
    for given in (name, plan, cell):
        if given is not None and not _NAME.match(given):
            raise WrongUsageError(f'"{given}" is no name: lower-case letters, digits, "-" and "."')
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    spec: dict[str, Any] = {"id": fresh_id()}
    if plan:
        spec["planRef"] = {"name": plan}
    if cell:
        spec["cellRef"] = {"name": cell}
    if complimentary:
        spec["complimentary"] = True
    return {"apiVersion": API_VERSION, "kind": Tenant.kind, "metadata": metadata, "spec": spec}
