"""The running operator between kopf's start-up and clean-up: clients, cache, queue, election, workers, keeper.

``handlers.py`` drives it. It begins with complete lists, so that no decision about two Tenants is made while one
of them is still unknown. Then it leads at once, or stands by with a warm cache until it is elected: one that stands by
differs from a leader in nothing but that nobody works and nothing is queued.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api import Cell, Plan, Tenant
from nbhd_crds.api.meta import GROUP
from nbhd_crds.api.roles import LEASE
from nbhd_crds.client import Leases, Lists, Meta, Objects, Tenants, connect, namespace_uid
from nbhd_crds.clock import clock
from nbhd_crds.election import Election, identity
from nbhd_crds.health import Readiness, health_app
from nbhd_crds.identity import Keyring
from nbhd_crds.listener import listening
from nbhd_operator.azure import Azure
from nbhd_operator.cache import Cache, Key, key_of
from nbhd_operator.controller import Controller
from nbhd_operator.errors import Fault
from nbhd_operator.events import Recorder, poster
from nbhd_operator.keeper import Keeper
from nbhd_operator.metrics import Metrics
from nbhd_operator.packed import Packed
from nbhd_operator.progress import stuck
from nbhd_operator.queue import Priority, WorkQueue
from nbhd_operator.settings import OperatorSettings
from nbhd_operator.situation import Situation, assess
from nbhd_operator.turns import Turns
from nbhd_operator.watches import Watches

log = logging.getLogger(__name__)

_DRAIN_SECONDS = 20.0


class Runtime:
    """Owns everything that lives as long as the process."""

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._resources = contextlib.AsyncExitStack()
        self._leadership = contextlib.AsyncExitStack()
        self._leading = False
        self._campaign: asyncio.Task[None] | None = None
        self._election: Election | None = None
        self._readiness = Readiness("the list of Tenants is not complete yet")
        self.metrics = Metrics()
        self.watches = Watches([Tenant.plural, Plan.plural, Cell.plural])
        self.cache = Cache()
        self.queue: WorkQueue[Key] = WorkQueue()
        self._versions: dict[str, str] = {}
        self.failed = False
        """True once a part that must run for ever has ended by itself."""

    async def start(self) -> None:
        """Connects, lists, and leads or stands by. Waits for an API server that does not answer yet."""
        settings, name = self._settings, identity()
        self.metrics.read(self.queue, self.cache, lambda: self._leading)
        if settings.health_listen:
            health = health_app(self._unready, stuck=self._stuck, metrics=self.metrics.registry)
            await self._resources.enter_async_context(listening(health, settings.health_listen, drain=1))
        api = await connect(settings.kubeconfig)
        self._resources.push_async_callback(api.close)
        self._tenants = Tenants(api)
        self._list_tenants = Lists(api, Tenant.plural, settings.namespace, self.cache.pack)
        self._list_plans = Lists(api, Plan.plural, settings.namespace, Plan.model_validate_json)
        self._list_cells = Lists(api, Cell.plural, settings.namespace, Cell.model_validate_json)
        azure = await self._resources.enter_async_context(Azure(settings, self.metrics))
        self._recorder = Recorder(poster(api), name, self.metrics)
        if settings.lease_namespace:
            self._election = Election(Leases(api, settings.lease_namespace, LEASE), name)
        platform, now = settings.platform, clock(settings.clock_file)
        rings: dict[str, Keyring] = {ring.purpose: ring for ring in (
            settings.bot_keys, settings.webhook_keys, settings.gateway_keys, settings.model_keys
        )}  # fmt: skip

        def may_act() -> bool:
            return self._election is None or self._election.leading

        def refused(situation: Situation, fault: Fault) -> bool:
            return self.keeper.refused(situation, fault)

        def cells_wanted(namespace: str) -> None:
            self.keeper.wanted(namespace)

        self.controller = Controller(
            queue=self.queue,
            cache=self.cache,
            tenants=self._tenants,
            azure=azure,
            platform=platform,
            rings=rings,
            clock=now,
            metrics=self.metrics,
            record=self._recorder.record,
            may_act=may_act,
            refused=refused,
            cells_wanted=cells_wanted,
        )
        self._turns = Turns(
            cache=self.cache,
            plans=Objects(api, Plan, Plan.plural),
            wake=self.queue.add,
            clock=now,
            record=self._recorder.record,
            may_act=may_act,
        )
        self.keeper = Keeper(
            cache=self.cache,
            azure=azure,
            objects=Objects(api, Cell, Cell.plural),
            namespace_uid=namespace_uid(api),
            platform=platform,
            clock=now,
            metrics=self.metrics,
            assess=lambda tenant: assess(tenant, self.cache, platform, rings, now()),
            suspect=self.controller.suspect,
            wake=lambda key: self._add(key, urgency(self.cache.packed.get(key), listed=False)),
            relist=self._list,
            record=self._recorder.record,
            interval=settings.drift_seconds,
            may_act=may_act,
        )
        await self._first_list()
        self._readiness.serving()
        log.info("operator started", extra={"tenants": len(self.cache.tenants), "workers": settings.workers})
        if self._election is None:
            await self._leadership.enter_async_context(self._lead())
        else:
            self._campaign = asyncio.create_task(self._election.run(self._lead))
            self._campaign.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Lets the workers finish what they are at, within a bound, gives the Lease up, and closes everything."""
        self._readiness.stopping()
        self.queue.close()
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self.queue.drained()
        except TimeoutError:
            log.warning("stopped in the middle of a look; the next start goes on from there")
        if self._campaign is not None:
            self._campaign.cancel()
            await asyncio.gather(self._campaign, return_exceptions=True)
        await self._leadership.aclose()
        if self._election is not None:
            await self._election.release()
        await self._resources.aclose()

    @contextlib.asynccontextmanager
    async def _lead(self) -> AsyncIterator[None]:
        """Works while the context lasts. At its end every worker has stopped, wherever it was."""
        settings = self._settings
        self.controller.anew()
        self._leading = True
        self.metrics.leader.set(1)
        self.metrics.looked_at = self.metrics.succeeded_at = time.monotonic()
        for key, packed in self.cache.packed.items():
            self.queue.add(key, urgency(packed, listed=True))
        forever = [self.controller.work() for _ in range(settings.workers)]
        tasks = [
            asyncio.create_task(work)
            for work in (
                *forever,
                self.controller.deadlines.run(),
                self._turns.run(),
                self.keeper.run(),
                self._recorder.run(),
            )
        ]
        for task in tasks:
            task.add_done_callback(self._ended)
        try:
            yield
        finally:
            self._leading = False
            self.metrics.leader.set(0)
            if self.queue.closed:
                await self._recorder.drain()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.queue.clear()

    def _unready(self) -> str | None:
        return self._readiness() or self.watches.missing()

    def _stuck(self) -> str | None:
        return stuck(
            longest_run=self.queue.longest_run,
            longest_wait=self.queue.longest_wait,
            since_look=time.monotonic() - self.metrics.looked_at,
        )

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Half an operator is worse than none: what must run for ever and does not ends the process."""
        if task.cancelled() or self.queue.closed or self.failed:
            return
        self.failed = True
        log.error("a part of the operator ended", extra={"error": type(task.exception()).__name__})
        signal.raise_signal(signal.SIGTERM)

    def knows(self, plural: str, meta: Mapping[str, Any]) -> bool:
        """True for a Tenant that is known in exactly this version."""
        names = (meta["namespace"], meta["name"], meta["uid"], meta["resourceVersion"])
        return plural == Tenant.plural and self.cache.same_tenant(*names) is not None

    def on_tenant(self, event: str | None, tenant: Tenant) -> None:
        """A Tenant was listed or added (None), changed or deleted."""
        gone = event == "DELETED"
        concerned = self.cache.drop_tenant(key_of(tenant)) if gone else self.cache.put_tenant(tenant)
        for key in concerned:
            self._add(key, urgency(self.cache.packed.get(key), listed=event is None))

    def on_plan(self, event: str | None, plan: Plan) -> None:
        """A Plan changed: unless only its status did, it may decide for any Tenant beside it."""
        key = key_of(plan)
        before = self.cache.plans.get(key)
        if event == "DELETED":
            self.cache.plans.pop(key, None)
        else:
            self.cache.plans[key] = plan
        self.cache.stir(key)
        if event == "DELETED" or before is None or not _alike(before, plan):
            self._wake(key.namespace)

    def on_cell(self, event: str | None, cell: Cell) -> None:
        """A Cell changed: unless only its status did, it may decide for any Tenant beside it."""
        key = key_of(cell)
        before = self.cache.cells.get(key)
        if event == "DELETED":
            self.cache.cells.pop(key, None)
        else:
            self.cache.cells[key] = cell
        if event == "DELETED" or before is None or not _alike(before, cell):
            self.keeper.changed(key)
            self._wake(key.namespace)

    def _wake(self, namespace: str) -> None:
        for key in self.cache.in_namespace(namespace):
            self._add(key, Priority.BACKLOG)

    def _add(self, key: Key, priority: Priority) -> None:
        if self._leading:  # whoever begins to lead looks at everything anyway
            self.queue.add(key, priority)

    async def _first_list(self) -> None:
        delay = 0.5
        while True:
            try:
                await self._list()
            except (ApiException, aiohttp.ClientError, config.ConfigException, TimeoutError, OSError) as error:
                log.warning(
                    "waiting for the API server",
                    extra={"error": type(error).__name__, "status": getattr(error, "status", None)},
                )
                await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
                delay = min(delay * 2, 5.0)
            else:
                break
        for plural, version in self._versions.items():
            self.watches.listed(plural, version)

    async def _list(self) -> None:
        def known_already(meta: Meta) -> Packed | None:
            return self.cache.same_tenant(meta.namespace, meta.name, meta.uid, meta.resource_version)

        known = self.cache.known()
        plans, cells = await self._list_plans(), await self._list_cells()
        tenants = await self._list_tenants(known_already)
        for key in self.cache.replace(tenants.items, plans.items, cells.items, known):
            self._add(key, Priority.BACKLOG)
        for key in self.cache.plans:
            self.cache.stir(key)
        self._versions = {
            Tenant.plural: tenants.version,
            Plan.plural: plans.version,
            Cell.plural: cells.version,
        }


def urgency(packed: Packed | None, *, listed: bool) -> Priority:
    """How urgent a look is at a Tenant that was ``listed``, or else changed just now; None: it is gone."""
    if packed is None:
        return Priority.LIVE
    if listed and not packed.unseen:
        return Priority.BACKLOG  # nobody waits for what a look has seen
    return Priority.LIVE if packed.cell else Priority.NEW


def _alike(one: Plan | Cell, other: Plan | Cell) -> bool:
    """True if both decide the same: at most the status is another, and that is our own writing."""

    def said(found: Plan | Cell) -> dict[str, str]:
        return {name: text for name, text in found.metadata.annotations.items() if name.startswith(f"{GROUP}/")}

    return one.metadata.uid == other.metadata.uid and one.spec == other.spec and said(one) == said(other)
