"""The Tenant's status from what a look found: conditions, phase, and the facts that other services read. Pure.

Conditions follow https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md: ``Reconciling`` is
True while things move, ``Stalled`` when they wait for a person, ``Ready`` when the subscriber is served. There is no
``Ready`` while no service is due: to kstatus a False one is work in progress, and a stopped tenant is as it should be.
The reason of ``Reconciling`` says in any case what is, or what goes on. Messages are stable: no times, no passing
noise.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace

from nbhd_crds.api import Entitlement, PlannedChange, Runtime, Tenant, TenantStatus
from nbhd_crds.api.tenant import AppliedCredentials, Phase
from nbhd_operator import preview
from nbhd_operator.entitlement import RETENTION_OVER
from nbhd_operator.finding import Finding, conditions
from nbhd_operator.reasons import APPLIED, APPLYING, ROLLING_OUT, WAITING_FOR_TURN
from nbhd_operator.reconcile import Outcome, Rest, in_force
from nbhd_operator.resources import ContainerApp, Identity, Secret, container_app, identity, secret
from nbhd_operator.resources.base import Seen, State
from nbhd_operator.situation import Aim, Situation, probe_asked

_NOT_SEEN = Finding("Unknown", "NotObserved", "Azure was not asked yet.")
_BY_STATE = {
    "Pending": "No payment has arrived yet.",
    "Active": "Nothing is owed.",
    "Grace": "A payment failed; service goes on until the grace period is over.",
    "Suspended": "Service is suspended until billing is in order; all data is kept.",
    "Ended": "The subscription has ended; a new one within the plan's retention finds all data again.",
}
_BY_REASON = {
    "Canceling": "Paid until the subscription ends, as the subscriber asked.",
    "Complimentary": "Service is free of charge by spec.complimentary.",
    "PaymentIncomplete": "The first payment was begun and not finished.",
    "SuspendedByOperator": "A person suspended the service: unset spec.suspended to resume it. All data is kept.",
    RETENTION_OVER: "The subscription has ended, and the plan's retention of its data is over.",
    "Deleted": "The Tenant is being deleted.",
}


def report(situation: Situation, rest: Rest, seen: Seen, now: datetime.datetime) -> TenantStatus:
    """The whole status after a look."""
    tenant, right = situation.tenant, situation.right
    secrets = rest.secrets or _previous(tenant, "SecretsReady")
    app = rest.app or _previous(tenant, "AppReady")
    if rest.held and not rest.problem and _wanted(situation) and app.status != "True":
        rest = replace(rest, problem=Finding("True", rest.held.reason, rest.held.message))
    facts = _facts(situation, rest, seen)
    current = _current(situation, rest, facts)
    progress = rest.outcome is Outcome.PROGRESS or tenant.deleting
    standing = _standing(situation, rest, secrets, app)
    findings = {
        **({"Ready": standing} if _wanted(situation) or rest.problem else {}),
        "Reconciling": _reconciling(rest, secrets, app, standing, current, moving=progress and rest.problem is None),
        "Stalled": rest.problem or Finding("False", "NotStalled", "Nothing waits for a person."),
        "BillingCurrent": _billing(situation.standing),
        "Linked": situation.linked,
        "SecretsReady": secrets,
        "AppReady": app,
        "UpToDate": current,
    }
    settled = rest.outcome is Outcome.SETTLED
    return tenant.status.model_copy(
        update={
            "observed_generation": tenant.metadata.generation,
            "phase": _phase(situation, findings),
            "entitlement": right,
            "plan": _plan(situation),
            "inputs_hash": situation.inputs if settled else None,
            "planned": _planned(situation, rest),
            "conditions": conditions(findings, tenant.status.conditions, tenant.metadata.generation, now),
            **facts,
        }
    )


def worth_writing(before: TenantStatus, after: TenantStatus, rest: Rest) -> bool:
    """True if it says something new. Steps on the way that nobody acts on wait for what they come to."""
    if rest.outcome is Outcome.PROGRESS and not rest.at_once:
        before, after = (_without_steps(status) for status in (before, after))
    return before.wire() != after.wire()


def _without_steps(status: TenantStatus) -> TenantStatus:
    conditions = tuple(condition for condition in status.conditions if condition.type != "SecretsReady")
    return status.model_copy(update={"identity": None, "secret_id": None, "conditions": conditions})


def _plan(situation: Situation) -> str | None:
    """The plan in force; what is only planned is not, for who has a container made from another one."""
    status, plan = situation.tenant.status, situation.plan
    if plan is None or (status.runtime is not None and not situation.ruling.manages):
        return status.plan
    return plan.metadata.name


def _facts(situation: Situation, rest: Rest, seen: Seen) -> dict[str, object]:
    before, task = situation.tenant.status, situation.task
    nothing: dict[str, object] = dict.fromkeys(
        (
            "endpoint",
            "chat_id",
            "identity",
            "secret_id",
            "credentials",
            "previous_credentials",
            "revision",
            "probed",
            "runtime",
        )
    )
    if rest.gone:
        return nothing | ({"cell": None} if situation.aim is Aim.MOVE else {})
    if situation.problem:
        return {}
    # A chat that is not ours any more must not be confirmed by two Tenants.
    facts: dict[str, object] = {} if situation.linked.status == "True" else {"chat_id": None}
    if task is None:
        return facts
    if situation.aim in (Aim.REMOVE, Aim.MOVE):
        return {"endpoint": None, "revision": None} if situation.ruling.manages else {}
    if situation.aim in (Aim.SERVE, Aim.PREPARE) and (situation.ruling.manages or any(seen.values())):
        facts["cell"] = task.place.cell
    if seen.get(Identity.kind):
        facts["identity"] = identity.applied(seen)
    if (found := seen.get(Secret.kind)) and "id" in found.body:  # a disabled one tells nothing of itself
        facts["secret_id"] = secret.version_url(seen)
    in_vault = rest.secrets is not None and rest.secrets.reason == "SecretsReady"
    # Those of a first container may be told before they are made: nobody can hold others.
    first = before.credentials is None and situation.aim is not Aim.PAUSE and situation.ruling.manages
    if task.bundle and (in_vault or first):
        facts |= _credentials(before, in_force(task.bundle), serving=rest.serving is not None)
    app = seen.get(ContainerApp.kind)
    if runtime := _made_from(situation, rest, app):
        facts["runtime"] = runtime
    if rest.serving and app:
        facts |= {
            "endpoint": container_app.endpoint(app.body),
            "chat_id": task.chat_id,
            "revision": rest.serving,
            "probed": probe_asked(situation.tenant),
        }
    return facts


def _credentials(before: TenantStatus, new: AppliedCredentials, *, serving: bool) -> dict[str, object]:
    """New ones are announced before a container holds them; the serving revision's count until it is replaced."""
    if serving or before.revision is None:
        return {"credentials": new, "previous_credentials": None}
    if before.credentials == new:
        return {}
    return {"credentials": new, "previous_credentials": before.previous_credentials or before.credentials}


