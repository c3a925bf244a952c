"""What would be done, without doing it: the decisions of ``reconcile.py``, carried out in imagination only. Pure.

For the reconcile policy ``plan``. ``decide`` stands in for ``reconcile.decide`` there: of all steps it lets through
only those that change nothing in Azure, so whatever calls it cannot change anything either.
"""

from __future__ import annotations

from dataclasses import replace

from nbhd_crds.api import PlannedChange
from nbhd_crds.api.meta import FINALIZER
from nbhd_operator import reconcile
from nbhd_operator.diff import differences
from nbhd_operator.finding import Finding
from nbhd_operator.reasons import DRIFTED, PLANNED
from nbhd_operator.reconcile import (
    Apply,
    Observe,
    Outcome,
    Probe,
    Release,
    Remove,
    Rest,
    Start,
    Stop,
    Together,
    in_force,
)
from nbhd_operator.resources import ContainerApp, container_app
from nbhd_operator.resources.base import Seen, Task
from nbhd_operator.situation import Aim, Situation

_APP = ContainerApp.kind
_DIGEST = f"tags.{container_app.SPEC_HASH}"
_PATHS, _PATH = 32, 256


def decide(situation: Situation, seen: Seen, answered: bool | None = None) -> Observe | Probe | Release | Rest:
    """The next step; ``Release`` only where nothing is left in Azure."""
    task = situation.task
    if task is None:
        step = reconcile.decide(situation, seen, answered)
        if isinstance(step, Rest | Release):
            return step
        raise LookupError("a step in Azure needs a task")
    pretended, imagined = _pretend(situation, task), dict(seen)
    changes: list[PlannedChange] = []
    while True:
        step = reconcile.decide(pretended, imagined, answered)
        if isinstance(step, Apply | Together):
            for one in step.steps if isinstance(step, Together) else (step,):
                kind, state = one.resource.kind, imagined[one.resource.kind]
                changes.append(change(kind, "Update" if state else "Create", one.paths))
                imagined[kind] = one.resource.imagine(task, one.want, state)
        elif isinstance(step, Remove):
            changes.append(change(step.resource.kind, "Remove"))
            imagined[step.resource.kind] = None
        elif isinstance(step, Start) and (app := imagined[_APP]):
            changes.append(change(_APP, "Start"))
            imagined[_APP] = container_app.started(app.body)
        elif isinstance(step, Stop):
            changes.append(change(_APP, "Stop"))
            return _held(situation, seen, step.then, tuple(changes))
        elif isinstance(step, Observe | Probe):
            return step
        elif isinstance(step, Rest):
            return _held(situation, seen, step, tuple(changes)) if changes else step
        elif isinstance(step, Release) and not changes:
            return step
        else:
            return _held(situation, seen, Rest(Outcome.SETTLED), tuple(changes))


def awaited(situation: Situation) -> tuple[PlannedChange, ...]:
    """What would change in the app if it were the tenant's turn."""
    task, status = situation.task, situation.tenant.status
    if situation.awaited is None or task is None or status.identity is None or status.secret_id is None:
        return ()
    ids = {"identity_id": status.identity.resource_id, "secret_url": status.secret_id}
    later = container_app.body(replace(task, runtime=situation.awaited), **ids)
    return (change(_APP, "Update", tuple(differences(later, container_app.body(task, **ids)))),)


def change(kind: str, action: str, paths: tuple[str, ...] = ()) -> PlannedChange:
    """One change, as status shows it. The digest of the app says nothing where something else differs as well."""
    shown = tuple(path[:_PATH] for path in paths if path != _DIGEST) or paths
    return PlannedChange.model_validate({"resource": kind, "action": action, "paths": shown[:_PATHS]})


def _held(situation: Situation, seen: Seen, rest: Rest, planned: tuple[PlannedChange, ...]) -> Rest:
    """``rest``, as far as it is not imagined, with what would be done."""
    kinds = {one.resource for one in planned}
    steps = ", ".join(f"{one.resource} {one.action}" for one in planned)
    waits = "Deletion waits. " if situation.tenant.deleting else ""
    message = f"{waits}Not done in Azure, see status.planned: {steps}. {situation.ruling.said}"
    held = Finding("False", _reason(situation, planned), message)
    if situation.aim not in (Aim.SERVE, Aim.PREPARE, Aim.PAUSE):
        return Rest(Outcome.SETTLED, held=held, planned=planned)
    if _APP not in kinds:
        return replace(rest, secrets=None, held=held, planned=planned, at_once=False)
    return Rest(
        Outcome.SETTLED,
        secrets=rest.secrets if kinds == {_APP} else None,
        app=_app(situation, seen, held),
        held=held,
        planned=planned,
    )


def _app(situation: Situation, seen: Seen, held: Finding) -> Finding | None:
    """What is true of the app while it is not changed; None, as before, if it serves on."""
    if seen.get(_APP) and reconcile.serves_on(situation.tenant, seen):
        return None
    if situation.aim is Aim.PREPARE:
        return Finding("False", situation.linked.reason, situation.linked.message)
    return Finding("False", held.reason, held.message)


def _reason(situation: Situation, planned: tuple[PlannedChange, ...]) -> str:
    """Drifted, if what is due now was not when the same was wanted before: so others changed Azure."""
    status, told = situation.tenant.status, situation.tenant.condition("UpToDate")
    if status.inputs_hash != situation.inputs:
        return PLANNED
    if planned != status.planned:
        return DRIFTED
    return told.reason if told else PLANNED


def _pretend(situation: Situation, task: Task) -> Situation:
    """As if all that is written to Kubernetes before a change in Azure had been."""
    tenant = situation.tenant
    facts: dict[str, object] = {"cell": task.place.cell, "entitlement": situation.right, "runtime": task.runtime}
    if task.bundle:
        facts["credentials"] = in_force(task.bundle)
    metadata = tenant.metadata.model_copy(update={"finalizers": (FINALIZER,)})
    pretended = tenant.model_copy(update={"metadata": metadata, "status": tenant.status.model_copy(update=facts)})
    return replace(situation, tenant=pretended, task=replace(task, tenant=pretended))
