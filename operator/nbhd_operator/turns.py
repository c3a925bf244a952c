"""Keeps every Plan's rollout going: gives Tenants their turn, and writes how far it has come into the Plan's status.

``rollout.py`` decides. Tenants' statuses are all that it knows: a restart forgets the turns that were given, and gives
them again. It looks at a Plan at most once a second, so that a thousand Tenants that change are a few writes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from nbhd_crds.api import Plan
from nbhd_crds.client import Objects, is_conflict
from nbhd_crds.clock import Clock
from nbhd_operator import events
from nbhd_operator.cache import Cache, Key
from nbhd_operator.look import MANAGER
from nbhd_operator.rollout import report, rollout

log = logging.getLogger(__name__)

_PAUSE = 1.0  # seconds
_LONGEST = 15.0
_SHARE = 10  # with very many tenants, rounds take no more than a tenth of the time


class Turns:
    """Looks at the Plans that something stirred. ``wake`` is told of each Tenant whose turn has come."""

    def __init__(
        self,
        *,
        cache: Cache,
        plans: Objects[Plan],
        wake: Callable[[Key], None],
        clock: Clock,
        record: Callable[[Plan, events.Change], None],
        may_act: Callable[[], bool] = lambda: True,
        pause: float = _PAUSE,
    ) -> None:
        self._cache, self._plans, self._wake, self._now = cache, plans, wake, clock
        self._record, self._may_act, self._pause = record, may_act, pause

    async def run(self) -> None:
        """For ever, beginning with every Plan."""
        self._cache.turns.clear()
        for key in self._cache.plans:
            self._cache.stir(key)
        pause = self._pause
        while True:
            begun = time.monotonic()
            well = await self.round()
            spent = time.monotonic() - begun
            pause = self._pause if well else min(pause * 2, _LONGEST)
            await asyncio.sleep(max(pause, min(spent * _SHARE, _LONGEST)))

    async def round(self) -> bool:
        """All Plans that something stirred since the last round. False: some failed, and are left to the next one."""
        well = True
        for key in sorted(self._cache.stirred()):
            plan = self._cache.plans.get(key)
            if plan is None:
                self._cache.turns.pop(key, None)
            elif self._may_act():
                try:
                    await self._look(key, plan)
                except Exception as error:  # noqa: BLE001, RUF100 - one Plan's trouble must not stop another's rollout
                    well = False
                    self._cache.stir(key)
                    if not is_conflict(error):  # a newer version is on its way to us
                        extra = {"namespace": key.namespace, "plan": key.name, "error": type(error).__name__}
                        log.warning("the plan's status was not written", extra=extra)
        return well

    async def _look(self, key: Key, plan: Plan) -> None:
        before = self._cache.turns.get(key, frozenset())
        found = rollout(plan, self._cache.of_plan(key), before)
        self._cache.turns[key] = found.turns
        for tenant in sorted(found.turns - before):
            self._wake(tenant)
        status = report(plan, found, self._now())
        if status.wire() == plan.status.wire():
            return
        written = await self._plans.apply_status(plan, status.wire(), MANAGER)
        if self._cache.plans.get(key) is plan:  # else the watch has brought a newer one meanwhile
            self._cache.plans[key] = written
        for change in events.rollout_changes(plan.status, status):
            self._record(written, change)
