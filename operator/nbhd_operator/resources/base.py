"""What all kinds of Azure resources share: the task they serve, what was seen of them, and the functions of each.

``reconcile.py`` decides with these, ``controller.py`` carries out. A kind is one module beside this one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nbhd_crds.api import Cell, Runtime, Tenant
from nbhd_crds.identity import azure_name
from nbhd_operator.settings import Platform

if TYPE_CHECKING:
    from nbhd_operator.azure import Azure

PLATFORM_TAG, TENANT_TAG = "nbhd-platform", "nbhd-tenant"

Body = Mapping[str, Any]
"""A resource in Azure's own wire form."""


@dataclass(frozen=True)
class Place:
    """A cell with the operator's defaults filled in."""

    cell: str
    subscription_id: str
    resource_group: str
    location: str
    environment_id: str
    vault_name: str
    vault_url: str
    pull_identity_id: str

    @classmethod
    def of(cls, cell: Cell, platform: Platform) -> Place:
        """Raises ``ValueError`` that says which setting the cell lacks."""
        spec = cell.spec
        subscription = spec.subscription_id or platform.subscription_id
        if not subscription:
            raise ValueError("set subscriptionId in the Cell, or AZURE_SUBSCRIPTION_ID for the operator")
        vault = spec.vault.name or platform.key_vault_name
        if not vault:
            raise ValueError("set vault.name in the Cell, or AZURE_KEY_VAULT_NAME for the operator")
        return cls(
            cell=cell.metadata.name,
            subscription_id=subscription,
            resource_group=spec.resource_group,
            location=spec.location,
            environment_id=spec.environment_id,
            vault_name=vault,
            vault_url=(spec.vault.url or f"https://{vault}.vault.azure.net").rstrip("/"),
            pull_identity_id=spec.pull_identity_id,
        )

    def resource_id(self, provider_path: str) -> str:
        """Full id of a resource in the cell's resource group."""
        return f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}/providers/{provider_path}"


@dataclass(frozen=True)
class Bundle:
    """The derived credentials that one tenant's container gets, and which keys made them."""

    version: int
    keys: Mapping[str, str]
    """Purpose → key id."""
    derive: Callable[[], str] = field(repr=False, compare=False)

    @functools.cached_property
    def text(self) -> str:
        """The JSON that goes into the vault. Derived when it is asked for: most looks need the key ids only."""
        return self.derive()


@dataclass(frozen=True)
class Task:
    """One tenant and all that its resources are computed from."""

    tenant: Tenant
    place: Place
    platform: Platform
    runtime: Runtime | None = None
    chat_id: int | None = None
    bundle: Bundle | None = None

    @property
    def name(self) -> str:
        """Azure name of everything that the tenant owns."""
        return azure_name(self.tenant.spec.id)

    @property
    def tags(self) -> dict[str, str]:
        """Tags that say whose a resource is."""
        return {PLATFORM_TAG: self.platform.id, TENANT_TAG: self.tenant.spec.id}


@dataclass(frozen=True)
class State:
    """One resource as Azure described it. ``busy`` while Azure works on it: look again, change nothing."""

    body: Body = field(repr=False)  # may hold a secret's value
    busy: bool = False
    new: bool = False
    """It was absent, and made in this very look: nothing can depend on it yet."""


NEW = "(new)"
"""Stands for what only Azure knows once it is made, such as the id of a principal."""

Seen = Mapping[str, State | None]
"""What this look found, by kind; None is *observed absence*, a missing key is *not looked at yet*."""


class Resource(Protocol):
    """The functions of one kind. They raise ``errors.Fault`` and nothing else of Azure's."""

    kind: str
    depends_on: tuple[str, ...]

    def name(self, task: Task) -> str:
        """Name in Azure."""
        ...

    def want(self, task: Task, seen: Seen) -> Body:
        """What should be there; may use what was seen of the kinds in ``depends_on``."""
        ...

    async def observe(self, azure: Azure, task: Task, seen: Seen) -> State | None:
        """What is there, or None when Azure says that there is nothing."""
        ...

    async def apply(self, azure: Azure, task: Task, want: Body) -> State | None:
        """Makes it so; returns what Azure answered, None when it must be looked at again."""
        ...

    def imagine(self, task: Task, want: Body, state: State | None) -> State:
        """What ``apply`` would leave, for a plan that is not carried out; ``NEW`` where Azure would choose."""
        ...

    async def remove(self, azure: Azure, task: Task, state: State) -> None:
        """Begins to remove it; absence is observed, not assumed."""
        ...


def present(seen: Seen, kind: str) -> Body:
    """Body of a kind that must have been seen. Raises ``LookupError`` for a decision out of order."""
    state = seen.get(kind)
    if state is None:
        raise LookupError(f"{kind} was not seen")
    return state.body
