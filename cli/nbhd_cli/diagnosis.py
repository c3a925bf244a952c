"""What is wrong with a Tenant, Plan or Cell and what a person can do about it. Pure: conditions in, findings out.

What waits for a subscriber or goes its normal way is not wrong: an unpaid, unlinked or suspended Tenant is as it should
be. The conditions' own messages say what is the matter; here is added which command comes next.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from nbhd_crds.api import Cell, Condition, Plan, Tenant
from nbhd_crds.api.meta import KubernetesObject

PATIENCE = datetime.timedelta(minutes=20)
"""How long something may be under way: Azure alone may take 15 minutes to let an identity read its secret."""
UNSEEN = datetime.timedelta(minutes=2)
"""How long a change may wait for the operator."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    kind: str
    namespace: str
    name: str
    reason: str
    message: str
    advice: str
    """The command that comes next."""
    since: datetime.datetime | None

    @property
    def title(self) -> str:
        """Kind and name as kubectl takes them."""
        return f"{self.kind.lower()}/{self.name}"


def of_tenant(tenant: Tenant, changed: datetime.datetime | None, now: datetime.datetime) -> Finding | None:
    """What is wrong with a Tenant; ``changed`` is when people or other services last wrote it."""
    meta = tenant.metadata
    if tenant.status.observed_generation != meta.generation and _older(changed, UNSEEN, now):
        return _finding(
            tenant,
            "NotObserved",
            "The operator has not acted on the last change: see whether it runs and leads.",
            "kubectl get pods --all-namespaces --selector app.kubernetes.io/name=operator",
            changed,
        )
    for kind, status, reason in (
        ("Stalled", "True", ""),
        ("Linked", "False", "ChatTaken"),
        ("UpToDate", "False", "Drifted"),
    ):
        condition = tenant.condition(kind)
        if condition and condition.status == status and (not reason or condition.reason == reason):
            return _told(tenant, condition)
    if tenant.deleting and _older(meta.deletion_timestamp, PATIENCE, now):
        going = tenant.condition("Reconciling")
        message = going.message if going else "The operator has not said why."
        advice = _next(tenant, "DeletionSlow")
        return _finding(tenant, "DeletionSlow", f"Not gone yet. {message}", advice, meta.deletion_timestamp)
    moving = tenant.condition("Reconciling")
    if moving and moving.status == "True" and _older(moving.last_transition_time, PATIENCE, now):
        return _told(tenant, moving)
    return None


def of_plan(plan: Plan) -> list[Finding]:
    """What is wrong with a Plan; a rollout may take its time."""
    return [_told(plan, condition) for condition in plan.status.conditions if _is(condition, "Stalled", "True")]


def of_cell(cell: Cell, now: datetime.datetime) -> list[Finding]:
    """What is wrong with a Cell."""
    wrong = [condition for condition in cell.status.conditions if _is_wrong(condition, now)]
    ready = any(_is(condition, "Ready", "True") for condition in cell.status.conditions)
    full = [condition for condition in cell.status.conditions if _is(condition, "Schedulable", "False")]
    if ready and not cell.spec.unschedulable:  # else it takes nobody for another reason
        wrong += full
    findings = [_told(cell, condition) for condition in wrong[:1]]
    if count := cell.status.orphan_count:
        message = f"What is in Azure and belongs to no Tenant, and may cost money: {count}."
        findings.append(_finding(cell, "Orphans", message, _next(cell, "Orphans"), None))
    return findings


def _is(condition: Condition, kind: str, status: str) -> bool:
    return (condition.type, condition.status) == (kind, status)


def _is_wrong(condition: Condition, now: datetime.datetime) -> bool:
    slow = _is(condition, "Reconciling", "True") and _older(condition.last_transition_time, PATIENCE, now)
    return slow or _is(condition, "Stalled", "True")


def unanswered(tenant: Tenant, seconds: int, now: datetime.datetime) -> Finding:
    """What to say of a Tenant whose container was asked to take a message and did not."""
    message = f"The container did not answer within {seconds} s; the operator goes on asking it."
    return _finding(tenant, "NoAnswer", message, _next(tenant, "NoAnswer"), now)


def _older(since: datetime.datetime | None, than: datetime.timedelta, now: datetime.datetime) -> bool:
    return since is not None and now - since > than


def _told(found: KubernetesObject, condition: Condition) -> Finding:
    return _finding(
        found, condition.reason, condition.message, _next(found, condition.reason), condition.last_transition_time
    )


def _finding(
    found: KubernetesObject, reason: str, message: str, advice: str, since: datetime.datetime | None
) -> Finding:
    meta = found.metadata
    return Finding(found.kind, meta.namespace, meta.name, reason, message, advice, since)


def _next(found: KubernetesObject, reason: str) -> str:
    known = _NEXT.get(reason, "kubectl describe {kind} {name} -n {namespace}")
    meta = found.metadata
    return known.format(kind=found.kind.lower(), name=meta.name, namespace=meta.namespace)


_NEXT = {
    "CellClaimed": "kubectl describe cells -n {namespace}",
    "CellIncomplete": "kubectl get cells -n {namespace} -o yaml",
    "CellNotFound": "kubectl get cells -n {namespace}",
    "CellShared": "kubectl get cells -n {namespace}",
    "CellsFull": "kubectl get cells -n {namespace}",
    "ChatTaken": "kubectl nbhd link {name} -n {namespace}",
    "CoresExhausted": "kubectl get cells -n {namespace}",
    "Drifted": "kubectl nbhd plan {name} -n {namespace}",
    "NoCell": "kubectl get cells -n {namespace}",
    "Orphans": "kubectl nbhd orphans {name} -n {namespace}",
    "PlanAmbiguous": "kubectl get plans -n {namespace}",
    "Planned": "kubectl nbhd plan {name} -n {namespace}",
    "PlanNotFound": "kubectl get plans -n {namespace}",
    "ProvisioningFailed": "kubectl nbhd plan -n {namespace}",
    "RolloutStopped": "kubectl nbhd plan plan/{name} -n {namespace}",
}
