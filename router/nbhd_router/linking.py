"""Connecting a chat to an account: the deep link, the question in the chat, and the write that spends the link.

``commands`` calls it. Nothing pending is stored: the link and the button are signed, and applying ``spec.telegram``
with the next generation, on exactly the version that was seen, makes both of them worthless afterwards.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api.tenant import Telegram as Linked
from nbhd_crds.api.tenant import Tenant
from nbhd_crds.client import ChangedError, GoneError
from nbhd_crds.identity import Keyring, Link, LinkError, account_code, read_link
from nbhd_router import confirmation
from nbhd_router.directory import Directory, TenantView, view
from nbhd_router.errors import TryLaterError
from nbhd_router.texts import Text

log = logging.getLogger(__name__)

MANAGER = "nbhd-router"
TRIES = 10  # links that do not work, per user and ten minutes
_WINDOW = datetime.timedelta(minutes=10)
_REMEMBERED = 10_000


class TenantStore(Protocol):
    """The part of ``nbhd_crds.client.Tenants`` that linking needs."""

    async def get(self, namespace: str, name: str) -> Tenant | None:
        """The Tenant as it is now."""
        ...

    async def apply_part(self, seen: Tenant, part: str, value: object, manager: str) -> Tenant:
        """Applies a part of the spec, or raises ``ChangedError`` or ``GoneError``."""
        ...


@dataclass(frozen=True)
class Reply:
    """What to tell the chat; ``confirm`` is the callback data of the "Connect" button, if there is one."""

    text: Text
    account: str = ""
    confirm: str = ""


class Tries:
    """Counts links that do not work, by user, so that nobody can guess at leisure."""

    def __init__(self, clock: Callable[[], datetime.datetime]) -> None:
        self._clock = clock
        self._since: dict[int, tuple[datetime.datetime, int]] = {}

    def exhausted(self, user: int) -> bool:
        """True while the user has to wait."""
        since, count = self._since.get(user, (self._clock(), 0))
        return count >= TRIES and abs(self._clock() - since) < _WINDOW

    def failed(self, user: int) -> None:
        """Notes one more."""
        now = self._clock()
        since, count = self._since.pop(user, (now, 0))
        self._since[user] = (now, 1) if abs(now - since) >= _WINDOW else (since, count + 1)
        while len(self._since) > _REMEMBERED:
            del self._since[next(iter(self._since))]


class Linking:
    """The dialogue. Methods return what to say; ``TryLaterError`` when the API server does not answer."""

    def __init__(
        self,
        ring: Keyring,
        platform: str,
        directory: Directory,
        tenants: TenantStore,
        *,
        clock: Callable[[], datetime.datetime],
    ) -> None:
        self._ring = ring
        self._platform = platform
        self._directory = directory
        self._tenants = tenants
        self._clock = clock
        self._tries = Tries(clock)

    def open(self, token: str, chat: int, user: int) -> Reply:
        """A link was opened in a private chat: asks whether to connect, or says why not."""
        if self._tries.exhausted(user):
            return Reply(Text.TOO_MANY_TRIES)
        try:
            link = read_link(self._ring, self._platform, token, self._clock())
        except LinkError as error:
            self._tries.failed(user)
            return Reply(_REFUSALS[error.reason])
        tenant = self._find(link)
        if isinstance(tenant, Reply):
            self._tries.failed(user)
            return tenant
        account = account_code(link.spec_id)
        if tenant.spec.telegram and tenant.spec.telegram.chat_id == chat:
            return Reply(Text.ALREADY_CONNECTED, account)
        if tenant.generation != link.generation:
            return Reply(Text.LINK_USED)
        taken = self._rival(chat, link.spec_id)
        if taken:
            return Reply(Text.CHAT_TAKEN, taken)
        return Reply(Text.CONFIRM, account, confirmation.mint(self._ring, self._platform, link, user))

    async def confirm(self, data: str, chat: int, user: int) -> Reply:
        """ "Connect" was pressed in a private chat: connects it, or says why not."""
        try:
            link = confirmation.read(self._ring, self._platform, data, user, self._clock())
        except LinkError as error:
            return Reply(Text.LINK_OTHER_PERSON if error.reason == "Forged" else _REFUSALS[error.reason])
        known = self._find(link)
        if isinstance(known, Reply):
            return known
        wanted = Linked(chat_id=chat, user_id=user, generation=link.generation + 1)
        try:
            tenant = await self._tenants.get(known.metadata.namespace, known.metadata.name)
            if tenant is None or tenant.deleting or tenant.spec.id != link.spec_id:
                return Reply(Text.LINK_NO_ACCOUNT)
            if tenant.spec.telegram != wanted:  # else it was done before, and a restart kept us from saying so
                generation = tenant.spec.telegram.generation if tenant.spec.telegram else 0
                if generation != link.generation:
                    return Reply(Text.LINK_USED)
                taken = self._rival(chat, link.spec_id)
                if taken:
                    return Reply(Text.CHAT_TAKEN, taken)
                tenant = await self._tenants.apply_part(tenant, "telegram", wanted.wire(), MANAGER)
        except ChangedError:
            return Reply(Text.LINK_USED)
        except GoneError:
            return Reply(Text.LINK_NO_ACCOUNT)
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("not linked yet", extra={"tenant": link.spec_id, "error": type(error).__name__})
            raise TryLaterError("API server") from None
        self._directory.set(view(tenant))  # the watch says so too, a moment later
        log.info("chat linked", extra={"tenant": link.spec_id, "generation": wanted.generation})
        entitled = tenant.status.entitlement is None or tenant.status.entitlement.serves
        return Reply(Text.CONNECTED if entitled else Text.CONNECTED_INACTIVE, account_code(link.spec_id))

    def _find(self, link: Link) -> TenantView | Reply:
        tenant = self._directory.tenant(link.spec_id)
        if tenant is None and not self._directory.fresh():
            raise TryLaterError("directory")
        if tenant is None or tenant.deleting:
            return Reply(Text.LINK_NO_ACCOUNT)
        return tenant

    def _rival(self, chat: int, spec_id: str) -> str:
        """Account code of another Tenant that has the chat, or an empty string."""
        others = [claim for claim in self._directory.claims(chat) if claim.spec.id != spec_id]
        return account_code(others[0].spec.id) if others else ""


_REFUSALS = {"Malformed": Text.LINK_BROKEN, "Forged": Text.LINK_BROKEN, "Expired": Text.LINK_EXPIRED}
