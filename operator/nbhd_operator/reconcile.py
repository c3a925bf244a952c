"""The next step for one Tenant: a pure function of its situation and of what this look has seen in Azure.

``controller.py`` asks for a step, carries it out, adds what it saw, and asks again until the answer is ``Rest``.
Nothing is remembered between looks but what Azure and the Tenant's status say, so whoever woke us, however often, the
answer is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nbhd_crds.api.meta import FINALIZER
from nbhd_crds.api.tenant import AppliedCredentials
from nbhd_operator.diff import differences
from nbhd_operator.finding import Finding
from nbhd_operator.resources import ORDER, ContainerApp, container_app
from nbhd_operator.resources.base import Body, Bundle, Resource, Seen, State, Task
from nbhd_operator.situation import Aim, Situation

_APP = ContainerApp()
_BEFORE_APP = tuple(resource for resource in ORDER if resource.kind != _APP.kind)
PROVISIONING_FAILED = "ProvisioningFailed"


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
    """Look at one kind."""

    resource: Resource


@dataclass(frozen=True)
class Apply:
    """Make one kind as it should be; ``paths`` differ. Empty paths: it is not there."""

    resource: Resource
    want: Body
    paths: tuple[str, ...]


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
    """What keeps us from going on, although nobody has to do anything."""
    at_once: bool = False
    """Status must be written before the next step; then go on."""
    serving: str | None = None
    """The revision that answered, when the app is as it should be."""
    gone: bool = False
    """Absence of everything was observed."""


Step = Finalize | Release | Observe | Apply | Remove | Start | Stop | Probe | Rest


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
    if task is None:
        idle = Finding("False", situation.right.reason, "Nothing is made before payment.")
        return Rest(Outcome.SETTLED, secrets=idle, app=idle)
    if aim is Aim.REMOVE:
        return _remove(task, seen)
    if aim is Aim.PAUSE:
        return _pause(situation, seen, None)
    return _provide(situation, task, seen, answered)


def _provide(situation: Situation, task: Task, seen: Seen, answered: bool | None) -> Step:
    status = task.tenant.status
    if FINALIZER not in task.tenant.metadata.finalizers:
        return Finalize()
    if status.cell is None:
        preparing = Finding("False", "Provisioning", "Identity, secret and role are being made.")
        return Rest(Outcome.PROGRESS, secrets=preparing, app=_later(situation), at_once=True)
    for resource in _BEFORE_APP:
        step = _bring(resource, task, seen)
        if step is not None:
            return step
    ready = Finding("True", "SecretsReady", "The credentials are in the vault and only this tenant can read them.")
    if task.bundle is not None and status.credentials != in_force(task.bundle):
        # Whoever verifies must know the credentials before a container comes up with them.
        return Rest(Outcome.PROGRESS, secrets=ready, app=_later(situation), at_once=True)
    if situation.aim is Aim.PREPARE:
        return _pause(situation, seen, ready)
    return _serve(task, seen, ready, answered)


def _later(situation: Situation) -> Finding | None:
    """What to say of an app that is not touched yet; one that runs keeps what was said of it."""
    if situation.tenant.status.revision:
        return None
    if situation.aim is Aim.PREPARE:
        return Finding("False", situation.linked.reason, situation.linked.message)
    return Finding("False", "Provisioning", "The container app is being made.")


def _bring(resource: Resource, task: Task, seen: Seen) -> Step | None:
    """The step that this kind needs, None when it is as it should be."""
    if resource.kind not in seen:
        return Observe(resource)
    state = seen[resource.kind]
    want = resource.want(task, seen)
    if state is None:
        return Apply(resource, want, ())
    paths = differences(want, state.body)
    return Apply(resource, want, tuple(paths)) if paths else None


def _serve(task: Task, seen: Seen, secrets: Finding, answered: bool | None) -> Step:
    def progress(reason: str, message: str) -> Rest:
        return Rest(Outcome.PROGRESS, secrets=secrets, app=Finding("False", reason, message))

    state = seen.get(_APP.kind)
    if state is not None and state.busy:
        return progress("Provisioning", "Azure is working on the container app.")
    if state is not None and container_app.stopped(state.body):
        return Start(progress("Starting", "The container app is being started again."))
    step = _bring(_APP, task, seen)
    if step is not None:
        return step
    if state is None:
        raise LookupError("an app that was not seen has no step")
    if container_app.failed(state.body):
        return _failed(task, seen, secrets)
    revision, endpoint = container_app.ready_revision(state.body), container_app.endpoint(state.body)
    if revision is None or endpoint is None:
        return progress("RevisionNotReady", "Azure is starting the newest revision.")
    if revision != task.tenant.status.revision and not answered:
        if answered is None:
            return Probe(endpoint)
        return progress("AwaitingAnswer", "The newest revision has started but does not take messages yet.")
    serving = Finding("True", "Serving", "The newest revision takes messages.")
    return Rest(Outcome.SETTLED, secrets=secrets, app=serving, serving=revision)


def _failed(task: Task, seen: Seen, secrets: Finding) -> Step:
    told = task.tenant.condition("AppReady")
    if told is not None and told.reason == PROVISIONING_FAILED:
        return Apply(_APP, _APP.want(task, seen), ("properties.provisioningState",))
    image = task.plan.spec.image if task.plan else ""
    problem = Finding(
        "True",
        PROVISIONING_FAILED,
        f"Azure could not start the container: check the Plan's image {image}. Tried again.",
    )
    app = Finding("False", PROVISIONING_FAILED, problem.message)
    return Rest(Outcome.STALLED, secrets=secrets, app=app, problem=problem)


def _pause(situation: Situation, seen: Seen, secrets: Finding | None) -> Step:
    because = situation.linked if situation.aim is Aim.PREPARE else Finding("False", situation.right.reason, _PAUSED)
    app = Finding("False", because.reason, because.message)
    secrets = secrets or Finding("False", because.reason, _PAUSED)
    if _APP.kind not in seen:
        return Observe(_APP)
    state = seen[_APP.kind]
    if state is None:
        return Rest(Outcome.SETTLED, secrets=secrets, app=app)
    stopping = Rest(Outcome.PROGRESS, secrets=secrets, app=app)
    if state.busy:
        return stopping
    return Rest(Outcome.SETTLED, secrets=secrets, app=app) if container_app.stopped(state.body) else Stop(stopping)


def _remove(task: Task, seen: Seen) -> Step:
    reason = "Deleting" if task.tenant.deleting else "RetentionOver"
    going = Finding("False", reason, "What the tenant has in Azure is being removed.")
    for resource in reversed(ORDER):
        if resource.kind not in seen:
            return Observe(resource)
        state = seen[resource.kind]
        if state is not None:
            busy = Rest(Outcome.PROGRESS, secrets=going, app=going)
            return busy if state.busy else Remove(resource, state)
    if task.tenant.deleting:
        return Release()
    gone = Finding("False", reason, "Nothing of the tenant is left in Azure.")
    return Rest(Outcome.SETTLED, secrets=gone, app=gone, gone=True)


_PAUSED = "The app is stopped and its data is kept."
