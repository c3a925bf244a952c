"""``kubectl nbhd plan``: what is due and is not made, by the reconcile policy or because it waits for its turn.

The operator works it out and writes it into status; here it is shown, and the policy ``plan`` is switched on and off.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nbhd_cli.access import Access, Json, title
from nbhd_cli.errors import FOUND, CommandError
from nbhd_cli.output import NONE, document, say, table
from nbhd_crds.api import Plan, Tenant
from nbhd_crds.api.meta import RECONCILE_POLICY_ANNOTATION, KubernetesObject

MANAGE, PLAN = "manage", "plan"
_HELD = ("Drifted", "Planned", "WaitingForTurn")
Key = tuple[str, str]


@dataclass(frozen=True)
class Scope:
    """The Plans and Tenants that a command is about."""

    plans: tuple[Plan, ...]
    tenants: tuple[Tenant, ...]


async def read(access: Access, names: Iterable[str]) -> Scope:
    """The named objects, ``plan/NAME`` for a Plan; everything where none is named. Raises ``CommandError``."""
    plans: list[Plan] = []
    tenants: list[Tenant] = []
    for name in names:
        kind, slash, rest = name.rpartition("/")
        if slash and kind.lower() in ("plan", "plans"):
            plans.append(await access.get(Plan, rest))
        elif not slash or kind.lower() in ("tenant", "tenants", "nt"):
            tenants.append(await access.get(Tenant, rest))
        else:
            raise CommandError(f'"{name}" is neither the name of a Tenant nor plan/NAME')
    return Scope(tuple(plans), tuple(tenants))


async def show(access: Access, names: tuple[str, ...], *, output: str) -> int:
    """Prints the rollout of Plans and what is due for Tenants; the exit status says whether something is.

    A Plan that is named brings its Tenants along.
    """
    everything = {key(plan): plan for plan in await access.all(Plan)}
    scope = await read(access, names)
    plans = {key(plan): plan for plan in scope.plans} if names else everything
    tenants = {key(tenant): tenant for tenant in scope.tenants}
    if plans or not names:
        tenants |= {key(one): one for one in await access.all(Tenant) if not names or plan_of(one) in plans}
    due = [tenant for tenant in tenants.values() if is_due(tenant)]
    if output != "table":
        sys.stdout.write(document(_wire(plans.values(), due, everything), output))
        return FOUND if due else 0
    spaces = not access.namespace
    parts = [plan_rows(plans.values(), namespaces=spaces)] if plans else []
    parts += [tenant_rows(due, everything, namespaces=spaces)] if due else []
    sys.stdout.write("\n".join(parts))
    if not due:
        say("Nothing is due.")
    return FOUND if due else 0


async def switch(access: Access, names: tuple[str, ...], *, on: bool) -> None:
    """Puts ``plan`` into force for the named objects, or takes it away. Raises ``CommandError``."""
    scope = await read(access, names)
    found: tuple[Plan | Tenant, ...] = (*scope.plans, *scope.tenants)
    for one in found:
        policy = own_policy(one)
        if policy not in ("", MANAGE, PLAN):
            raise CommandError(
                f"{title(one)} has the reconcile policy {policy}: change it with kubectl annotate, if that is wanted"
            )
    for one in found:
        if (own_policy(one) == PLAN) is on:
            sys.stdout.write(f"{title(one)} unchanged\n")
            continue
        await access.annotate(one, {RECONCILE_POLICY_ANNOTATION: PLAN if on else None})
        sys.stdout.write(f"{title(one)} {'only planned from now on' if on else 'managed again'}\n")


def key(found: KubernetesObject) -> Key:
    """Namespace and name."""
    return found.metadata.namespace, found.metadata.name


def plan_of(tenant: Tenant) -> Key:
    """The Plan in force."""
    return tenant.metadata.namespace, tenant.status.plan or ""


def own_policy(found: KubernetesObject) -> str:
    """The reconcile policy that the object itself carries."""
    return found.metadata.annotations.get(RECONCILE_POLICY_ANNOTATION, "")


def policy(tenant: Tenant, plans: Mapping[Key, Plan]) -> str:
    """The reconcile policy that counts for a Tenant: its own, else its Plan's."""
    plan = plans.get(plan_of(tenant))
    return own_policy(tenant) or (own_policy(plan) if plan else "") or MANAGE


def is_due(tenant: Tenant) -> bool:
    """Whether something is to be changed that is not being changed."""
    current = tenant.condition("UpToDate")
    return bool(tenant.status.planned) or (current is not None and current.reason in _HELD)


def plan_rows(plans: Iterable[Plan], *, namespaces: bool) -> str:
    """How far each Plan has reached its Tenants."""
    header = ["PLAN", "POLICY", "TENANTS", "UPDATED", "UPDATING", "WAITING", "REASON"]
    lines = []
    for plan in plans:
        status = plan.status
        counts = (status.tenants, status.updated, status.updating, status.waiting)
        cells = [plan.metadata.name, own_policy(plan) or MANAGE, *("-" if n is None else str(n) for n in counts)]
        lines.append([*_space(plan, namespaces=namespaces), *cells, _reason(plan)])
    return table(["NAMESPACE", *header] if namespaces else header, lines)


def tenant_rows(tenants: Iterable[Tenant], plans: Mapping[Key, Plan], *, namespaces: bool) -> str:
    """What is due, one line for each thing in Azure."""
    header = ["TENANT", "PLAN", "POLICY", "REASON", "ACTION", "RESOURCE", "PATHS"]
    lines = []
    for tenant in tenants:
        current = tenant.condition("UpToDate")
        first = [
            *_space(tenant, namespaces=namespaces),
            tenant.metadata.name,
            tenant.status.plan or NONE,
            policy(tenant, plans),
            current.reason if current else NONE,
        ]
        changes = [[one.action, one.resource, ",".join(one.paths) or "-"] for one in tenant.status.planned]
        lines += [[*first, *change] for change in changes or [[NONE, NONE, NONE]]]
    return table(["NAMESPACE", *header] if namespaces else header, lines)


def _space(found: KubernetesObject, *, namespaces: bool) -> list[str]:
    return [found.metadata.namespace] if namespaces else []


def _reason(plan: Plan) -> str:
    conditions = {condition.type: condition for condition in plan.status.conditions}
    stalled, moving = conditions.get("Stalled"), conditions.get("Reconciling")
    if stalled and stalled.status == "True":
        return stalled.reason
    return moving.reason if moving else NONE


def _wire(plans: Iterable[Plan], due: Iterable[Tenant], known: Mapping[Key, Plan]) -> Json:
    return {
        "plans": [
            {"namespace": plan.metadata.namespace, "name": plan.metadata.name, "policy": own_policy(plan) or MANAGE}
            | {"status": plan.status.wire()}
            for plan in plans
        ],
        "tenants": [
            {
                "namespace": tenant.metadata.namespace,
                "name": tenant.metadata.name,
                "plan": tenant.status.plan,
                "policy": policy(tenant, known),
                "condition": condition.wire() if (condition := tenant.condition("UpToDate")) else None,
                "planned": [change.wire() for change in tenant.status.planned],
            }
            for tenant in due
        ],
    }