def _previous(tenant: Tenant, kind: str) -> Finding:
    found = tenant.condition(kind)
    return Finding(found.status, found.reason, found.message) if found else _NOT_SEEN


def _made_from(situation: Situation, rest: Rest, app: State | None) -> Runtime | None:
    """What the container is made from, told before it is; None leaves status as it is."""
    before, task = situation.tenant.status.runtime, situation.task
    if rest.runtime:
        return rest.runtime
    if situation.aim is not Aim.SERVE or task is None:
        return None
    if situation.ruling.manages:
        # A first container does not wait for a turn, so it is enough to tell once it is up, or does not come up.
        done = app is not None and rest.outcome is not Outcome.PROGRESS
        return task.runtime if before or done else None
    return container_app.runtime(app.body) if app and before is None else None


def _current(situation: Situation, rest: Rest, facts: Mapping[str, object]) -> Finding:
    """Whether Azure has all that is wanted."""
    if rest.held:
        return rest.held
    if rest.outcome is Outcome.SETTLED:
        if situation.awaited:
            message = "The plan's runtime has changed; this tenant keeps its container until its turn comes."
            return Finding("False", WAITING_FOR_TURN, message)
        return Finding("True", APPLIED, "Azure has all that is wanted of it.")
    before, told = situation.tenant.status.runtime, situation.tenant.condition("UpToDate")
    if told and not situation.ruling.manages:
        return Finding(told.status, told.reason, told.message)
    begins = before is not None and facts.get("runtime", before) != before
    if begins or (told and told.reason == ROLLING_OUT):
        return Finding("False", ROLLING_OUT, "The container is being replaced by one of another runtime.")
    return Finding("False", APPLYING, "Azure does not have all that is wanted of it yet.")


