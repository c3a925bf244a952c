"""What one Tenant's facts amount to at a moment: right to service, plan, cell, claims, and hence what to aim for.

Pure, from the cache and the time; it asks nobody. ``reconcile.py`` goes on from the aim to single steps in Azure.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from nbhd_crds.api import Entitlement, Plan, Runtime, Tenant
from nbhd_crds.api.meta import FINALIZER, PROBE_ANNOTATION
from nbhd_crds.identity import Keyring
from nbhd_operator.cache import Cache, key_of
from nbhd_operator.claims import chat_owner, id_owner
from nbhd_operator.entitlement import RETENTION_OVER, entitlement, standing
from nbhd_operator.finding import Finding
from nbhd_operator.packed import parts
from nbhd_operator.placement import Undecided, barrier, cell_of, must_move
from nbhd_operator.plans import Unresolved, plan_of
from nbhd_operator.policy import Policy, Ruling, ruling
from nbhd_operator.resources.base import Place, Task
from nbhd_operator.resources.secret import bundle
from nbhd_operator.rollout import canonical
from nbhd_operator.settings import Platform

TEMPLATE_VERSION = 1
"""Raise it when a new operator writes other resources from the same inputs: every tenant is then looked at again."""
_ASKED = 64


class Aim(Enum):
    """What the tenant's resources should come to."""

    LEAVE = "leave"
    """Nothing was made and nothing is due: do not even ask Azure."""
    PREPARE = "prepare"
    """Paid, not linked: identity, secret and role, so that their slow spreading is over when the chat is known."""
    SERVE = "serve"
    """All of them, and the app runs."""
    PAUSE = "pause"
    """Whatever exists is kept, and the app is stopped."""
    REMOVE = "remove"
    """Nothing may be left in Azure."""
    MOVE = "move"
    """Azure has no room where it was placed: nothing may be left there, then it is placed elsewhere."""
    RELEASE = "release"
    """Being deleted with nothing of its own in Azure: let Kubernetes delete it."""


@dataclass(frozen=True)
class Situation:
    """The verdict. ``problem`` is set when a person must change something; then there is no task."""

    tenant: Tenant
    right: Entitlement
    standing: Entitlement
    """The right that payment gives, whatever ``spec.suspended`` says."""
    linked: Finding
    aim: Aim
    ruling: Ruling
    """How far we may go; it limits what is done, never the aim."""
    plan: Plan | None = None
    awaited: Runtime | None = None
    """The plan's runtime, while the container must keep another one until the tenant's turn comes."""
    task: Task | None = None
    problem: Finding | None = None
    cores: int | None = None
    """vCPUs that the cell had left when it was listed; None: not known."""
    waiting: Finding | None = None
    """Set, with no task, while something must be known before anything is done."""
    rival: Tenant | None = None
    """Another Tenant that this verdict rests on; to be read afresh before it counts."""
    inputs: str = ""
    """Hash of everything that the resources are computed from."""


