"""Who owns what two claim: an id, a chat, a resource group. Pure; the verdict is the same whichever of them is asked.

A resource group is claimed by a tag. Azure knows no conditional write of tags, so a claim that was written counts only
once a later look still finds it, and every later look at the cell reads it again.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from enum import Enum

from nbhd_crds.api import Cell, Tenant
from nbhd_crds.api.meta import KubernetesObject

CLAIM_TAG = "nbhd-claim"

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


def cell_owner(cell: Cell, others: Iterable[Cell]) -> Cell:
    """Of Cells that are one resource group, the oldest."""
    return min([cell, *others], key=_age)


class Claim(Enum):
    """What a resource group's tag means to us."""

    OURS = "ours"
    FREE = "free"
    """Nobody's, or a person says that its owner is gone: to be taken."""
    FORMER = "former"
    """Our platform's in another cluster: perhaps this one before it was built anew."""
    FOREIGN = "foreign"
    """Another platform's."""


def claim_text(platform_id: str, namespace_uid: str) -> str:
    """How we claim a resource group: the platform, and the uid of the namespace where its Cell and Tenants are."""
    return f"{platform_id}:{namespace_uid}"


def claim_of(found: str | None, ours: str, given_up: str | None) -> Claim:
    """What the claim that was found means; ``given_up`` is the one that a person says is nobody's any more."""
    if found == ours:
        return Claim.OURS
    if not found or found == given_up:
        return Claim.FREE
    same_platform = found.partition(":")[0] == ours.partition(":")[0]
    return Claim.FORMER if same_platform else Claim.FOREIGN


def _age(claimant: KubernetesObject) -> tuple[datetime.datetime, str]:
    return claimant.metadata.creation_timestamp or _NEVER, claimant.metadata.uid


def _claims(tenant: Tenant) -> bool:
    entitlement = tenant.status.entitlement
    return not tenant.deleting and (entitlement is None or entitlement.state != "Ended")


def _serves(tenant: Tenant) -> bool:
    chat = tenant.spec.telegram.chat_id if tenant.spec.telegram else None
    return chat is not None and tenant.status.chat_id == chat
