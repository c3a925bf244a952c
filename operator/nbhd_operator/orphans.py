"""What lies in a cell and belongs to no Tenant. Pure; ``inventory.py`` lists, ``keeper.py`` reports and removes.

Only what is surely ours and surely nobody's any more: it carries the platform's tag, or grants the platform's role at a
secret that only the platform makes; Azure says that it is older than an hour; and no Tenant of its id lives in the
cell, or may yet turn out to. Nothing is removed but by a person's request that names it.
"""

from __future__ import annotations

import datetime
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nbhd_crds.api.cell import Orphan
from nbhd_crds.identity import azure_name
from nbhd_operator.inventory import Inventory
from nbhd_operator.packed import Packed
from nbhd_operator.resources.base import PLATFORM_TAG, TENANT_TAG, Body

MIN_AGE = datetime.timedelta(hours=1)
LISTED = 50
"""How many of them a Cell's status names."""
REMOVAL_ORDER = ("containerApp", "roleAssignment", "secret", "identity")
"""What depends on others goes before them; a grant whose identity is gone would count for ever."""
_PREFIX = azure_name("")


@dataclass(frozen=True)
class Stray:
    """An orphan, with what removing it takes."""

    kind: str
    name: str
    created: datetime.datetime | None
    scope: str = ""
    """Of a role assignment, whose own name is ``id``; it shows the name of the secret that it is about."""
    id: str = ""

    def shown(self) -> Orphan:
        """As status shows it."""
        return Orphan(kind=self.kind, name=self.name, created=self.created)


def find(
    found: Inventory, platform_id: str, cell: str, tenants: Iterable[Packed], now: datetime.datetime
) -> list[Stray]:
    """All of them, by kind and name. ``tenants`` must be all Tenants of the Cell's namespace."""
    living = {tenant.id: tenant for tenant in tenants if tenant.cell in (None, cell)}
    owners = {azure_name(spec_id).casefold(): tenant for spec_id, tenant in living.items()}
    strays = [*_tagged(found, platform_id, living), *_granted(found, owners)]
    old = [stray for stray in strays if stray.created is not None and now - stray.created > MIN_AGE]
    return sorted(old, key=lambda stray: (stray.kind, stray.name, stray.id))


def requested(annotation: str | None, now: datetime.datetime) -> frozenset[str]:
    """The names whose removal is asked for. Raises ``ValueError`` for what cannot be read."""
    if not annotation or not annotation.strip():
        return frozenset()
    until, *names = annotation.split()
    moment = datetime.datetime.fromisoformat(until)
    if moment.tzinfo is None:
        raise ValueError("the time needs a time zone, such as Z")
    return frozenset(names) if now < moment else frozenset()


def next_to_remove(strays: Sequence[Stray], names: frozenset[str]) -> list[Stray]:
    """Of each name the kind that must go first; the others when that one is not listed any more."""
    chosen: list[Stray] = []
    for name in sorted(names):
        there = [stray for stray in strays if stray.name == name]
        first = min((REMOVAL_ORDER.index(stray.kind) for stray in there), default=None)
        chosen += [stray for stray in there if REMOVAL_ORDER.index(stray.kind) == first]
    return chosen


def _tagged(found: Inventory, platform_id: str, living: Container[str]) -> Iterator[Stray]:
    kinds = {"containerApp": found.apps, "secret": found.secrets, "identity": found.identities}
    for kind, resources in kinds.items():
        for resource in resources.values():
            tags: Body = resource.get("tags") or {}
            if tags.get(PLATFORM_TAG) == platform_id and TENANT_TAG in tags and tags[TENANT_TAG] not in living:
                yield Stray(kind, str(resource["name"]), resource["created"])


def _granted(found: Inventory, owners: Mapping[str, Packed]) -> Iterator[Stray]:
    """Grants of a tenant that is not there, or to an identity that is not there any more."""
    principals = {identity["principalId"] for identity in found.identities.values()}
    for grant in found.grants:
        name, principal = grant["scope"].rpartition("/")[2], grant["principalId"]
        owner = owners.get(name)
        lost = grant.get("principalType") == "ServicePrincipal" and principal not in principals
        if name.startswith(_PREFIX) and (owner is None or (lost and not _serves(owner, principal))):
            yield Stray("roleAssignment", name, grant["created"], grant["scope"], str(grant["name"]))


def _serves(owner: Packed, principal: str) -> bool:
    """By its own account: whether the identity is still there, its next look finds out."""
    identity = owner.unpack().status.identity
    return identity is not None and identity.principal_id == principal
