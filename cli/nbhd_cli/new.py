"""``kubectl nbhd new``: a Tenant with a fresh identity, for somebody whom no Stripe customer stands behind.

Printing is the default, so that the manifest can go to Git; the identity in it is made once and never used again.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import sys
from typing import Any

import yaml
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from nbhd_cli.errors import CommandError
from nbhd_crds.api.meta import API_VERSION, GROUP, VERSION
from nbhd_crds.api.tenant import Tenant
from nbhd_crds.client import is_conflict

_NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
_TIMEOUT = 15.0


def fresh_id() -> str:
    """A new ``spec.id``: 20 characters with 100 random bits, as those of Stripe customers."""
    return base64.b32encode(secrets.token_bytes(13))[:20].decode().lower()


def manifest(name: str, *, plan: str | None = None, complimentary: bool = False) -> dict[str, Any]:
    """The Tenant as JSON. Raises ``CommandError`` for a name that Kubernetes would refuse."""
    for given in (name, plan):
        if given is not None and not _NAME.match(given):
            raise CommandError(f'"{given}" is no name: lower-case letters, digits, "-" and "."')
    spec: dict[str, Any] = {"id": fresh_id()}
    if plan:
        spec["planRef"] = {"name": plan}
    if complimentary:
        spec["complimentary"] = True
    return {"apiVersion": API_VERSION, "kind": Tenant.kind, "metadata": {"name": name}, "spec": spec}


def render(document: dict[str, Any], namespace: str | None) -> str:
    """The manifest as YAML, with the namespace if one was named."""
    metadata = document["metadata"] | ({"namespace": namespace} if namespace else {})
    return str(yaml.safe_dump(document | {"metadata": metadata}, sort_keys=False))


async def create(api: client.ApiClient, namespace: str, document: dict[str, Any]) -> None:
    """Creates the Tenant and says so as kubectl does. Raises ``CommandError`` if the name is taken or it is refused."""
    try:
        await client.CustomObjectsApi(api).create_namespaced_custom_object(
            GROUP, VERSION, namespace, Tenant.plural, document, _request_timeout=_TIMEOUT
        )
    except ApiException as error:
        name = document["metadata"]["name"]
        if is_conflict(error):
            raise CommandError(f'tenant "{name}" exists already in namespace "{namespace}"') from None
        raise CommandError(f'tenant "{name}" was not created: {_message(error)}') from None
    sys.stdout.write(f"tenant.{GROUP}/{document['metadata']['name']} created\n")


def _message(error: ApiException) -> str:
    """What the API server said; it is meant for people."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, TypeError, KeyError):
        return f"{error.status} {error.reason}"
