"""``kubectl nbhd link``: mints a link for a Tenant, as the welcome page does.

The key is read from its Secret with the person's own credentials, so RBAC decides who may connect a chat to a Tenant.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import io
import sys

import segno
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from nbhd_cli.access import Access
from nbhd_cli.errors import CommandError
from nbhd_cli.output import document, say
from nbhd_crds.api.tenant import Tenant
from nbhd_crds.client import is_not_found
from nbhd_crds.identity import LINK_LIFETIME, Keyring, account_code, mint_link

SECRET = "nbhd-link-keys"  # noqa: S105 - the name of a Secret
SECRET_KEY = "keys"  # noqa: S105
CONFIG_MAP = "nbhd-platform"
_TIMEOUT = 15.0
_ON_BLACK, _RESET = "\x1b[97;40m", "\x1b[0m"


async def link(access: Access, name: str, *, system: str, output: str, qr: bool, now: datetime.datetime) -> None:
    """Mints a link with the key and the bot's name from the namespace ``system``.

    Prints the link on stdout, and on stderr its QR code and what a person should know about it. Raises
    ``CommandError``.
    """
    tenant = await access.get(Tenant, name)
    if tenant.deleting:
        raise CommandError(f'tenant "{name}" is being deleted')
    core = client.CoreV1Api(access.api)
    keys = await _keys(core, system)
    platform, bot = await _platform(core, system)
    generation = tenant.spec.telegram.generation if tenant.spec.telegram else 0
    url = f"https://t.me/{bot}?start={mint_link(keys, platform, tenant.spec.id, generation, now)}"
    code = account_code(tenant.spec.id)
    if output == "link":
        sys.stdout.write(url + "\n")
    else:
        expires = (now + LINK_LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ")
        sys.stdout.write(document({"link": url, "account": code, "expires": expires}, output))
    if qr:
        sys.stderr.write(picture(url))
    say(
        f"Valid for 15 minutes; the bot will ask to connect account {code}."
        " Give it to the subscriber only: whoever confirms it gets the assistant."
    )
    if tenant.spec.telegram:
        say("A chat is connected already; confirming this link moves the assistant to another one.")


def picture(url: str) -> str:
    """The QR code for a terminal of any colour: two modules a character, white on black."""
    drawn = io.StringIO()
    segno.make(url, error="m", micro=False).terminal(drawn, border=2, compact=True)
    return "".join(f"{_ON_BLACK}{line}{_RESET}\n" for line in drawn.getvalue().splitlines())


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