def assess(
    tenant: Tenant, cache: Cache, platform: Platform, rings: Mapping[str, Keyring], now: datetime.datetime
) -> Situation:
    """The tenant's situation at ``now``."""
    namespace = tenant.metadata.namespace
    owner = id_owner(tenant, cache.same_id(tenant))
    plan, plan_problem = _plan(tenant, cache)
    right, paid = _rights(tenant, plan, now)
    linked, chat_rival = _linked(tenant, cache)
    rival = owner if owner is not tenant else chat_rival
    rule = ruling(tenant, plan)
    base = Situation(tenant, right, paid, linked, Aim.LEAVE, rule, plan, rival=rival)
    if owner is not tenant:
        return _duplicate(base, owner)

    aim = _aim(tenant, right, linked)
    if tenant.deleting and FINALIZER not in tenant.metadata.finalizers:
        aim = Aim.LEAVE
    elif tenant.deleting and rule.policy is Policy.DETACH:
        return _with(base, aim=Aim.RELEASE)
    if rule.policy is Policy.SKIP and aim is not Aim.LEAVE:
        return _with(base, aim=aim, inputs=_hash(base, aim, platform))
    if plan_problem and aim in (Aim.SERVE, Aim.PREPARE):  # pausing and removing need no plan
        return _with(base, aim=aim, problem=plan_problem)
    if aim is Aim.LEAVE:
        return _with(base, aim=aim, inputs=_hash(base, aim, platform))
    candidates = cache.candidates(namespace)
    try:
        at = cell_of(tenant, candidates, new=aim in (Aim.SERVE, Aim.PREPARE))
        place = Place.of(at.cell, platform)
    except Undecided as undecided:
        return _with(base, aim=aim, waiting=undecided.finding)
    except Unresolved as problem:
        return _without_cell(base, aim, Finding("True", problem.reason, problem.message), platform)
    except ValueError as missing:
        return _with(base, aim=aim, problem=Finding("True", "CellIncomplete", f"{at.name}: {missing}"))
    forbidden, waiting = barrier(at)
    if forbidden:
        return _with(base, aim=aim, problem=forbidden)
    if must_move(tenant, at, candidates):
        aim = Aim.MOVE
    credentials = bundle(tenant, platform, dict(rings))
    chat = tenant.spec.telegram.chat_id if tenant.spec.telegram else None
    runtime, awaited = _runtime(base, aim, cache)
    task = Task(tenant, place, platform, runtime, chat, credentials)
    inputs = _hash(base, aim, platform, task, awaited)
    if waiting:  # who is settled stays so
        return _with(base, aim=aim, waiting=waiting, inputs=inputs)
    return _with(base, aim=aim, awaited=awaited, task=task, inputs=inputs, cores=at.standing.cores)


def settled(situation: Situation) -> bool:
    """True if everything was applied already and nothing is under way: then nothing is read or written at all."""
    tenant = situation.tenant
    status = tenant.status
    if situation.problem or not situation.inputs or status.inputs_hash != situation.inputs:
        return False
    if status.observed_generation != tenant.metadata.generation or tenant.deleting:
        return False
    provides = situation.aim in (Aim.SERVE, Aim.PREPARE) and situation.ruling.manages
    if provides and FINALIZER not in tenant.metadata.finalizers:
        return False
    return not any(c.status == "True" and c.type == "Reconciling" for c in status.conditions)


def probe_asked(tenant: Tenant) -> str | None:
    """The last request that the container be asked whether it answers, as status will repeat it."""
    asked = tenant.metadata.annotations.get(PROBE_ANNOTATION)
    return asked[:_ASKED] if asked else None


def _with(base: Situation, **changes: object) -> Situation:
    return Situation(**{**vars(base), **changes})


def _duplicate(base: Situation, owner: Tenant) -> Situation:
    if base.tenant.deleting:
        aim = Aim.RELEASE if FINALIZER in base.tenant.metadata.finalizers else Aim.LEAVE
        return _with(base, aim=aim)
    message = f"spec.id belongs to the older Tenant {owner.metadata.namespace}/{owner.metadata.name}: delete this one."
    return _with(base, problem=Finding("True", "IdInUse", message))


def _without_cell(base: Situation, aim: Aim, problem: Finding, platform: Platform) -> Situation:
    tenant = base.tenant
    if tenant.status.cell is None and tenant.deleting:
        return _with(base, aim=Aim.RELEASE)  # a cell is written down before anything is made
    if tenant.status.cell is None and aim in (Aim.PAUSE, Aim.REMOVE):
        return _with(base, aim=Aim.LEAVE, inputs=_hash(base, Aim.LEAVE, platform))
    return _with(base, aim=aim, problem=problem)


