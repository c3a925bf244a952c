"""The running operator between kopf's start-up and clean-up: clients, cache, queue, workers, drift scan.

``handlers.py`` drives it. It begins with complete lists, so that no decision about two Tenants is made while one
of them is still unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api import Cell, Plan, Tenant
from nbhd_crds.client import Objects, Tenants, connect
from nbhd_crds.clock import clock
from nbhd_crds.identity import Keyring
from nbhd_operator.azure import Azure
from nbhd_operator.cache import Cache, Key, key_of
from nbhd_operator.controller import Controller
from nbhd_operator.drift import DriftScan
from nbhd_operator.queue import Priority, WorkQueue
from nbhd_operator.settings import OperatorSettings
from nbhd_operator.situation import assess

log = logging.getLogger(__name__)

_DRAIN_SECONDS = 20.0


class Runtime:
    """Owns everything that lives as long as the process."""

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._resources = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.cache = Cache()
        self.failed = False
        """True once a part that must run for ever has ended by itself."""

    async def start(self) -> None:
        """Connects, lists, starts the workers. Waits for an API server that does not answer yet."""
        settings = self._settings
        api = await connect(settings.kubeconfig)
        self._resources.push_async_callback(api.close)
        self._tenants = Tenants(api)
        self._plans, self._cells = Objects(api, Plan, Plan.plural), Objects(api, Cell, Cell.plural)
        azure = await self._resources.enter_async_context(Azure(settings))
        self.queue: WorkQueue[Key] = WorkQueue()
        platform, now = settings.platform, clock(settings.clock_file)
        rings: dict[str, Keyring] = {ring.purpose: ring for ring in (
            settings.bot_keys, settings.webhook_keys, settings.gateway_keys, settings.model_keys
        )}  # fmt: skip
        self.controller = Controller(
            queue=self.queue,
            cache=self.cache,
            tenants=self._tenants,
            azure=azure,
            platform=platform,
            rings=rings,
            clock=now,
        )
        drift = DriftScan(
            cache=self.cache,
            azure=azure,
            assess=lambda tenant: assess(tenant, self.cache, platform, rings, now()),
            suspect=self.controller.suspect,
            relist=self._list,
            interval=settings.drift_seconds,
        )
        await self._first_list()
        forever = [self.controller.work() for _ in range(settings.workers)]
        for work in (*forever, self.controller.deadlines.run(), drift.run()):
            task = asyncio.create_task(work)
            task.add_done_callback(self._ended)
            self._tasks.append(task)
        log.info("operator started", extra={"tenants": len(self.cache.tenants), "workers": settings.workers})

    async def stop(self) -> None:
        """Lets the workers finish what they are at, within a bound, and closes everything."""
        if self._tasks:
            self.queue.close()
            try:
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await self.queue.drained()
            except TimeoutError:
                log.warning("stopped in the middle of a look; the next start goes on from there")
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._resources.aclose()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Half an operator is worse than none: what must run for ever and does not ends the process."""
        if task.cancelled() or self.queue.closed or self.failed:
            return
        self.failed = True
        log.error("a part of the operator ended", extra={"error": type(task.exception()).__name__})
        signal.raise_signal(signal.SIGTERM)

    def on_tenant(self, event: str | None, tenant: Tenant) -> None:
        """A Tenant was listed (None), added, changed or deleted."""
        gone = event == "DELETED"
        concerned = self.cache.drop_tenant(key_of(tenant)) if gone else self.cache.put_tenant(tenant)
        for key in concerned:
            self.queue.add(key, Priority.BACKLOG if event is None else Priority.LIVE)

    def on_plan(self, event: str | None, plan: Plan) -> None:
        """A Plan changed: it may decide for any Tenant beside it."""
        key = key_of(plan)
        if event == "DELETED":
            self.cache.plans.pop(key, None)
        else:
            self.cache.plans[key] = plan
        self._wake(key.namespace)

    def on_cell(self, event: str | None, cell: Cell) -> None:
        """A Cell changed: it may decide for any Tenant beside it."""
        key = key_of(cell)
        if event == "DELETED":
            self.cache.cells.pop(key, None)
        else:
            self.cache.cells[key] = cell
        self._wake(key.namespace)

    def _wake(self, namespace: str) -> None:
        for key in self.cache.in_namespace(namespace):
            self.queue.add(key, Priority.BACKLOG)

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
                return

    async def _list(self) -> None:
        namespace, known = self._settings.namespace, self.cache.known()
        plans, cells = await self._plans.list(namespace), await self._cells.list(namespace)
        for key in self.cache.replace(await self._tenants.list(namespace), plans, cells, known):
            self.queue.add(key, Priority.BACKLOG)
