"""What there is in one cell, by listing it: five lists, whatever the number of tenants. Then what differs from them.

``keeper.py`` takes an inventory now and then. A list that fails, or holds something unreadable, fails the whole: it
says nothing, least of all that something is missing. Everything else here is pure.
"""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbhd_crds.api.cell import Quota
from nbhd_operator.diff import differences
from nbhd_operator.errors import Unreadable
from nbhd_operator.resources import container_app
from nbhd_operator.resources.base import PLATFORM_TAG, TENANT_TAG, Body, Place, Task
from nbhd_operator.resources.role_assignment import SECRETS_USER, scope_of
from nbhd_operator.situation import Aim, Situation

if TYPE_CHECKING:
    from nbhd_operator.azure import Azure

ROLE_ASSIGNMENT_LIMIT = 4000
"""Of one subscription, for ever. https://learn.microsoft.com/azure/role-based-access-control/troubleshoot-limits"""
_CORES = "consumptioncores"


@dataclass(frozen=True)
class Inventory:
    """A complete list, of each thing no more than is needed: thousands of whole bodies would fill the memory.

    Names and scopes are folded, for Azure compares them without case.
    """

    apps: Mapping[str, Body]
    identities: Mapping[str, Body]
    secrets: Mapping[str, Body]
    grants: tuple[Body, ...]
    """The role assignments at secrets of the cell's vault: of the platform's role only."""
    role_assignments: Quota
    cores: Quota | None = None
    """Of containers without a workload profile; None where Azure does not count them."""
    differing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Apps that are not as they were left, and where."""

    @functools.cached_property
    def granted(self) -> frozenset[tuple[str, str]]:
        """The grants by scope and principal: every tenant's is looked up."""
        return frozenset((grant["scope"], grant["principalId"]) for grant in self.grants)

    def residents(self, platform_id: str) -> frozenset[str]:
        """Ids of the tenants that have something here."""
        kinds = (self.apps, self.identities, self.secrets)
        tagged = (_tags(found) for kind in kinds for found in kind.values())
        return frozenset(tags[TENANT_TAG] for tags in tagged if tags.get(PLATFORM_TAG) == platform_id)


async def take(azure: Azure, place: Place, compare: Callable[[Body], tuple[str, ...]]) -> Inventory:
    """Lists the cell; ``compare`` tells where an app is not as it was left. Raises ``Fault``."""
    apps: dict[str, Body] = {}
    differing: dict[str, tuple[str, ...]] = {}
    grants: list[Body] = []
    used = 0
    try:
        async for app in azure.list_apps(place):
            name = str(app["name"]).casefold()
            apps[name] = _slim(app)
            if paths := compare(app):
                differing[name] = paths
        identities = {
            str(found["name"]).casefold(): _slim(found) | {"principalId": found["properties"]["principalId"]}
            async for found in azure.list_identities(place)
        }
        secrets = {str(found["name"]).casefold(): found async for found in azure.list_secrets(place)}
        async for role in azure.list_subscription_role_assignments(place):
            scope = str(role["properties"]["scope"]).casefold()
            used += _counts(scope, place)
            if _at_our_secrets(scope, role, place):
                grants.append(_grant(scope, role))
        cores = _cores([usage async for usage in azure.list_environment_usages(place)])
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Unreadable from None
    roles = Quota(used=used, limit=ROLE_ASSIGNMENT_LIMIT)
    return Inventory(apps, identities, secrets, tuple(grants), roles, cores, differing)


def app_drift(situation: Situation, app: Body) -> tuple[str, ...]:
    """Where an app that is there contradicts what was left for the tenant."""
    task, status = situation.task, situation.tenant.status
    if task is None or container_app.state(app).busy:
        return ()
    stopped = container_app.stopped(app)
    if situation.aim in (Aim.PAUSE, Aim.PREPARE):
        return () if stopped else ("containerApp.running",)
    if situation.aim is not Aim.SERVE or not status.revision or status.identity is None or status.secret_id is None:
        return ()  # not there yet; the controller is on it
    want = container_app.body(task, identity_id=status.identity.resource_id, secret_url=status.secret_id)
    return (*(["containerApp.stopped"] if stopped else []), *_compare("containerApp", want, app))


def drift(situation: Situation, found: Inventory) -> tuple[str, ...]:
    """Where the whole inventory contradicts it: kinds that are absent, or paths that differ."""
    task, status = situation.task, situation.tenant.status
    if task is None or not status.cell:
        return ()
    name, paths = task.name.casefold(), list(found.differing.get(task.name.casefold(), ()))
    if situation.aim is Aim.SERVE and status.revision and name not in found.apps:
        paths.append("containerApp.absent")
    made = status.identity is not None and status.secret_id is not None
    if made and situation.aim in (Aim.SERVE, Aim.PREPARE):
        paths += _drift_of_secrets(situation, task, found)
    return tuple(paths)


def _drift_of_secrets(situation: Situation, task: Task, found: Inventory) -> Iterator[str]:
    name, identity = task.name.casefold(), situation.tenant.status.identity
    want = {"location": task.place.location, "tags": task.tags}
    yield from _compare("identity", want, found.identities.get(name))
    yield from _compare("secret", {"tags": task.tags, "enabled": True}, found.secrets.get(name))
    scope, principal = scope_of(task).casefold(), identity.principal_id if identity else ""
    if (scope, principal) not in found.granted:
        yield "roleAssignment.absent"


def _compare(kind: str, want: Body, have: Body | None) -> Iterator[str]:
    if have is None:
        yield f"{kind}.absent"
    else:
        yield from (f"{kind}.{path}" for path in differences(want, have))


def _slim(found: Body) -> dict[str, Any]:
    created = (found.get("systemData") or {}).get("createdAt")
    return {
        "name": str(found["name"]),
        "tags": found.get("tags") or {},
        "location": found.get("location"),
        "created": datetime.datetime.fromisoformat(created) if created else None,
    }


def _grant(scope: str, role: Body) -> Body:
    properties = role["properties"]
    created = properties.get("createdOn")
    return {
        "name": str(role["name"]),
        "scope": scope,
        "principalId": properties["principalId"],
        "principalType": properties.get("principalType"),
        "created": datetime.datetime.fromisoformat(created) if created else None,
    }


def _tags(found: Body) -> Mapping[str, str]:
    tags: Mapping[str, str] = found.get("tags") or {}
    return tags if TENANT_TAG in tags else {}


def _at_our_secrets(scope: str, role: Body, place: Place) -> bool:
    vault = place.resource_id(f"Microsoft.KeyVault/vaults/{place.vault_name}/secrets/").casefold()
    return scope.startswith(vault) and str(role["properties"]["roleDefinitionId"]).casefold().endswith(SECRETS_USER)


def _counts(scope: str, place: Place) -> bool:
    within = f"/subscriptions/{place.subscription_id}".casefold()
    return scope == within or scope.startswith(within + "/")


def _cores(usages: Iterable[Body]) -> Quota | None:
    for usage in usages:
        name = str(usage["name"]["value"]).casefold().replace(" ", "")
        if name.endswith(_CORES):
            return Quota(used=math.ceil(usage["currentValue"]), limit=int(usage["limit"]))
    return None
