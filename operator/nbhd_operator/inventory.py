"""What there is in one cell, by listing it: five lists, whatever the number of tenants. Then what differs from them.

``keeper.py`` takes an inventory now and then. A list that fails, or holds something unreadable, fails the whole: it
says nothing, least of all that something is missing. Everything else here is pure.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbhd_crds.api.cell import Quota
from nbhd_operator.diff import differences
from nbhd_operator.errors import Retryable
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
    """A complete list. Names and scopes are folded, for Azure compares them without case."""

    apps: Mapping[str, Body]
    identities: Mapping[str, Body]
    secrets: Mapping[str, Body]
    grants: tuple[Body, ...]
    """The role assignments at secrets of the cell's vault: of the platform's role only."""
    role_assignments: Quota
    cores: Quota | None = None
    """Of containers without a workload profile; None where Azure does not count them."""

    def residents(self, platform_id: str) -> frozenset[str]:
        """Ids of the tenants that have something here."""
        kinds = (self.apps, self.identities, self.secrets)
        tagged = (_tags(found) for kind in kinds for found in kind.values())
        return frozenset(tags[TENANT_TAG] for tags in tagged if tags.get(PLATFORM_TAG) == platform_id)


async def take(azure: Azure, place: Place) -> Inventory:
    """Lists the cell. Raises ``Fault``."""
    apps = [app async for app in azure.list_apps(place)]
    identities, secrets = await azure.list_identities(place), await azure.list_secrets(place)
    roles = await azure.list_subscription_role_assignments(place)
    usages = await azure.list_environment_usages(place)
    try:
        return Inventory(
            apps=_by_name(apps),
            identities=_by_name(identities),
            secrets=_by_name(secrets),
            grants=tuple(_grants(roles, place)),
            role_assignments=Quota(used=_counted(roles, place), limit=ROLE_ASSIGNMENT_LIMIT),
            cores=_cores(usages),
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Retryable("UnreadableList", "Azure's list of the cell was not as expected") from None


def drift(situation: Situation, found: Inventory) -> tuple[str, ...]:
    """Where the inventory contradicts what was left for the tenant; kinds that are absent, or paths that differ."""
    task, status = situation.task, situation.tenant.status
    if task is None or not status.cell:
        return ()
    app = found.apps.get(task.name.casefold())
    if situation.aim in (Aim.PAUSE, Aim.PREPARE) and app is not None and not container_app.stopped(app):
        return () if container_app.state(app).busy else ("containerApp.running",)
    if situation.aim in (Aim.SERVE, Aim.PREPARE):
        return tuple(_drift_of_secrets(situation, task, found)) + tuple(_drift_of_app(situation, task, app))
    return ()


def _drift_of_secrets(situation: Situation, task: Task, found: Inventory) -> Iterator[str]:
    status, name = situation.tenant.status, task.name.casefold()
    if status.identity is None or status.secret_id is None:
        return  # not made yet; the controller is on it
    want = {"location": task.place.location, "tags": task.tags}
    yield from _compare("identity", want, found.identities.get(name))
    yield from _compare("secret", {"tags": task.tags, "enabled": True}, found.secrets.get(name))
    scope, principal = scope_of(task).casefold(), status.identity.principal_id
    if not any(grant["scope"] == scope and grant["principalId"] == principal for grant in found.grants):
        yield "roleAssignment.absent"


def _drift_of_app(situation: Situation, task: Task, app: Body | None) -> Iterator[str]:
    status = situation.tenant.status
    if situation.aim is not Aim.SERVE or not status.revision or status.identity is None or status.secret_id is None:
        return
    if app is None:
        yield "containerApp.absent"
    elif not container_app.state(app).busy:
        if container_app.stopped(app):
            yield "containerApp.stopped"
        want = container_app.body(task, identity_id=status.identity.resource_id, secret_url=status.secret_id)
        yield from _compare("containerApp", want, app)


def _compare(kind: str, want: Body, have: Body | None) -> Iterator[str]:
    if have is None:
        yield f"{kind}.absent"
    else:
        yield from (f"{kind}.{path}" for path in differences(want, have))


def created(found: Body) -> datetime.datetime | None:
    """When Azure says that an app, an identity or a secret was made."""
    moment = found.get("created") or (found.get("systemData") or {}).get("createdAt")
    if isinstance(moment, str):
        moment = datetime.datetime.fromisoformat(moment)
    return moment if isinstance(moment, datetime.datetime) else None


def _by_name(found: Iterable[Body]) -> dict[str, Body]:
    return {str(one["name"]).casefold(): one for one in found}


def _tags(found: Body) -> Mapping[str, str]:
    tags: Mapping[str, str] = found.get("tags") or {}
    return tags if TENANT_TAG in tags else {}


def _grants(roles: Iterable[Body], place: Place) -> Iterator[Body]:
    vault = place.resource_id(f"Microsoft.KeyVault/vaults/{place.vault_name}/secrets/").casefold()
    for role in roles:
        properties = role["properties"]
        scope = str(properties["scope"]).casefold()
        if scope.startswith(vault) and str(properties["roleDefinitionId"]).casefold().endswith(SECRETS_USER):
            yield {**properties, "scope": scope, "name": role["name"]}


def _counted(roles: Iterable[Body], place: Place) -> int:
    within = f"/subscriptions/{place.subscription_id}".casefold()
    scopes = (str(role["properties"]["scope"]).casefold() for role in roles)
    return sum(scope == within or scope.startswith(within + "/") for scope in scopes)


def _cores(usages: Iterable[Body]) -> Quota | None:
    for usage in usages:
        name = str(usage["name"]["value"]).casefold().replace(" ", "")
        if name.endswith(_CORES):
            return Quota(used=int(usage["currentValue"]), limit=int(usage["limit"]))
    return None
