"""Who a chat belongs to, in memory, fed by the watch on Tenants.

``intake`` notes the owner with each update, ``dispatch`` asks for the route, ``egress`` and ``linking`` ask by
``spec.id``. Where two Tenants claim a chat or an id the operator decides, and its decision is ``status.chatId``.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import msgspec

from nbhd_crds.api.tenant import SERVING, Tenant
from nbhd_crds.client import Meta

K = TypeVar("K")


class TelegramView(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """``spec.telegram``."""

    chat_id: int = 0
    user_id: int = 0
    generation: int = 0


class BillingView(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """``spec.billing``."""

    grace_since: datetime.datetime | None = None
    cancel_at: datetime.datetime | None = None
    ended_at: datetime.datetime | None = None


NO_BILLING = BillingView()


class SpecView(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """The part of the spec that the router reads."""

    id: str
    telegram: TelegramView | None = None
    billing: BillingView = NO_BILLING


class EntitlementView(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """``status.entitlement``."""

    state: str = ""
    reason: str = ""
    until: datetime.datetime | None = None


class CredentialsView(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """``status.credentials``: what the secrets in a container were derived with."""

    version: int
    bot_key: str
    webhook_key: str


class ConditionView(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """One condition."""

    type: str
    status: str
    reason: str


class StatusView(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """The part of the status that the router reads."""

    entitlement: EntitlementView | None = None
    endpoint: str | None = None
    chat_id: int | None = None
    credentials: CredentialsView | None = None
    previous_credentials: CredentialsView | None = None
    conditions: tuple[ConditionView, ...] = ()


class TenantView(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """A Tenant as the router sees it."""

    metadata: Meta
    spec: SpecView
    status: StatusView = StatusView()

    @property
    def generation(self) -> int:
        """``spec.telegram.generation``, 0 if no chat was ever linked."""
        return self.spec.telegram.generation if self.spec.telegram else 0

    @property
    def deleting(self) -> bool:
        """True once a delete was asked for."""
        return self.metadata.deletion_timestamp is not None

    @property
    def entitled(self) -> bool:
        """True while the subscriber has a right to service."""
        return self.status.entitlement is not None and self.status.entitlement.state in SERVING

    @property
    def chat(self) -> int | None:
        """The chat that is both wanted and served; None while they differ."""
        linked = self.spec.telegram
        return linked.chat_id if linked and linked.chat_id == self.status.chat_id else None

    @property
    def accepted_credentials(self) -> tuple[CredentialsView, ...]:
        """Credentials in force, and those before while a new revision starts."""
        found = (self.status.credentials, self.status.previous_credentials)
        return tuple(item for item in found if item is not None)

    def is_stalled(self, reason: str | None = None) -> bool:
        """True if only a person can help (for ``reason``, if that is given)."""
        return any(
            c.type == "Stalled" and c.status == "True" and reason in (None, c.reason) for c in self.status.conditions
        )


def view(tenant: Tenant) -> TenantView:
    """The same view from the general client's object."""
    return msgspec.convert(tenant.wire(), TenantView)


class State(StrEnum):
    """What can be done with a chat's messages."""

    UNKNOWN = "Unknown"  # the index is not complete or not fresh: it cannot say that nobody owns the chat
    NOT_LINKED = "NotLinked"
    AWAITING_PAYMENT = "AwaitingPayment"
    PREPARING = "Preparing"
    READY = "Ready"
    SUSPENDED = "Suspended"
    ENDED = "Ended"
    STALLED = "Stalled"


@dataclass(frozen=True)
class Route:
    """Where a chat's messages go; ``endpoint`` and ``credentials`` are there exactly when the state is READY."""

    state: State
    spec_id: str = ""
    generation: int = 0
    endpoint: str = ""
    credentials: tuple[CredentialsView, ...] = ()


def owner(chat: int, claims: list[TenantView]) -> TenantView | None:
    """The one of the Tenants whose ``spec.telegram`` names the chat that has it; None if there is none yet."""
    confirmed = [claim for claim in claims if claim.status.chat_id == chat]
    if len(confirmed) == 1:
        return confirmed[0]
    return claims[0] if len(claims) == 1 else None


def route(chat: int, claims: list[TenantView], *, fresh: bool) -> Route:
    """Decides from the Tenants whose ``spec.telegram`` names the chat."""
    if not claims:
        return Route(State.NOT_LINKED if fresh else State.UNKNOWN)
    tenant = owner(chat, claims)
    if tenant is None:
        return Route(State.PREPARING)  # until the operator has decided
    state = _state(tenant)
    if state is not State.READY:
        return Route(state, tenant.spec.id, tenant.generation)
    return Route(state, tenant.spec.id, tenant.generation, tenant.status.endpoint or "", tenant.accepted_credentials)


