"""``kubectl nbhd link``: mints a link for a Tenant, as the welcome page does.

The key is read from its Secret with the person's own credentials, so RBAC decides who may connect a chat to a Tenant.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import sys

from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from nbhd_cli.errors import CommandError
from nbhd_crds.api.tenant import Tenant
from nbhd_crds.client import Objects, is_not_found
from nbhd_crds.identity import Keyring, account_code, mint_link

SECRET = "nbhd-link-keys"  # noqa: S105 - the name of a Secret
SECRET_KEY = "keys"  # noqa: S105
CONFIG_MAP = "nbhd-platform"
_TIMEOUT = 15.0


async def link(api: client.ApiClient, namespace: str, name: str, *, system: str) -> None:
    """Mints a link with the key and the bot's name from the namespace ``system``.

    Prints the link on stdout and what a person should know about it on stderr. Raises
    ``CommandError``.
    """
    tenant = await Objects(api, Tenant, Tenant.plural).get(namespace, name)
    if tenant is None:
        raise CommandError(f'tenant "{name}" not found in namespace "{namespace}"')
    if tenant.deleting:
        raise CommandError(f'tenant "{name}" is being deleted')
    core = client.CoreV1Api(api)
    keys = await _keys(core, system)
    platform, bot = await _platform(core, system)
    generation = tenant.spec.telegram.generation if tenant.spec.telegram else 0
    token = mint_link(keys, platform, tenant.spec.id, generation, datetime.datetime.now(datetime.UTC))
    sys.stdout.write(f"https://t.me/{bot}?start={token}\n")
    sys.stderr.write(
        f"valid for 15 minutes; the bot will ask to connect account {account_code(tenant.spec.id)}."
        " Give it to the subscriber only: whoever confirms it gets the assistant.\n"
    )
    if tenant.spec.telegram:
        sys.stderr.write("note: a chat is connected already; confirming this link moves the assistant to another one\n")


async def _keys(core: client.CoreV1Api, system: str) -> Keyring:
    try:
        secret = await core.read_namespaced_secret(SECRET, system, _request_timeout=_TIMEOUT)
    except ApiException as error:
        raise CommandError(_why(error, "secret", SECRET, system)) from None
    encoded = (secret.data or {}).get(SECRET_KEY, "")
    try:
        return Keyring.parse("link", base64.b64decode(encoded, validate=True).decode().strip())
    except (binascii.Error, ValueError) as error:
        raise CommandError(f'secret "{SECRET}", key "{SECRET_KEY}": {_safe(error)}') from None


async def _platform(core: client.CoreV1Api, system: str) -> tuple[str, str]:
    try:
        found = await core.read_namespaced_config_map(CONFIG_MAP, system, _request_timeout=_TIMEOUT)
    except ApiException as error:
        raise CommandError(_why(error, "configmap", CONFIG_MAP, system)) from None
    data = found.data or {}
    missing = [key for key in ("platformId", "botUsername") if not data.get(key)]
    if missing:
        raise CommandError(f'configmap "{CONFIG_MAP}" in namespace "{system}" lacks {" and ".join(missing)}')
    return data["platformId"], data["botUsername"]


def _why(error: ApiException, kind: str, name: str, system: str) -> str:
    if is_not_found(error):
        return f'{kind} "{name}" not found in namespace "{system}": is the platform installed?'
    if error.status == 403:
        return f'you may not read {kind} "{name}" in namespace "{system}"'
    return f'reading {kind} "{name}": the server answered {error.status} {error.reason}'


def _safe(error: Exception) -> str:
    """The text of an error of ours; those of decoders quote what they read."""
    return str(error) if type(error) is ValueError else "is not readable"
