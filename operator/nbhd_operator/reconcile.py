"""The next step for one Tenant: a pure function of its situation and of what this look has seen in Azure.

``controller.py`` asks for a step, carries it out, adds what it saw, and asks again until the answer is ``Rest``.
Nothing is remembered between looks but what Azure and the Tenant's status say, so whoever woke us, however often, the
answer is the same.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from enum import Enum

from nbhd_crds.api import PlannedChange, Runtime, Tenant
from nbhd_crds.api.meta import FINALIZER
from nbhd_crds.api.tenant import AppliedCredentials
from nbhd_operator.diff import differences
from nbhd_operator.finding import Finding
from nbhd_operator.policy import Policy
from nbhd_operator.reasons import CORES_EXHAUSTED, NO_ANSWER, PROVISIONING_FAILED, SKIPPED
from nbhd_operator.resources import ORDER, ContainerApp, RoleAssignment, container_app
from nbhd_operator.resources.base import Body, Bundle, Resource, Seen, State, Task
from nbhd_operator.situation import Aim, Situation, probe_asked

_APP = ContainerApp()
_BEFORE_APP = tuple(resource for resource in ORDER if resource.kind != _APP.kind)
_BY_NAME = tuple(resource for resource in ORDER if resource.kind != RoleAssignment.kind)
"""What is found without knowing anything of the other kinds."""


class Outcome(Enum):
    """How a look ends."""

    SETTLED = "settled"
    PROGRESS = "progress"
    """Azure, or we ourselves in the next look, go on."""
    STALLED = "stalled"
    """A person must change something; we try again now and then."""


@dataclass(frozen=True)
class Finalize:
    """Set the finalizer, so that the Tenant cannot vanish while it has something in Azure."""


@dataclass(frozen=True)
class Release:
    """Remove the finalizer: nothing is left."""


@dataclass(frozen=True)
class Observe:
    """Look at these kinds, side by side."""

    resources: tuple[Resource, ...]


@dataclass(frozen=True)
class Apply:
    """Make one kind as it should be; ``paths`` differ. Empty paths: it is not there."""

    resource: Resource
    want: Body
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Together:
    """Make several kinds as they should be, side by side: none of them depends on another."""

    steps: tuple[Apply, ...]


@dataclass(frozen=True)
class Remove:
    """Begin to remove one kind."""

    resource: Resource
    state: State


@dataclass(frozen=True)
class Start:
    """Begin to start the stopped app."""

    then: Rest


@dataclass(frozen=True)
class Stop:
    """Begin to stop the app."""

    then: Rest


@dataclass(frozen=True)
class Probe:
    """Ask the newest revision once whether it takes messages."""

    endpoint: str


@dataclass(frozen=True)
class Rest:
    """Nothing more to do in this look. A finding of None leaves that condition as it was."""

    outcome: Outcome
    secrets: Finding | None = None
    app: Finding | None = None
    problem: Finding | None = None
    """Why a person is needed."""
    trouble: Finding | None = None
    """What keeps us from going on, although nobody has to do anything: worth saying when it lasts."""
    at_once: bool = False
    """Status must be written before the next step; then go on."""
    serving: str | None = None
    """The revision that answered, when the app is as it should be."""
    gone: bool = False
    """Absence of everything was observed."""
    runtime: Runtime | None = None
    """What an app that was found was made from, where status did not know."""
    held: Finding | None = None
    """Why what is due is not done: a person wants it so."""
    planned: tuple[PlannedChange, ...] = ()
    """What would be done."""
    late: bool = False
    """Azure has had its time: say so at once, and ask seldom."""


Step = Finalize | Release | Observe | Apply | Together | Remove | Start | Stop | Probe | Rest


def in_force(bundle: Bundle) -> AppliedCredentials:
    """The credentials of a bundle as status shows them."""
    return AppliedCredentials(version=bundle.version, bot_key=bundle.keys["bot"], webhook_key=bundle.keys["webhook"])


def decide(situation: Situation, seen: Seen, answered: bool | None = None) -> Step:
    """The next step. ``answered`` is what the probe of this look found, None before it was made."""
    task, aim = situation.task, situation.aim
    if situation.problem:
        return Rest(Outcome.STALLED, problem=situation.problem)
    if aim is Aim.RELEASE:
        return Release()
    if situation.ruling.policy is Policy.SKIP and aim is not Aim.LEAVE:
        waits = "Deletion waits, and " if situation.tenant.deleting else ""
        return Rest(
            Outcome.SETTLED, held=Finding("Unknown", SKIPPED, f"{waits}Azure is not looked at. {situation.ruling.said}")
        )
    if situation.waiting:
        return interrupted(situation, seen, situation.waiting)
    if task is None:
        idle = Finding("False", situation.right.reason, _NOTHING[situation.right.state == "Pending"])
        return Rest(Outcome.SETTLED, secrets=idle, app=idle)
    if aim in (Aim.REMOVE, Aim.MOVE):
        return _remove(task, seen, moving=aim is Aim.MOVE)
    if aim is Aim.PAUSE:
        return _pause(situation, seen, None)
    return _provide(situation, task, seen, answered)


def serves_on(tenant: Tenant, seen: Seen) -> bool:
    """True while the revision that took messages when it was last asked still gets them, as far as this look knows."""
    told, state = tenant.condition("AppReady"), seen.get(_APP.kind)
    if told is None or told.status != "True":
        return False
    return _APP.kind not in seen or (state is not None and container_app.serves(state.body, tenant.status.revision))


def meanwhile(situation: Situation, seen: Seen) -> Finding | None:
    """What to say of the app while something is under way; None, as before, if it serves on all the while."""
    if serves_on(situation.tenant, seen):
        return None
    if situation.aim is Aim.PREPARE:
        return Finding("False", situation.linked.reason, situation.linked.message)
    if situation.tenant.status.revision:
        return Finding("False", "Starting", "The container app is being started again; messages wait.")
    return Finding("False", "Provisioning", "The container app is being made; messages wait.")


def patience(rest: Rest, seen: Seen, now: datetime.datetime) -> Rest:
    """The same rest, but for an app that Azure has been working on for hours: nobody but Azure can end that."""
    state = seen.get(_APP.kind)
    if rest.outcome is not Outcome.PROGRESS or state is None or not container_app.stuck(state.body, now):
        return rest
    message = (
        "Azure has been working on the container app for over an hour and refuses changes meanwhile. "
        "Ask Azure's support about the app if this lasts; it is looked at every few minutes."
    )
    return replace(rest, trouble=_wait("AzureStuck", message), late=True)


def interrupted(situation: Situation, seen: Seen, trouble: Finding | None) -> Rest:
    """What to say when the next step cannot be done yet: it was refused, does not show, or something must be known."""
    if situation.aim not in (Aim.SERVE, Aim.PREPARE) or not situation.ruling.manages:
        return Rest(Outcome.PROGRESS, trouble=trouble)
    told = situation.tenant.condition("SecretsReady")
    secrets = None if told is not None and told.status == "True" else _PREPARING
    return Rest(Outcome.PROGRESS, secrets=secrets, app=meanwhile(situation, seen), trouble=trouble)


def _provide(situation: Situation, task: Task, seen: Seen, answered: bool | None) -> Step:
    status = task.tenant.status
    if FINALIZER not in task.tenant.metadata.finalizers:
        return Finalize()
    if status.cell is None:
        return Rest(Outcome.PROGRESS, secrets=_PREPARING, app=meanwhile(situation, seen), at_once=True)
    if unseen := tuple(resource for resource in _BY_NAME if resource.kind not in seen):
        return Observe(unseen)
    if (step := _before_app(task, seen)) is not None:
        return step
    ready = Finding("True", "SecretsReady", "The credentials are in the vault and only this tenant can read them.")
    entitled = status.entitlement is not None and status.entitlement.serves
    known = task.bundle is None or status.credentials == in_force(task.bundle)
    changing = situation.aim is Aim.SERVE and status.runtime not in (None, task.runtime)
    if not entitled or not known or changing:
        # Whoever verifies must know the right and the credentials before a container comes up, and whoever counts how
        # many containers are replaced at a time must know of this one before it is.
        return Rest(Outcome.PROGRESS, secrets=ready, app=meanwhile(situation, seen), at_once=True)
    if situation.aim is Aim.PREPARE:
        return _pause(situation, seen, ready)
    return _serve(situation, task, seen, ready, answered)


def _before_app(task: Task, seen: Seen) -> Step | None:
    due: list[Apply] = []
    for resource in _BEFORE_APP:
        if any(step.resource.kind in resource.depends_on for step in due):
            continue  # what it rests on comes first
        step = _bring(resource, task, seen)
        if isinstance(step, Observe):
            return step
        if step is not None:
            due.append(step)
    return Together(tuple(due)) if len(due) > 1 else next(iter(due), None)


def _bring(resource: Resource, task: Task, seen: Seen) -> Observe | Apply | None:
    """The step that this kind needs, None when it is as it should be."""
    if resource.kind not in seen:
        return Observe((resource,))
    state = seen[resource.kind]
    want = resource.want(task, seen)
    if state is None:
        return Apply(resource, want, ())
    paths = differences(want, state.body)
    return Apply(resource, want, tuple(paths)) if paths else None


def _serve(situation: Situation, task: Task, seen: Seen, secrets: Finding, answered: bool | None) -> Step:
    def progress(trouble: Finding | None = None) -> Rest:
        return Rest(Outcome.PROGRESS, secrets=secrets, app=meanwhile(situation, seen), trouble=trouble)

    told, state = task.tenant.condition("AppReady"), seen.get(_APP.kind)
    if state is not None and state.busy:
        return _again(situation, task, seen, secrets) or progress(
            _wait("AzureBusy", "Azure is still working on the container app.")
        )
    if state is not None and container_app.stopped(state.body):
        return Start(progress())
    if state is not None and task.tenant.status.runtime is None:
        found = container_app.runtime(state.body)
        if found not in (None, task.runtime):  # it may not be this tenant's turn
            return replace(progress(), runtime=found, at_once=True)
    step = _bring(_APP, task, seen)
    if step is not None:
        return step
    if state is None:
        raise LookupError("an app that was not seen has no step")
    if container_app.failed(state.body):
        if _again(situation, task, seen, secrets):
            return Apply(_APP, _APP.want(task, seen), ("properties.provisioningState",))
        return _failed(situation, task, seen, secrets, Outcome.STALLED)
    revision, endpoint = container_app.ready_revision(state.body), container_app.endpoint(state.body)
    if revision is None or endpoint is None:
        return progress(_wait("RevisionNotReady", "Azure has not started the newest revision yet."))
    status, asked = task.tenant.status, probe_asked(task.tenant)
    answers = (
        told is not None and told.status == "True" and revision == status.revision and asked in (None, status.probed)
    )
    if not answers and not answered:
        if answered is None:
            return Probe(endpoint)
        return progress(_wait(NO_ANSWER, "The newest revision has started but does not take messages yet."))
    serving = Finding("True", "Serving", "The container app takes messages.")
    return Rest(Outcome.SETTLED, secrets=secrets, app=serving, serving=revision)


def _wait(reason: str, message: str) -> Finding:
    return Finding("True", reason, message)


def _failed(situation: Situation, task: Task, seen: Seen, secrets: Finding, outcome: Outcome) -> Rest:
    """What came up before serves on: Azure moves messages only to a revision that is ready."""
    problem = _gave_up(situation, task)
    down = None if serves_on(task.tenant, seen) else replace(problem, status="False")
    return Rest(outcome, secrets=secrets, app=down, problem=problem)


def _again(situation: Situation, task: Task, seen: Seen, secrets: Finding) -> Rest | None:
    """While the same thing that failed is tried again: still the failure that it was, until it comes up."""
    told = task.tenant.condition("Stalled")
    same = told is not None and Finding(told.status, told.reason, told.message) in (_bad_image(task), _NO_CORES)
    return _failed(situation, task, seen, secrets, Outcome.PROGRESS) if same else None


def _gave_up(situation: Situation, task: Task) -> Finding:
    """Azure does not say why a revision did not start, so what the cell had left is the better guess."""
    needs = float(task.runtime.cpu) if task.runtime else 0.0
    return _NO_CORES if situation.cores is not None and needs > situation.cores else _bad_image(task)


def _bad_image(task: Task) -> Finding:
    image = task.runtime.image if task.runtime else ""
    message = f"Azure could not start the container: check the Plan's image {image}. Tried again now and then."
    return Finding("True", PROVISIONING_FAILED, message)


def _pause(situation: Situation, seen: Seen, secrets: Finding | None) -> Step:
    reason = situation.linked.reason if situation.aim is Aim.PREPARE else situation.right.reason
    if secrets is None and situation.tenant.status.secret_id is None:
        secrets = Finding("False", reason, "No credentials were made.")
    if _APP.kind not in seen:
        return Observe((_APP,))
    state = seen[_APP.kind]
    if situation.aim is Aim.PREPARE:
        message = situation.linked.message
    else:
        message = "There is no container app." if state is None else "The container app is stopped; its data is kept."
    app = Finding("False", reason, message)
    pausing = Rest(Outcome.PROGRESS, secrets=secrets, app=app)
    if state is not None and state.busy:
        return pausing
    if state is None or container_app.stopped(state.body):
        return Rest(Outcome.SETTLED, secrets=secrets, app=app)
    return Stop(pausing)


def _remove(task: Task, seen: Seen, *, moving: bool) -> Step:
    reason = "Deleting" if task.tenant.deleting else "CellFull" if moving else "RetentionOver"
    going = Finding("False", reason, "What the tenant has in Azure is being removed.")
    for resource in reversed(ORDER):
        if resource.kind not in seen:
            return Observe((resource,))
        state = seen[resource.kind]
        if state is not None:
            busy = Rest(Outcome.PROGRESS, secrets=going, app=going)
            return busy if state.busy else Remove(resource, state)
    if task.tenant.deleting:
        return Release()
    gone = Finding("False", reason, "Nothing of the tenant is left in Azure.")
    if moving:
        return Rest(Outcome.PROGRESS, secrets=gone, app=gone, gone=True, at_once=True)
    return Rest(Outcome.SETTLED, secrets=gone, app=gone, gone=True)


_PREPARING = Finding("False", "Provisioning", "Identity, secret and role are being made.")
_NOTHING = {True: "Nothing is made before payment.", False: "Nothing was made for this tenant."}
_NO_CORES = Finding(
    "True",
    CORES_EXHAUSTED,
    "Azure could not start the container, and its environment has too few vCPUs left: ask Azure for more, or add a "
    "Cell. Tried again now and then.",
)