def _state(tenant: TenantView) -> State:
    if tenant.deleting:
        return State.ENDED
    if tenant.status.entitlement is None:
        return State.PREPARING  # the operator has not looked at it yet
    entitlement = tenant.status.entitlement.state
    if entitlement == "Pending":
        return State.AWAITING_PAYMENT
    if entitlement == "Suspended":
        return State.SUSPENDED
    if entitlement == "Ended":
        return State.ENDED
    if tenant.chat is not None and tenant.status.endpoint and tenant.status.credentials:
        return State.READY
    return State.STALLED if tenant.is_stalled() else State.PREPARING


class Directory:
    """All Tenants by chat and by ``spec.id``. ``set`` and ``delete`` are the watch's callbacks."""

    def __init__(
        self,
        fresh: Callable[[], bool] = lambda: True,
        changed: Callable[[int], None] = lambda _chat: None,
    ) -> None:
        """``fresh`` tells whether a miss can be believed; ``changed`` is called with a chat whose route may be new."""
        self.fresh = fresh
        self.changed = changed
        self._by_uid: dict[str, TenantView] = {}
        self._by_chat: dict[int, dict[str, TenantView]] = {}
        self._by_id: dict[str, dict[str, TenantView]] = {}

    def __len__(self) -> int:
        return len(self._by_uid)

    def set(self, tenant: TenantView) -> None:
        """Takes a Tenant's newest version; one that is older than what is known (a watch lags behind) is ignored."""
        uid = tenant.metadata.uid
        before = self._by_uid.get(uid)
        if before is not None:
            if _version(tenant) < _version(before):
                return
            self._drop(before)
        self._by_uid[uid] = tenant
        self._by_id.setdefault(tenant.spec.id, {})[uid] = tenant
        if tenant.spec.telegram:
            self._by_chat.setdefault(tenant.spec.telegram.chat_id, {})[uid] = tenant
        self._tell(before, tenant)

    def delete(self, tenant: TenantView) -> None:
        """Forgets a Tenant."""
        before = self._by_uid.pop(tenant.metadata.uid, None)
        if before is not None:
            self._drop(before)
            self._tell(before, None)

    def _drop(self, tenant: TenantView) -> None:
        _discard(self._by_id, tenant.spec.id, tenant.metadata.uid)
        if tenant.spec.telegram:
            _discard(self._by_chat, tenant.spec.telegram.chat_id, tenant.metadata.uid)

    def _tell(self, *versions: TenantView | None) -> None:
        for chat in {v.spec.telegram.chat_id for v in versions if v is not None and v.spec.telegram}:
            self.changed(chat)

    def route(self, chat: int) -> Route:
        """Where the chat's messages go now."""
        return route(chat, list(self._by_chat.get(chat, {}).values()), fresh=self.fresh())

    def owner(self, chat: int) -> TenantView | None:
        """The Tenant that has the chat; None if there is none, or if the operator has not yet decided."""
        return owner(chat, list(self._by_chat.get(chat, {}).values()))

    def knows(self, uid: str) -> bool:
        """True if there is a Tenant with this uid."""
        return uid in self._by_uid

    def claims(self, chat: int) -> list[TenantView]:
        """Tenants whose ``spec.telegram`` names the chat and that are not being deleted."""
        return [tenant for tenant in self._by_chat.get(chat, {}).values() if not tenant.deleting]

    def tenant(self, spec_id: str) -> TenantView | None:
        """The Tenant with that identity; None if there is none, or if the operator has not yet chosen among several."""
        found = [t for t in self._by_id.get(spec_id, {}).values() if not t.is_stalled("IdInUse")]
        if len(found) > 1:
            found = [t for t in found if t.chat is not None]
        return found[0] if len(found) == 1 else None

    def served_chat(self, tenant: TenantView) -> int | None:
        """The one chat that the Tenant may reach; None if the chat is another Tenant's, too."""
        chat = tenant.chat
        if chat is None:
            return None
        rivals = [t for t in self._by_chat.get(chat, {}).values() if t.status.chat_id == chat]
        return chat if len(rivals) == 1 else None


def _discard(index: dict[K, dict[str, TenantView]], key: K, uid: str) -> None:
    same = index[key]
    same.pop(uid, None)
    if not same:
        del index[key]


def _version(tenant: TenantView) -> int:
    # Resource versions of one kind are comparable decimals (KEP-5504).
    version = tenant.metadata.resource_version
    return int(version) if version.isdigit() else 0
