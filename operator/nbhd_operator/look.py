"""One look at one tenant: asks for the next step, carries it out in Azure or Kubernetes, and writes down what is.

``controller.py`` begins a look and says what follows from its end; ``reconcile.py`` decides each step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from nbhd_crds.api import Tenant
from nbhd_crds.api.meta import RECONCILE_POLICY_ANNOTATION
from nbhd_crds.client import GoneError, Tenants
from nbhd_crds.clock import Clock
from nbhd_operator import events, preview, reconcile
from nbhd_operator.azure import Azure
from nbhd_operator.cache import Cache, Key, key_of
from nbhd_operator.finding import Finding
from nbhd_operator.policy import Policy
from nbhd_operator.reasons import DRIFTED
from nbhd_operator.reconcile import Apply, Finalize, Observe, Probe, Release, Remove, Rest, Start, Step, Stop, Together
from nbhd_operator.resources import ContainerApp
from nbhd_operator.resources.base import State
from nbhd_operator.situation import Situation
from nbhd_operator.status import report, worth_writing

T = TypeVar("T")

log = logging.getLogger(__name__)

MANAGER = "nbhd-operator"


class ChangedError(Exception):
    """The Tenant is not what this look started from, or we lead no more: look again."""


@dataclass
class Look:
    """What one look knows so far. Only kinds other than the app are taken over from the look before."""

    situation: Situation
    seen: dict[str, State | None]
    recalled: set[str] = field(default_factory=set)
    """Kinds of ``seen`` that an earlier look saw: good enough to wait with, not to change something by."""
    answered: bool | None = None
    confirmed: bool = False
    advanced: bool = False
    """Something new was begun: what was waited for before is over."""
    drifted: bool = False
    """All was settled, and a scan of Azure says otherwise: a change now is a repair, to be told once."""

    @property
    def tenant(self) -> Tenant:
        """As last read."""
        return self.situation.tenant

    def take_in(self, tenant: Tenant) -> None:
        """Goes on from a newer version that says the same."""
        task = self.situation.task
        self.situation = replace(self.situation, tenant=tenant, task=replace(task, tenant=tenant) if task else None)


class Looker:
    """Carries looks out. ``record`` takes what people should see; ``may_act`` is asked before each change.

    ``drifted`` is told of each change by others, once: when it is put back, or shown because it may not be.
    """

    def __init__(
        self,
        *,
        cache: Cache,
        tenants: Tenants,
        azure: Azure,
        clock: Clock,
        record: Callable[[Tenant, events.Change], None],
        may_act: Callable[[], bool],
        drifted: Callable[[], None],
    ) -> None:
        self._cache, self._tenants, self._azure, self._now = cache, tenants, azure, clock
        self._record, self._may_act, self._drifted = record, may_act, drifted

    async def steps(self, look: Look) -> Rest | None:
        """Goes on until there is nothing more to do in this look; None: the Tenant was released.

        Raises ``ChangedError``, ``GoneError``, ``errors.Fault`` or what the API server's client raises.
        """
        decide = preview.decide if look.situation.ruling.policy is Policy.PLAN else reconcile.decide
        done: set[str] = set()
        while True:
            step = decide(look.situation, look.seen, look.answered)
            if isinstance(step, Rest):
                return step
            changes = step.steps if isinstance(step, Together) else (step,) if isinstance(step, Apply | Remove) else ()
            if changes and look.recalled:
                # Another operator may have changed what this rests on, such as the newest version of the secret.
                for kind in look.recalled:
                    look.seen.pop(kind, None)
                look.recalled.clear()
                continue
            marks = {f"{type(one).__name__} {one.resource.kind}" for one in changes}
            if marks & done:
                # It was done in this very look and still seems undone: Azure needs time to show it.
                late = Finding("True", "AzureCatchingUp", "Azure does not show yet what was changed.")
                return reconcile.interrupted(look.situation, look.seen, late)
            done |= marks
            if isinstance(step, Release):
                await self._tenants.remove_finalizer(await self._confirm(look))
                log.info("tenant released", extra=names(key_of(look.tenant)))
                return None
            rest = await self._do(look, step)
            if rest is not None:
                return rest

    async def write(self, look: Look, rest: Rest) -> set[Key]:
        """Writes the status if it is another; returns the keys of other Tenants that this may concern."""
        tenant = look.tenant
        status = report(look.situation, rest, look.seen, self._now())
        if not worth_writing(tenant.status, status, rest):
            return set()
        self._must_lead()
        written = await self._tenants.apply_status(tenant, status.wire(), MANAGER)
        if status.phase != tenant.status.phase:
            log.info("phase", extra=names(key_of(tenant)) | {"phase": status.phase, "was": tenant.status.phase})
        changes = events.changes(tenant.status, status)
        if any(change.reason == DRIFTED for change in changes):
            self._drifted()
        for change in changes:
            self._record(written, change)
        return self._cache.put_tenant(written) - {key_of(tenant)}

    async def _do(self, look: Look, step: Step) -> Rest | None:
        task = look.situation.task
        if isinstance(step, Finalize):
            self._take_in(look, await self._tenants.add_finalizer(await self._confirm(look)))
            return None
        if task is None:
            raise LookupError("a step in Azure needs a task")
        if isinstance(step, Observe):
            asked = (resource.observe(self._azure, task, look.seen) for resource in step.resources)
            found = await _side_by_side(asked)
            look.seen.update(zip((resource.kind for resource in step.resources), found, strict=True))
            return None
        if isinstance(step, Probe):
            look.answered = await self._azure.answers(step.endpoint)
            return None
        if isinstance(step, Together):
            await self._confirm(look)
            await _side_by_side(self._change(look, one) for one in step.steps)
            return None
        return await self._change(look, step)

    async def _change(self, look: Look, step: Step) -> Rest | None:
        """A step that writes to Azure."""
        await self._confirm(look)
        task = look.situation.task
        if task is None or not look.situation.ruling.manages:
            raise LookupError("a change in Azure needs a task, and leave to make it")
        name, place = task.name, task.place
        kind = getattr(getattr(step, "resource", None), "kind", ContainerApp.kind)
        if look.drifted:
            look.drifted = False
            self._drifted()
            self._record(look.tenant, events.drifted(kind, step.paths if isinstance(step, Apply) else ()))
        extra = names(key_of(look.tenant)) | {"kind": kind, "azure_name": name}
        if isinstance(step, Apply):
            why = {"reason": "Drifted", "paths": ",".join(step.paths)} if step.paths else {"reason": "Absent"}
            log.info("applying", extra=extra | why)
            # Not after a repair: one that does not last must be repeated less and less often.
            look.advanced |= not step.paths
            look.seen.pop(kind, None)
            state = await step.resource.apply(self._azure, task, step.want)
            if state is not None:
                look.seen[kind] = replace(state, new=not step.paths)
        elif isinstance(step, Remove):
            log.info("removing", extra=extra)
            look.advanced = True
            await step.resource.remove(self._azure, task, step.state)
            look.seen.pop(kind, None)
        elif isinstance(step, Start | Stop):
            starting = isinstance(step, Start)
            look.advanced = True
            log.info("starting" if starting else "stopping", extra=extra)
            await (self._azure.start_app if starting else self._azure.stop_app)(place, name)
            return step.then
        return None

    async def _confirm(self, look: Look) -> Tenant:
        """Reads the Tenant afresh before the first change of a look. Raises ``ChangedError`` if it is another."""
        self._must_lead()
        seen = look.tenant
        if look.confirmed:
            return seen
        fresh = await self._tenants.get(*key_of(seen))
        if fresh is None:
            raise GoneError(seen.metadata.name)
        self._cache.put_tenant(fresh)
        same = (
            fresh.metadata.uid == seen.metadata.uid
            and fresh.metadata.generation == seen.metadata.generation
            and fresh.deleting == seen.deleting
            and _policy(fresh) == _policy(seen)
        )
        if not same or fresh.status != seen.status:
            raise ChangedError
        look.confirmed = True
        self._take_in(look, fresh)
        return fresh

    def _take_in(self, look: Look, tenant: Tenant) -> None:
        self._cache.put_tenant(tenant)
        look.take_in(tenant)

    def _must_lead(self) -> None:
        if not self._may_act():
            raise ChangedError


async def _side_by_side(works: Iterable[Awaitable[T]]) -> list[T]:
    """What they return, in order. Raises the first fault of that order, once nothing is under way any more."""
    found = await asyncio.gather(*works, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return [one for one in found if not isinstance(one, BaseException)]


def _policy(tenant: Tenant) -> str | None:
    return tenant.metadata.annotations.get(RECONCILE_POLICY_ANNOTATION)


def names(key: Key) -> dict[str, object]:
    """The Tenant, for a log line."""
    return {"namespace": key.namespace, "tenant": key.name}
