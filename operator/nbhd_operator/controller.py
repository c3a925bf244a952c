"""The workers: take a tenant from the queue, look, do the next steps in Azure, and write down what is.

All I/O of reconciling is here; what to do is decided in ``situation.py`` and ``reconcile.py``, what to say in
``status.py``. One tenant's trouble never stops another's: every failure ends in that tenant's own back-off.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import aiohttp
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api import Tenant
from nbhd_crds.client import GoneError, Tenants, is_conflict
from nbhd_crds.clock import Clock
from nbhd_crds.identity import Keyring
from nbhd_operator import events, reconcile
from nbhd_operator.azure import Azure
from nbhd_operator.cache import Cache, Key, key_of
from nbhd_operator.deadlines import Deadlines
from nbhd_operator.errors import ROLE_PROPAGATION, Fault, Retryable, Terminal, Waiting
from nbhd_operator.finding import Finding
from nbhd_operator.metrics import Metrics
from nbhd_operator.queue import Backoff, Closed, Priority, WorkQueue
from nbhd_operator.reconcile import Apply, Finalize, Observe, Outcome, Probe, Release, Remove, Rest, Start, Step, Stop
from nbhd_operator.resources import ContainerApp, RoleAssignment
from nbhd_operator.resources.base import State
from nbhd_operator.settings import Platform
from nbhd_operator.situation import Aim, Situation, assess, settled
from nbhd_operator.status import report

log = logging.getLogger(__name__)

MANAGER = "nbhd-operator"
_PATIENCE = 60  # polls after which a thing is looked at less often
_SLOW = 20  # polls after which status says what is waited for
_VISIBLE = 5  # failures in a row after which a passing fault is shown in status
_REFUSED = 5  # refusals that we saw ourselves before a deadline counts: the clock may have jumped
_KEEP_SEEN = 60.0  # seconds
_GOOD = ("settled", "progress", "gone")  # outcomes of a look that did what it should


_POLL = Backoff(first=1.0, most=10.0, factor=1.15, jitter=0.1)
_LONG_POLL = Backoff(first=60.0, most=300.0)
_FAULT = Backoff(first=0.5, most=300.0)
_STALLED = Backoff(first=30.0, most=600.0)
_API_SERVER = Backoff(first=0.5, most=15.0)  # it comes back for all at once, and asking it is cheap
_CONFLICT = Backoff(first=0.05, most=2.0)


@dataclass(frozen=True)
class Pace:
    """How soon a tenant is looked at again, by what the last look came to."""

    poll: Backoff = _POLL
    long_poll: Backoff = _LONG_POLL
    fault: Backoff = _FAULT
    stalled: Backoff = _STALLED
    api_server: Backoff = _API_SERVER
    conflict: Backoff = _CONFLICT


_PACE = Pace()


class _ChangedError(Exception):
    """The Tenant is not what this look started from: look again."""


@dataclass
class _Look:
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


class Controller:
    """Reconciles tenants from ``queue`` until it is closed."""

    def __init__(
        self,
        *,
        queue: WorkQueue[Key],
        cache: Cache,
        tenants: Tenants,
        azure: Azure,
        platform: Platform,
        rings: Mapping[str, Keyring],
        clock: Clock,
        metrics: Metrics,
        record: Callable[[Tenant, events.Change], None],
        may_act: Callable[[], bool] = lambda: True,
        refused: Callable[[Situation, Fault], bool] = lambda *_: False,
        pace: Pace = _PACE,
    ) -> None:
        """``record`` takes what people should see; ``may_act`` is asked before each change, and says no to one who
        leads no more; ``refused`` is told of each fault, and says whether it has made the cell another one.
        """
        self._queue, self._cache, self._tenants, self._azure = queue, cache, tenants, azure
        self._platform, self._rings, self._now, self._pace = platform, rings, clock, pace
        self._metrics, self._record, self._may_act, self._refused = metrics, record, may_act, refused
        self._suspects: set[Key] = set()
        self._outdated: set[Key] = set()  # to be read afresh before the next look
        self._memory: dict[Key, tuple[str, float, dict[str, State | None]]] = {}
        self.deadlines: Deadlines[Key] = Deadlines(
            clock, lambda key: queue.add(key, Priority.DELAYED), lambda: cache.tenants
        )

    def suspect(self, key: Key) -> None:
        """Something in Azure is not as it was left: look even if the tenant seems settled."""
        self._suspects.add(key)
        self._queue.add(key, Priority.BACKLOG)

    def anew(self) -> None:
        """Forgets what earlier looks saw: another operator has worked since."""
        self._memory.clear()

    async def work(self) -> None:
        """One worker."""
        while True:
            try:
                key = await self._queue.get()
            except Closed:
                return
            try:
                await self.look(key)
            finally:
                self._queue.done(key)

    async def look(self, key: Key) -> None:
        """One look at one tenant. Never raises; whatever fails is tried again with a back-off."""
        begun = time.monotonic()
        outcome = await self._try_to_look(key)
        self._metrics.looked(outcome, time.monotonic() - begun)
        if outcome in _GOOD:
            self._metrics.succeeded()

    async def _try_to_look(self, key: Key) -> str:
        try:
            return await self._look(key)
        except (_ChangedError, GoneError):
            self._read_again(key)
            return "conflict"
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
            if is_conflict(error):
                self._read_again(key)
                return "conflict"
            self._outdated.add(key)
            status = getattr(error, "status", None)
            self._metrics.failed(f"ApiServer{status}" if status else f"ApiServer.{type(error).__name__}")
            delay = self._queue.retry(key, self._pace.api_server)
            extra = {"error": type(error).__name__, "status": status}
            log.warning("the API server did not do it", extra=_names(key) | extra | {"again_in": round(delay, 1)})
            return "failed"
        except Exception as error:  # noqa: BLE001, RUF100 - a fault in one tenant must not end the worker
            self._memory.pop(key, None)
            self._queue.retry(key, self._pace.fault)
            self._metrics.failed(type(error).__name__)
            # The message may quote what it failed on, secrets included: say only what kind it was, and where.
            frames = traceback.extract_tb(error.__traceback__)[-3:]
            where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
            log.error("look failed", extra=_names(key) | {"error": type(error).__name__, "where": where})
            return "failed"

    async def _look(self, key: Key) -> str:
        """What it came to."""
        if key in self._outdated:
            await self._refresh(key)
            self._outdated.discard(key)
        tenant = self._cache.tenants.get(key)
        if tenant is None:
            self._forget(key)
            return "gone"
        situation = await self._assess(tenant)
        if tenant.deleting and situation.aim is Aim.LEAVE:
            self._forget(key)
            return "gone"
        self.deadlines.put(key, situation.right.until)
        calm, suspect = settled(situation), key in self._suspects
        if calm and not suspect:
            self._finish(key)
            return "settled"
        self._suspects.discard(key)
        recalled = self._recall(key, situation)
        look = _Look(situation, recalled, set(recalled), drifted=calm and suspect)
        try:
            rest = await self._steps(key, look)
        except Fault as fault:
            return await self._failed(key, look, fault)
        if rest is None:
            self._forget(key)  # released: it is Kubernetes' now
            return "gone"
        self._memory[key] = (situation.inputs, time.monotonic(), look.seen)
        if look.advanced:
            self._queue.forget(key)
        if self._queue.attempts(key) < _SLOW:
            rest = replace(rest, trouble=None)
        await self._write(look, rest)
        self._plan_next(key, look.situation, rest)
        return rest.outcome.value

    async def _assess(self, tenant: Tenant) -> Situation:
        """The situation, once every other Tenant that it rests on was read afresh."""
        checked: set[str] = set()
        while True:
            situation = assess(tenant, self._cache, self._platform, self._rings, self._now())
            rival = situation.rival
            if rival is None or rival.metadata.uid in checked or settled(situation):
                return situation
            checked.add(rival.metadata.uid)
            await self._refresh(key_of(rival))

    async def _steps(self, key: Key, look: _Look) -> Rest | None:
        done: set[str] = set()
        while True:
            step = reconcile.decide(look.situation, look.seen, look.answered)
            if isinstance(step, Rest):
                return step
            if isinstance(step, Apply | Remove) and look.recalled:
                # Another operator may have changed what this rests on, such as the newest version of the secret.
                for kind in look.recalled:
                    look.seen.pop(kind, None)
                look.recalled.clear()
                continue
            mark = f"{type(step).__name__} {getattr(getattr(step, 'resource', None), 'kind', '')}"
            if isinstance(step, Apply | Remove) and mark in done:
                # It was done in this very look and still seems undone: Azure needs time to show it.
                late = Finding("True", "AzureCatchingUp", "Azure does not show yet what was changed.")
                return Rest(Outcome.PROGRESS, app=reconcile.meanwhile(look.situation, look.seen), trouble=late)
            done.add(mark)
            if isinstance(step, Release):
                await self._tenants.remove_finalizer(await self._confirm(look))
                log.info("tenant released", extra=_names(key))
                return None
            rest = await self._do(key, look, step)
            if rest is not None:
                return rest

    async def _do(self, key: Key, look: _Look, step: Step) -> Rest | None:
        task = look.situation.task
        if isinstance(step, Finalize):
            self._take_in(look, await self._tenants.add_finalizer(await self._confirm(look)))
            return None
        if task is None:
            raise LookupError("a step in Azure needs a task")
        name, place, app = task.name, task.place, ContainerApp.kind
        if isinstance(step, Observe):
            look.seen[step.resource.kind] = await step.resource.observe(self._azure, task, look.seen)
        elif isinstance(step, Probe):
            look.answered = await self._azure.answers(step.endpoint)
        else:
            await self._confirm(look)
            if look.drifted:
                look.drifted = False
                paths = step.paths if isinstance(step, Apply) else ()
                self._record(look.situation.tenant, events.drifted(paths))
            extra = _names(key) | {"kind": getattr(getattr(step, "resource", None), "kind", app), "azure_name": name}
            if isinstance(step, Apply):
                why = {"reason": "Drifted", "paths": ",".join(step.paths)} if step.paths else {"reason": "Absent"}
                log.info("applying", extra=extra | why)
                kind = step.resource.kind
                # Not after a repair: one that does not last must be repeated less and less often.
                look.advanced |= not step.paths
                look.seen.pop(kind, None)
                state = await step.resource.apply(self._azure, task, step.want)
                if state is not None:
                    look.seen[kind] = state
            elif isinstance(step, Remove):
                log.info("removing", extra=extra)
                look.advanced = True
                await step.resource.remove(self._azure, task, step.state)
                look.seen.pop(step.resource.kind, None)
            elif isinstance(step, Start | Stop):
                starting = isinstance(step, Start)
                look.advanced = True
                log.info("starting" if starting else "stopping", extra=extra)
                await (self._azure.start_app if starting else self._azure.stop_app)(place, name)
                return step.then
        return None

    async def _confirm(self, look: _Look) -> Tenant:
        """Reads the Tenant afresh before the first change of a look. Raises ``_ChangedError`` if it is another."""
        self._must_lead()
        seen = look.situation.tenant
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
        )
        if not same or fresh.status != seen.status:
            raise _ChangedError
        look.confirmed = True
        self._take_in(look, fresh)
        return fresh

    def _take_in(self, look: _Look, tenant: Tenant) -> None:
        self._cache.put_tenant(tenant)
        task = look.situation.task
        look.situation = replace(look.situation, tenant=tenant, task=replace(task, tenant=tenant) if task else None)

    async def _write(self, look: _Look, rest: Rest) -> None:
        tenant = look.situation.tenant
        status = report(look.situation, rest, look.seen, self._now())
        if status.wire() == tenant.status.wire():
            return
        self._must_lead()
        written = await self._tenants.apply_status(tenant, status.wire(), MANAGER)
        if status.phase != tenant.status.phase:
            log.info("phase", extra=_names(key_of(tenant)) | {"phase": status.phase, "was": tenant.status.phase})
        for change in events.changes(tenant.status, status):
            self._record(written, change)
        for key in self._cache.put_tenant(written) - {key_of(tenant)}:
            self._queue.add(key)

    def _must_lead(self) -> None:
        if not self._may_act():
            raise _ChangedError

    async def _failed(self, key: Key, look: _Look, fault: Fault) -> str:
        self._memory.pop(key, None)
        self._metrics.failed(fault.reason)
        if self._refused(look.situation, fault):
            self._queue.add(key)
        outcome, delay = "failed", 0.0
        trouble: Finding | None = None
        if isinstance(fault, Terminal) or self._overdue(key, look, fault):
            outcome, delay = "stalled", self._queue.retry(key, self._pace.stalled)
            await self._write(look, Rest(Outcome.STALLED, problem=Finding("True", fault.reason, fault.message)))
        elif isinstance(fault, Waiting):
            outcome, delay = "waiting", self._queue.retry(key, self._pace.poll)
            if self._queue.attempts(key) > _SLOW:
                message = "Azure is still spreading the role assignment; this takes minutes."
                trouble = Finding("True", "RoleSpreading", message)
            app = reconcile.meanwhile(look.situation, look.seen)
            await self._write(look, Rest(Outcome.PROGRESS, app=app, trouble=trouble))
        else:
            after = fault.after if isinstance(fault, Retryable) else 0.0
            delay = self._queue.retry(key, self._pace.fault, at_least=after)
            if self._queue.attempts(key) > _VISIBLE:
                message = f"Azure keeps refusing and is asked again. {fault.message}"
                trouble = Finding("True", fault.reason, message)
            if trouble or look.situation.right != look.situation.tenant.status.entitlement:
                # Others act on the right to service, whatever Azure does.
                await self._write(look, Rest(Outcome.PROGRESS, trouble=trouble))
        log.log(
            logging.INFO if isinstance(fault, Waiting) else logging.WARNING,
            "Azure did not do it",
            extra=_names(key) | {"reason": fault.reason, "azure": fault.message, "again_in": round(delay, 1)},
        )
        return outcome

    def _overdue(self, key: Key, look: _Look, fault: Fault) -> bool:
        """True when a role assignment had its time, counted from what Azure recorded."""
        if not isinstance(fault, Waiting) or self._queue.attempts(key) < _REFUSED:
            return False
        role = look.seen.get(RoleAssignment.kind)
        created = (role.body["properties"].get("createdOn") if role else None) or ""
        with contextlib.suppress(ValueError):
            return self._now() - datetime.datetime.fromisoformat(created) > ROLE_PROPAGATION
        return False

    def _plan_next(self, key: Key, situation: Situation, rest: Rest) -> None:
        if rest.at_once:
            self._queue.add(key)
        elif rest.outcome is Outcome.PROGRESS:
            self._queue.retry(key, self._pace.poll if self._queue.attempts(key) < _PATIENCE else self._pace.long_poll)
        elif rest.outcome is Outcome.STALLED:
            if situation.task is not None:  # without one only a change in Kubernetes helps, and that wakes us
                self._queue.retry(key, self._pace.stalled)
        else:
            self._finish(key)

    def _finish(self, key: Key) -> None:
        self._memory.pop(key, None)
        self._queue.forget(key)

    def _read_again(self, key: Key) -> None:
        """There is a newer version than the one that we looked at."""
        self._memory.pop(key, None)
        self._outdated.add(key)
        self._queue.retry(key, self._pace.conflict)

    def _recall(self, key: Key, situation: Situation) -> dict[str, State | None]:
        """What the look before saw of the kinds that do not move, so that waiting for the app asks for the app only."""
        inputs, at, seen = self._memory.pop(key, ("", 0.0, {}))
        if situation.aim is Aim.REMOVE or inputs != situation.inputs or time.monotonic() - at > _KEEP_SEEN:
            return {}
        return {kind: state for kind, state in seen.items() if kind != ContainerApp.kind and state is not None}

    async def _refresh(self, key: Key) -> None:
        fresh = await self._tenants.get(*key)
        for concerned in self._cache.put_tenant(fresh) if fresh else self._cache.drop_tenant(key):
            self._queue.add(concerned)

    def _forget(self, key: Key) -> None:
        self._memory.pop(key, None)
        self._suspects.discard(key)
        self.deadlines.put(key, None)
        self._queue.forget(key)


def _names(key: Key) -> dict[str, object]:
    return {"namespace": key.namespace, "tenant": key.name}
