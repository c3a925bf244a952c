"""How a change of a Plan's runtime reaches its Tenants: a few at a time, and no further when those do not come up.

Pure: from a Plan and the statuses of its Tenants to whose turn it is, and what to say of it. ``turns.py`` keeps it up
to date; ``situation.py`` gives a Tenant whose turn it is not the runtime that its container was last made from.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

from nbhd_crds.api import Plan, PlanStatus, Runtime, RuntimeCount, Tenant
from nbhd_crds.api.meta import seconds
from nbhd_operator.cache import Key, key_of
from nbhd_operator.finding import Finding, conditions
from nbhd_operator.policy import ruling
from nbhd_operator.reasons import NO_ANSWER, PLANNED, PROVISIONING_FAILED, ROLLING_OUT, ROLLOUT_STOPPED

_NAMED = 5
_RUNTIMES = 10


class Standing(Enum):
    """How far the plan's runtime has come with one Tenant."""

    UPDATED = "updated"
    COMING = "coming"
    """It has it and did not take messages yet."""
    FAILED = "failed"
    """It has it, and a person must look why it does not come up."""
    WAITING = "waiting"
    """It has another one, and may take the plan's when its turn comes."""
    WITHHELD = "withheld"
    """The same, but the Plan's own reconcile policy does not allow it."""
    ASIDE = "aside"
    """The same, but nothing is due to it now, or it waits for a person: it asks for its turn when it goes on."""


@dataclass(frozen=True)
class Rollout:
    """How far it has come. Names are sorted."""

    turns: frozenset[Key]
    """Tenants that may take the plan's runtime now."""
    counts: Counter[Standing]
    failed: tuple[str, ...]
    moving: bool
    """A container that was there before is being replaced, or did not come up again."""
    runtimes: Counter[Runtime]


@functools.lru_cache(maxsize=1024)
def canonical(runtime: Runtime) -> Runtime:
    """The same runtime in the one spelling that is compared: ``60s`` and ``1m`` make the same container."""
    return Runtime(
        image=runtime.image,
        cpu=f"{float(runtime.cpu):g}",
        memory=f"{float(runtime.memory.removesuffix('Gi')):g}Gi",
        cooldown=f"{seconds(runtime.cooldown)}s",
        model=runtime.model,
    )


def short(runtime: Runtime) -> str:
    """A short name that tells runtimes apart."""
    return hashlib.sha256(json.dumps(runtime.wire(), sort_keys=True).encode()).hexdigest()[:8]


def standing(tenant: Tenant, plan: Plan) -> Standing | None:
    """How far it has come with this Tenant; None without a container: the next one is made from the plan's runtime."""
    runtime = tenant.status.runtime
    if runtime is None:
        return None
    return _standing(tenant, plan, _Said(tenant), own=runtime == canonical(plan.spec.runtime))


class _Said:
    """What the conditions of a Tenant say, looked up once: this is asked of every Tenant each time that one changed."""

    __slots__ = ("_by_type", "rolling", "up")

    def __init__(self, tenant: Tenant) -> None:
        self._by_type = {condition.type: condition for condition in tenant.status.conditions}
        self.rolling = self("UpToDate")[1] == ROLLING_OUT
        self.up = self("AppReady")[0] == "True"

    def __call__(self, kind: str) -> tuple[str, str]:
        found = self._by_type.get(kind)
        return (found.status, found.reason) if found else ("", "")


def _standing(tenant: Tenant, plan: Plan, said: _Said, *, own: bool) -> Standing:
    right, stalled = tenant.status.entitlement, said("Stalled")
    due = right is not None and right.serves and said("Linked")[0] == "True" and not tenant.deleting
    if own:
        if not said.rolling and (not due or said.up):
            return Standing.UPDATED
        failed = stalled[0] == "True" or said("Reconciling") == ("True", NO_ANSWER)
        return Standing.FAILED if failed else Standing.COMING
    rule = ruling(tenant, plan)
    able = stalled[0] != "True" or stalled[1] == PROVISIONING_FAILED
    if not due or not able or not (rule.manages or rule.by_plan):
        return Standing.ASIDE
    return Standing.WAITING if rule.manages else Standing.WITHHELD


