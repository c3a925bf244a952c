"""What exists in the emulated subscription: plain records, keyed as ARM compares names (without case).

``arm.py`` and its siblings change these records and ``AzureWorld.inventory`` reads them. Key Vault keeps its own
(``vault.py``), because it is another service with another consistency.
"""

from __future__ import annotations

import datetime
import re
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

JSON = dict[str, Any]

_IDENTITY = re.compile(
    r"^/subscriptions/([^/]+)/resourcegroups/([^/]+)/providers/microsoft\.managedidentity/userassignedidentities/([^/]+)$",
    re.IGNORECASE,
)

REGIONS = {
    "eastus": "East US",
    "eastus2": "East US 2",
    "westus2": "West US 2",
    "westus3": "West US 3",
    "centralus": "Central US",
    "northeurope": "North Europe",
    "westeurope": "West Europe",
    "germanywestcentral": "Germany West Central",
    "swedencentral": "Sweden Central",
    "uksouth": "UK South",
}


@dataclass(frozen=True)
class Delays:
    """How long the cloud takes, in seconds of the machine, whatever the world's clock does.

    The defaults are small but not zero, for zero hides races.
    """

    app: float = 3.0
    """A change of a container app, until its revision exists and its replica is started."""
    role_propagation: float = 2.0
    """From a role assignment until it is effective."""
    container_start: float = 2.0
    """From the decision to start a replica until its process runs (scheduling and image pull)."""
    ready_lag: float = 0.2
    """From ``provisioningState: Succeeded`` until ``latestReadyRevisionName`` follows."""
    revision_timeout: float = 30.0
    """How long a new revision's replica may take until it listens, before the revision counts as failed."""
    secret_transition: float = 0.5
    """How long a vault secret is *being* deleted or recovered."""
    principal_replication: float = 0.0
    """How long role assignments answer ``PrincipalNotFound`` for a new identity."""
    answer: float = 0.0
    """How much longer than this machine needs every answer takes."""


class Age:
    """How many seconds of the machine ago a record was made; ``older`` makes it start with an age."""

    def __init__(self, older: float = 0.0) -> None:
        self._since = time.monotonic() - older

    def __call__(self) -> float:
        return time.monotonic() - self._since


@dataclass
class ResourceGroup:
    """A resource group; a cell is claimed by its tags."""

    name: str
    location: str
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Environment:
    """A Container Apps managed environment."""

    name: str
    group: str
    location: str
    default_domain: str
    cores: int = 100
    """Quota of vCPUs without a workload profile."""


@dataclass
class Identity:
    """A user-assigned managed identity and its service principal."""

    name: str
    group: str
    location: str
    tags: dict[str, str]
    created: datetime.datetime
    age: Age = field(default_factory=Age)
    principal_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    client_id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass
class RoleAssignment:
    """One principal's role at one scope. It outlives its principal."""

    name: str
    scope: str
    role_id: str
    principal_id: str
    principal_type: str
    created: datetime.datetime
    description: str | None = None
    age: Age = field(default_factory=Age)


class RoleAssignments(dict[str, RoleAssignment]):
    """All of a subscription by name; one scope's are found without reading thousands."""

    def __init__(self) -> None:
        super().__init__()
        self._by_scope: defaultdict[str, dict[str, RoleAssignment]] = defaultdict(dict)

    def __setitem__(self, name: str, held: RoleAssignment) -> None:
        if name in self:
            del self[name]
        super().__setitem__(name, held)
        self._by_scope[held.scope.lower()][name] = held

    def __delitem__(self, name: str) -> None:
        del self._by_scope[self[name].scope.lower()][name]
        super().__delitem__(name)

    def covering(self, scope: str) -> Iterator[RoleAssignment]:
        """Those at the scope and above it, from the top."""
        inner = scope.lower().rstrip("/")
        for end in [*(match.start() for match in re.finditer("/", inner)), len(inner)]:
            yield from self._by_scope.get(inner[:end] or "/", {}).values()


@dataclass
class Operation:
    """A long-running operation, polled at subscription scope."""

    app_key: str
    started: datetime.datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "InProgress"
    error: JSON | None = None


@dataclass
class Revision:
    """An immutable template of a container app."""

    name: str
    template: JSON
    created: datetime.datetime
    active: bool = True
    provisioned: bool = False
    error: str | None = None


@dataclass
class ContainerApp:
    """A container app: the body as its owner last put it, and what the service adds."""

    name: str
    group: str
    body: JSON
    created: datetime.datetime
    modified: datetime.datetime
    fqdn: str | None = None
    provisioning_state: str = "InProgress"
    stopped: bool = False
    patched: bool = False
    latest_revision: str = ""
    latest_ready_revision: str = ""
    revisions: dict[str, Revision] = field(default_factory=dict)
    operation: Operation | None = None

    @property
    def busy(self) -> bool:
        """Whether a change is in progress: another one is refused meanwhile."""
        return self.operation is not None and self.operation.status == "InProgress"


@dataclass
class Subscription:
    """Everything ARM knows of one subscription."""

    id: str
    tenant_id: str
    groups: dict[str, ResourceGroup] = field(default_factory=dict)
    environments: dict[str, Environment] = field(default_factory=dict)
    identities: dict[str, Identity] = field(default_factory=dict)
    assignments: RoleAssignments = field(default_factory=RoleAssignments)
    apps: dict[str, ContainerApp] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    assignment_limit: int = 4000
    page_size: int = 20

    def group_id(self, group: str) -> str:
        """The ARM id of a resource group."""
        return f"/subscriptions/{self.id}/resourceGroups/{group}"

    def environment_id(self, environment: Environment) -> str:
        """The ARM id of a managed environment."""
        return f"{self.group_id(environment.group)}/providers/Microsoft.App/managedEnvironments/{environment.name}"

    def identity_id(self, identity: Identity) -> str:
        """The ARM id of an identity; that service spells ``resourcegroups`` in lower case."""
        group = self.group_id(identity.group).replace("/resourceGroups/", "/resourcegroups/")
        return f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{identity.name}"

    def identity_by_id(self, resource_id: str) -> Identity | None:
        """Finds an identity by its ARM id, whatever the id's case."""
        match = _IDENTITY.match(resource_id)
        if match is None or match[1].lower() != self.id.lower():
            return None
        return self.identities.get(key(match[2], match[3]))


def key(group: str, name: str) -> str:
    """How a resource of a group is found: ARM compares names without case."""
    return f"{group}/{name}".lower()


def same_region(one: str, other: str) -> bool:
    """``eastus`` and ``East US`` are one region."""
    return one.replace(" ", "").lower() == other.replace(" ", "").lower()


def region_title(location: str) -> str:
    """The display form (``East US``) in which Container Apps answers."""
    return REGIONS.get(location.replace(" ", "").lower(), location)


def stamp(moment: datetime.datetime) -> str:
    """ARM's timestamps."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
