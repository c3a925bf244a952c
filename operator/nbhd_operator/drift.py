"""Finds what changed in Azure behind our back, by listing each cell's apps now and then rather than asking per tenant.

It decides nothing and repairs nothing: a tenant whose app is missing or different is handed to the controller as
suspect. The same round lists our own objects again, because a watch may lose a deletion.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from nbhd_crds.api import Tenant
from nbhd_operator.azure import Azure
from nbhd_operator.cache import Cache, Key
from nbhd_operator.diff import differences
from nbhd_operator.errors import Fault
from nbhd_operator.metrics import Metrics
from nbhd_operator.resources import container_app
from nbhd_operator.resources.base import Body, Place
from nbhd_operator.situation import Aim, Situation

log = logging.getLogger(__name__)


class DriftScan:
    """Scans every ``interval`` seconds; hands each tenant that looks wrong to ``suspect``."""

    def __init__(
        self,
        *,
        cache: Cache,
        azure: Azure,
        assess: Callable[[Tenant], Situation],
        suspect: Callable[[Key], None],
        relist: Callable[[], Awaitable[None]],
        interval: float,
        metrics: Metrics,
    ) -> None:
        self._cache, self._azure, self._assess = cache, azure, assess
        self._suspect, self._relist, self._interval, self._metrics = suspect, relist, interval, metrics

    async def run(self) -> None:
        """For ever. A failed round is logged and leaves everything as it was."""
        while True:
            await asyncio.sleep(self._interval * random.uniform(0.9, 1.1))  # noqa: S311 - jitter, not a secret
            try:
                await self._relist()
                await self.scan()
                self._metrics.succeeded()
            except Exception as error:  # noqa: BLE001, RUF100 - the next round may do better
                reason = error.reason if isinstance(error, Fault) else type(error).__name__
                log.warning("drift scan failed", extra={"reason": reason})

    async def scan(self) -> None:
        """One round over all cells. A list that fails says nothing, least of all that apps are missing."""
        expected: dict[Place, dict[str, tuple[Key, Situation]]] = {}
        for key, tenant in self._cache.tenants.items():
            situation = self._assess(tenant)
            if situation.task and tenant.status.cell and situation.aim in (Aim.SERVE, Aim.PAUSE):
                expected.setdefault(situation.task.place, {})[situation.task.name] = (key, situation)
        for place, tenants in expected.items():
            found = {str(app["name"]): app async for app in self._azure.list_apps(place)}
            for name, (key, situation) in tenants.items():
                if paths := _drift(situation, found.get(name)):
                    log.warning("drift", extra={"tenant": key.name, "namespace": key.namespace, "paths": paths})
                    self._metrics.drifts.inc()
                    self._suspect(key)


def _drift(situation: Situation, app: Body | None) -> str:
    status, task = situation.tenant.status, situation.task
    if situation.aim is Aim.PAUSE:
        return "running" if app is not None and not container_app.stopped(app) else ""
    if not status.revision or task is None or status.identity is None or status.secret_id is None:
        return ""  # not there yet; the controller is on it
    if app is None:
        return "absent"
    if container_app.state(app).busy:
        return ""
    if container_app.stopped(app):
        return "stopped"
    want = container_app.body(task, identity_id=status.identity.resource_id, secret_url=status.secret_id)
    return ",".join(differences(want, app))