def _plan(tenant: Tenant, cache: Cache) -> tuple[Plan | None, Finding | None]:
    namespace = tenant.metadata.namespace
    try:
        return plan_of(tenant, [plan for key, plan in cache.plans.items() if key.namespace == namespace]), None
    except Unresolved as problem:
        return None, Finding("True", problem.reason, problem.message)


def _runtime(base: Situation, aim: Aim, cache: Cache) -> tuple[Runtime | None, Runtime | None]:
    """What a container is made from, and what it would be made from if it were the tenant's turn.

    A new container is not made to wait, nor is a tenant who chose another Plan; who was moved to one by a change of the
    Plans is. A plan that is only shown shows what the whole change would be.
    """
    tenant, plan, own = base.tenant, base.plan, base.tenant.status.runtime
    if plan is None:
        return own, None
    new = canonical(plan.spec)
    status = tenant.status
    chose = status.plan != plan.metadata.name and status.observed_generation != tenant.metadata.generation
    turn = key_of(tenant) in cache.turns.get(key_of(plan), ())
    if aim is not Aim.SERVE or own in (None, new) or chose or not base.ruling.manages or turn:
        return new, None
    return own, new


def _rights(tenant: Tenant, plan: Plan | None, now: datetime.datetime) -> tuple[Entitlement, Entitlement]:
    if tenant.deleting:
        deleted = Entitlement(state="Ended", reason="Deleted")
        return deleted, deleted
    spec = plan.spec if plan else None
    return entitlement(tenant, spec, now), standing(tenant, spec, now)


def _linked(tenant: Tenant, cache: Cache) -> tuple[Finding, Tenant | None]:
    if tenant.spec.telegram is None:
        return Finding("False", "AwaitingLink", "The subscriber has not connected a Telegram chat yet."), None
    owner = chat_owner(tenant, cache.same_chat(tenant))
    if owner is not tenant:
        name = f"{owner.metadata.namespace}/{owner.metadata.name}"
        return Finding(
            "False", "ChatTaken", f"The chat belongs to {name}: end that one or connect another chat."
        ), owner
    return Finding("True", "ChatLinked", "A Telegram chat is connected."), None


def _aim(tenant: Tenant, right: Entitlement, linked: Finding) -> Aim:
    if tenant.deleting:
        return Aim.REMOVE
    if right.serves:
        return Aim.SERVE if linked.status == "True" else Aim.PREPARE
    if (right.state, right.reason) == ("Ended", RETENTION_OVER):
        return Aim.REMOVE
    made = tenant.status.cell  # written down before anything is made
    return Aim.LEAVE if right.state == "Pending" and not made else Aim.PAUSE


def _hash(
    base: Situation,
    aim: Aim,
    platform: Platform,
    task: Task | None = None,
    awaited: Runtime | None = None,
) -> str:
    runtime = task.runtime if task and aim is Aim.SERVE else None
    digest = _begun(
        TEMPLATE_VERSION,
        base.plan.metadata.name if base.plan else None,
        parts(runtime) if runtime else None,
        parts(awaited) if awaited else None,
        task.place if task else None,
        probe_asked(base.tenant) if aim is Aim.SERVE else None,
        tuple(task.bundle.keys.items()) if task and task.bundle else None,
        platform,
        _said(base.right),
        _said(base.standing),
        base.linked.reason,
        aim.value,
        None if base.ruling.manages else (base.ruling.policy.value, base.ruling.said),
    ).copy()
    digest.update(base.tenant.spec.model_dump_json(by_alias=True, exclude_none=True).encode())
    return digest.hexdigest()[:32]


@functools.lru_cache(maxsize=256)
def _begun(*inputs: object) -> hashlib._Hash:
    """A hash of what thousands of Tenants have in common, to go on from with what they have not."""
    return hashlib.sha256(json.dumps(inputs, default=vars).encode())


def _said(right: Entitlement) -> tuple[str, ...]:
    return right.state, right.reason, right.until.isoformat() if right.until else ""
