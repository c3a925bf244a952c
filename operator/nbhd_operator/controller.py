"""The workers: take a tenant from the queue, have it looked at, and plan the next look.

What is wanted is decided in ``situation.py``, the look itself is ``look.py``'s, the delays are ``pace.py``'s. One
tenant's trouble never stops another's: every failure ends in that tenant's own back-off.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace

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
from nbhd_operator.errors import ROLE_PROPAGATION, CellFull, Denied, Fault, Retryable, Terminal, Throttled, Waiting
from nbhd_operator.finding import Finding
from nbhd_operator.look import ChangedError, Look, Looker, names
from nbhd_operator.metrics import Metrics
from nbhd_operator.pace import DENIED, PATIENCE, REFUSED, SLOW, VISIBLE, Pace
from nbhd_operator.queue import Closed, Priority, WorkQueue
from nbhd_operator.reasons import CORES_EXHAUSTED
from nbhd_operator.reconcile import Outcome, Rest
from nbhd_operator.resources import ContainerApp, RoleAssignment
from nbhd_operator.resources.base import State
from nbhd_operator.settings import Platform
from nbhd_operator.situation import Aim, Situation, assess, settled

log = logging.getLogger(__name__)

_KEEP_SEEN = 60.0  # seconds
_GOOD = ("settled", "progress", "gone")  # outcomes of a look that did what it should
_PACE = Pace()


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
        cells_wanted: Callable[[str], None] = lambda _: None,
        pace: Pace = _PACE,
    ) -> None:
        """``record`` takes what people should see; ``may_act`` is asked before each change, and says no to one who
        leads no more; ``refused`` is told of each fault, and says whether that has made the cell a full one;
        ``cells_wanted`` is told that a Tenant of the namespace waits until its Cells are known.
        """
        self._queue, self._cache, self._tenants, self._metrics = queue, cache, tenants, metrics
        self._platform, self._rings, self._now, self._pace = platform, rings, clock, pace
        self._refused, self._cells_wanted = refused, cells_wanted
        self._looker = Looker(
            cache=cache,
            tenants=tenants,
            azure=azure,
            clock=clock,
            record=record,
            may_act=may_act,
            drifted=metrics.drifts.inc,
        )
        self._suspects: dict[Key, bool] = {}  # whether people were told of the repair
        self._outdated: set[Key] = set()  # to be read afresh before the next look
        self._memory: dict[Key, tuple[str, float, dict[str, State | None]]] = {}
        self.deadlines: Deadlines[Key] = Deadlines(
            clock, lambda key: queue.add(key, Priority.DELAYED), lambda: cache.tenants
        )

    def suspect(self, key: Key) -> None:
        """Something in Azure is not as it was left: look even if the tenant seems settled."""
        self._suspects.setdefault(key, False)
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
            await asyncio.sleep(0)  # a look at who is settled waits for nothing, and thousands of them may be in line

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
        except (ChangedError, GoneError):
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
            log.warning("the API server did not do it", extra=names(key) | extra | {"again_in": round(delay, 1)})
            return "failed"
        except Exception as error:  # noqa: BLE001, RUF100 - a fault in one tenant must not end the worker
            self._memory.pop(key, None)
            self._queue.retry(key, self._pace.fault)
            self._metrics.failed(type(error).__name__)
            # The message may quote what it failed on, secrets included: say only what kind it was, and where.
            frames = traceback.extract_tb(error.__traceback__)[-3:]
            where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
            log.error("look failed", extra=names(key) | {"error": type(error).__name__, "where": where})
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
        if situation.waiting:
            self._cells_wanted(key.namespace)
            if self._queue.attempts(key) < VISIBLE and tenant.status.entitlement in (None, situation.right):
                self._queue.retry(key, self._pace.poll)  # as a rule it takes a moment, and nobody acts on it
                return "waiting"
        told = self._suspects.pop(key, False)
        recalled = self._recall(key, situation)
        look = Look(situation, recalled, set(recalled), drifted=calm and suspect and not told)
        try:
            rest = await self._looker.steps(look)
        except BaseException as error:
            if calm:  # what was suspected is not looked into yet, and nothing else would make us
                self._suspects[key] = not look.drifted
            if isinstance(error, Fault):
                return await self._failed(key, look, error)
            raise
        if rest is None:
            self._forget(key)  # released: it is Kubernetes' now
            return "gone"
        self._memory[key] = (situation.inputs, time.monotonic(), look.seen)
        if look.advanced:
            self._queue.forget(key)
        if self._queue.attempts(key) >= REFUSED:
            rest = reconcile.patience(rest, look.seen, self._now())
        if self._queue.attempts(key) < SLOW and not rest.late:
            rest = replace(rest, trouble=None)
        await self._write(look, rest)
        if rest.problem and rest.problem.reason == CORES_EXHAUSTED:
            full = CellFull(rest.problem.reason, rest.problem.message)
            rest = replace(rest, at_once=self._refused(look.situation, full))
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

    async def _write(self, look: Look, rest: Rest) -> None:
        for key in await self._looker.write(look, rest):
            self._queue.add(key)

    async def _failed(self, key: Key, look: Look, fault: Fault) -> str:
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
            if self._queue.attempts(key) > SLOW:
                message = "Azure is still spreading the role assignment; this takes minutes."
                trouble = Finding("True", "RoleSpreading", message)
            await self._write(look, reconcile.interrupted(look.situation, look.seen, trouble))
        else:
            after = fault.after if isinstance(fault, Retryable) else 0.0
            told_when = isinstance(fault, Throttled) and after > 0
            pace = self._pace.throttled if told_when else self._pace.fault
            delay = self._queue.retry(key, pace, at_least=after)
            if self._queue.streak(key) > VISIBLE:
                message = f"Azure keeps refusing and is asked again. {fault.message}"
                trouble = Finding("True", fault.reason, message)
            if trouble or look.situation.right != look.situation.tenant.status.entitlement:
                # Others act on the right to service, whatever Azure does.
                await self._write(look, reconcile.interrupted(look.situation, look.seen, trouble))
        log.log(
            logging.INFO if isinstance(fault, Waiting) else logging.WARNING,
            "Azure did not do it",
            extra=names(key) | {"reason": fault.reason, "azure": fault.message, "again_in": round(delay, 1)},
        )
        return outcome

    def _overdue(self, key: Key, look: Look, fault: Fault) -> bool:
        """True when a right had its time to spread: a role assignment's is counted from what Azure recorded."""
        if isinstance(fault, Denied):
            return self._queue.streak(key) >= DENIED
        if not isinstance(fault, Waiting) or self._queue.attempts(key) < REFUSED:
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
            seldom = rest.late or self._queue.attempts(key) >= PATIENCE
            self._queue.retry(key, self._pace.long_poll if seldom else self._pace.poll)
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
        return {
            kind: replace(state, new=False)
            for kind, state in seen.items()
            if kind != ContainerApp.kind and state is not None
        }

    async def _refresh(self, key: Key) -> None:
        fresh = await self._tenants.get(*key)
        for concerned in self._cache.put_tenant(fresh) if fresh else self._cache.drop_tenant(key):
            self._queue.add(concerned)

    def _forget(self, key: Key) -> None:
        self._memory.pop(key, None)
        self._suspects.pop(key, None)
        self.deadlines.put(key, None)
        self._queue.forget(key)
