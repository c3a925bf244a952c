"""How a change of a Plan's runtime reaches its Tenants: a few at a time, and no further when those do not come up.

Pure: from a Plan and how the containers of its Tenants are to whose turn it is, and what to say of it. ``turns.py``
keeps it up to date; ``situation.py`` gives a Tenant whose turn it is not the runtime that its container was last made
from.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from nbhd_crds.api import Plan, PlanSpec, PlanStatus, Runtime, RuntimeCount
from nbhd_crds.api.meta import seconds
from nbhd_operator.cache import Key
from nbhd_operator.finding import Finding, conditions
from nbhd_operator.packed import Container, parts
from nbhd_operator.policy import ruled
from nbhd_operator.reasons import CORES_EXHAUSTED, PLANNED, PROVISIONING_FAILED, ROLLING_OUT, ROLLOUT_STOPPED

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


def canonical(runtime: Runtime | PlanSpec) -> Runtime:
    """The same runtime in the one spelling that is compared: ``60s`` and ``1m`` make the same container."""
    return _canonical(runtime.image, runtime.cpu, runtime.memory, runtime.cooldown, runtime.model)


@functools.lru_cache(maxsize=1024)
def _canonical(image: str, cpu: str, memory: str, cooldown: str, model: str) -> Runtime:
    return Runtime(
        image=image,
        cpu=f"{float(cpu):g}",
        memory=f"{float(memory.removesuffix('Gi')):g}Gi",
        cooldown=f"{seconds(cooldown)}s",
        model=model,
    )


def short(runtime: Runtime) -> str:
    """A short name that tells runtimes apart."""
    return hashlib.sha256(json.dumps(runtime.wire(), sort_keys=True).encode()).hexdigest()[:8]


def standing(container: Container, plan: Plan) -> Standing | None:
    """How far it has come with one Tenant; None without a container: the next one is made from the plan's runtime."""
    if not container.runtime:
        return None
    if container.runtime == parts(canonical(plan.spec)):
        if not container.rolling and (not container.due or container.up):
            return Standing.UPDATED
        return Standing.FAILED if container.stalled or container.silent else Standing.COMING
    rule = ruled(container.policy, plan)
    able = container.stalled in ("", PROVISIONING_FAILED, CORES_EXHAUSTED)
    if not container.due or not able or not (rule.manages or rule.by_plan):
        return Standing.ASIDE
    return Standing.WAITING if rule.manages else Standing.WITHHELD


def rollout(plan: Plan, tenants: Mapping[Container, Collection[Key]], before: Collection[Key] = ()) -> Rollout:
    """Where the rollout stands with the Plan's Tenants, by how their containers are.

    ``before`` are the turns given out earlier: who has one and did not use it keeps it.
    """
    counts, runtimes = Counter[Standing](), Counter[tuple[str, ...]]()
    waiting, failed = list[tuple[bool, bool, Key]](), list[str]()
    moving = False
    for container, keys in tenants.items():
        how = standing(container, plan)
        if how is None:
            continue
        counts[how] += len(keys)
        runtimes[container.runtime] += len(keys)
        if how is Standing.WAITING:
            # Whoever is down goes first: the change may be what mends it.
            waiting += [(key not in before, container.up and not container.rolling, key) for key in keys]
        elif how in (Standing.COMING, Standing.FAILED):
            moving |= container.rolling
        if how is Standing.FAILED:
            failed += [key.name for key in keys]
    spec = plan.spec.rollout
    free = 0 if spec.paused else max(spec.max_in_flight - counts[Standing.COMING] - counts[Standing.FAILED], 0)
    turns = frozenset(key for _, _, key in heapq.nsmallest(free, waiting))
    named = Counter({Runtime(**dict(zip(Runtime.model_fields, one, strict=True))): n for one, n in runtimes.items()})
    return Rollout(turns, counts, tuple(sorted(failed)), moving, named)


def report(plan: Plan, found: Rollout, now: datetime.datetime) -> PlanStatus:
    """The whole status of the Plan."""
    counts, own = found.counts, canonical(plan.spec)
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