def rollout(plan: Plan, tenants: Iterable[Tenant], before: Collection[Key] = ()) -> Rollout:
    """Where the rollout stands. ``before`` are the turns given out earlier: who has one and did not use it keeps it."""
    counts, runtimes = Counter[Standing](), Counter[_Parts]()
    waiting, failed = list[tuple[bool, bool, Key]](), list[str]()
    target, moving = _parts(canonical(plan.spec.runtime)), False
    for tenant in tenants:
        if tenant.status.runtime is None:
            continue
        said, parts = _Said(tenant), _parts(tenant.status.runtime)
        how = _standing(tenant, plan, said, own=parts == target)
        counts[how] += 1
        runtimes[parts] += 1
        if how is Standing.WAITING:
            # Whoever is down goes first: the change may be what mends it.
            key = key_of(tenant)
            waiting.append((key not in before, said.up and not said.rolling, key))
        elif how in (Standing.COMING, Standing.FAILED):
            moving |= said.rolling
        if how is Standing.FAILED:
            failed.append(tenant.metadata.name)
    spec = plan.spec.rollout
    free = 0 if spec.paused else max(spec.max_in_flight - counts[Standing.COMING] - counts[Standing.FAILED], 0)
    turns = frozenset(key for _, _, key in heapq.nsmallest(free, waiting))
    return Rollout(turns, counts, tuple(sorted(failed)), moving, _named(runtimes))


_Parts = tuple[str, ...]


def _parts(runtime: Runtime) -> _Parts:
    return runtime.image, runtime.cpu, runtime.memory, runtime.cooldown, runtime.model


def _named(found: Counter[_Parts]) -> Counter[Runtime]:
    fields = ("image", "cpu", "memory", "cooldown", "model")
    return Counter({Runtime(**dict(zip(fields, parts, strict=True))): number for parts, number in found.items()})


def report(plan: Plan, found: Rollout, now: datetime.datetime) -> PlanStatus:
    """The whole status of the Plan."""
    counts, own = found.counts, canonical(plan.spec.runtime)
    updating = counts[Standing.COMING] + counts[Standing.FAILED]
    others = sorted(
        (runtime for runtime in found.runtimes if runtime != own), key=lambda one: (-found.runtimes[one], short(one))
    )
    runtimes = [own, *others][:_RUNTIMES]
    return PlanStatus(
        observed_generation=plan.metadata.generation,
        tenants=sum(counts.values()),
        updated=counts[Standing.UPDATED],
        updating=updating,
        waiting=counts[Standing.WAITING] + counts[Standing.WITHHELD] + counts[Standing.ASIDE],
        runtimes=tuple(
            RuntimeCount(image=one.image, runtime=short(one), tenants=found.runtimes[one]) for one in runtimes
        ),
        conditions=conditions(_findings(plan, found), plan.status.conditions, plan.metadata.generation, now),
    )


def _findings(plan: Plan, found: Rollout) -> dict[str, Finding]:
    waiting, withheld = found.counts[Standing.WAITING], found.counts[Standing.WITHHELD]
    calm = Finding("False", "NotStalled", "Nothing waits for a person.")
    if found.failed and not found.counts[Standing.COMING] and not found.turns and (waiting or found.moving):
        return _stopped(plan, found)
    if found.moving or found.turns or (waiting and not plan.spec.rollout.paused):
        message = "The plan's tenants are given its runtime, a few at a time."
        rolling = Finding("True", ROLLING_OUT, message)
        return {"Ready": Finding("False", ROLLING_OUT, message), "Reconciling": rolling, "Stalled": calm}
    if waiting or withheld:  # as a person wants it, so it is neither unfinished nor done: no Ready
        if waiting:
            held = Finding("False", "RolloutPaused", "Tenants wait for the plan's runtime: unset spec.rollout.paused.")
        else:
            message = "The Plan's reconcile policy allows no change; status.planned of each tenant says what is due."
            held = Finding("False", PLANNED, message)
        return {"Reconciling": held, "Stalled": calm}
    message = "Every tenant that is served and may be changed runs the plan's runtime."
    return {
        "Ready": Finding("True", "RolledOut", message),
        "Reconciling": Finding("False", "RolledOut", message),
        "Stalled": calm,
    }


def _stopped(plan: Plan, found: Rollout) -> dict[str, Finding]:
    names = ", ".join(found.failed[:_NAMED]) + (", …" if len(found.failed) > _NAMED else "")
    message = (
        f"No further tenant is changed, for {len(found.failed)} do not come up: {names}. See kubectl describe tenant; "
        f"correct the Plan's runtime, or set it back (image {plan.spec.image})."
    )
    return {
        kind: Finding(status, ROLLOUT_STOPPED, message)
        for kind, status in (("Ready", "False"), ("Reconciling", "False"), ("Stalled", "True"))
    }
