"""Who owns what two Tenants claim: an id, or a chat. Pure; the verdict is the same whichever of them is asked about."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from nbhd_crds.api import Tenant

_NEVER = datetime.datetime.max.replace(tzinfo=datetime.UTC)


def id_owner(tenant: Tenant, others: Iterable[Tenant]) -> Tenant:
    """Of Tenants with the same ``spec.id``, the oldest."""
    return min([tenant, *others], key=_age)


def chat_owner(tenant: Tenant, others: Iterable[Tenant]) -> Tenant:
    """Of Tenants that claim the same chat: the one whose container serves it, else the oldest.

    A Tenant that is being deleted or has ended claims nothing, so a subscriber may return with a new subscription.
    """
    claimants = list(filter(_claims, [tenant, *others])) or [tenant]
    return min(claimants, key=lambda one: (not _serves(one), *_age(one)))


def _age(tenant: Tenant) -> tuple[datetime.datetime, str]:
    return tenant.metadata.creation_timestamp or _NEVER, tenant.metadata.uid


def _claims(tenant: Tenant) -> bool:
    entitlement = tenant.status.entitlement
    return not tenant.deleting and (entitlement is None or entitlement.state != "Ended")


def _serves(tenant: Tenant) -> bool:
    chat = tenant.spec.telegram.chat_id if tenant.spec.telegram else None
    return chat is not None and tenant.status.chat_id == chat