def _planned(situation: Situation, rest: Rest) -> tuple[PlannedChange, ...]:
    if rest.outcome is not Outcome.SETTLED and not situation.ruling.manages and not rest.held:
        return situation.tenant.status.planned  # this look did not come to it
    return rest.planned or (preview.awaited(situation) if rest.outcome is Outcome.SETTLED else ())


def _wanted(situation: Situation) -> bool:
    """Whether the assistant should answer."""
    return situation.right.serves and situation.linked.status == "True" and not situation.tenant.deleting


def _standing(situation: Situation, rest: Rest, secrets: Finding, app: Finding) -> Finding:
    """Whether the assistant answers, and why or why not."""
    right, linked = situation.right, situation.linked
    if rest.problem:
        return Finding("False", rest.problem.reason, rest.problem.message)
    if situation.tenant.deleting:
        return Finding("False", "Deleting", app.message)
    if not right.serves:
        return Finding("False", right.reason, _meaning(right))
    for needed in (linked, _lacking(secrets, app)):
        if needed.status != "True":
            return Finding("False", needed.reason, needed.message)
    if right.state == "Grace":
        return Finding("True", "Grace", "The assistant answers; service stops when the grace period is over.")
    if right.until is not None:
        return Finding("True", right.reason, "The assistant answers until the subscription ends.")
    return Finding("True", "Serving", "The assistant answers in the connected chat.")


def _reconciling(
    rest: Rest, secrets: Finding, app: Finding, standing: Finding, current: Finding, *, moving: bool
) -> Finding:
    if rest.held and moving:
        return Finding("True", rest.held.reason, rest.held.message)
    if not moving:
        told = current if rest.held or current.reason == WAITING_FOR_TURN else standing
        return Finding("False", told.reason, told.message)
    if rest.trouble:
        return Finding("True", rest.trouble.reason, rest.trouble.message)
    lacking = _lacking(secrets, app)
    if lacking.status == "True":
        return Finding("True", "Updating", "A change is being applied while the assistant serves on.")
    return Finding("True", lacking.reason, lacking.message)


def _lacking(secrets: Finding, app: Finding) -> Finding:
    """What service waits for; of two that lack for one reason the app, which is what people wait for."""
    return secrets if secrets.status != "True" and secrets.reason != app.reason else app


def _billing(right: Entitlement) -> Finding:
    return Finding("True" if right.state == "Active" else "False", right.reason, _meaning(right))


def _meaning(right: Entitlement) -> str:
    return _BY_REASON.get(right.reason, _BY_STATE[right.state])


def _phase(situation: Situation, findings: dict[str, Finding]) -> Phase:
    state = situation.right.state
    if situation.tenant.deleting:
        return "Deleting"
    if findings["Stalled"].status == "True":
        return "Stalled"
    if state in ("Pending", "Suspended", "Ended"):
        return state
    if findings["Linked"].status != "True":
        return "AwaitingLink"
    ready = findings.get("Ready")
    return "Ready" if ready and ready.status == "True" else "Provisioning"
