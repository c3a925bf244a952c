"""Looks after the Cells: claims them, lists what is in them now and then, and writes down what it found.

What it learns goes two ways: into the cache as each Cell's ``Standing``, by which Tenants are placed and held back, and
into the Cell's status. A tenant whose resources differ from what was left for it is handed to the controller as
suspect. The same rounds list our own objects again, because a watch may lose a deletion. A start only reads the claims:
a cell with thousands of tenants is listed when its turn comes, or somebody must be placed. Decisions are in
``claims.py``, ``cells.py``, ``inventory.py`` and ``orphans.py``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

import aiohttp
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api import Cell, CellStatus, Tenant
from nbhd_crds.api.meta import REMOVE_ORPHANS_ANNOTATION, TAKE_OVER_ANNOTATION, KubernetesObject
from nbhd_crds.client import GoneError, Objects
from nbhd_crds.clock import Clock
from nbhd_crds.identity import azure_name
from nbhd_operator import cells, inventory, orphans
from nbhd_operator.azure import Azure
from nbhd_operator.cache import Cache, Key, key_of
from nbhd_operator.cells import CLAIMING, Look
from nbhd_operator.claims import CLAIM_TAG, Claim, cell_owner, claim_of, claim_text
from nbhd_operator.errors import Denied, Fault, NotFound, Terminal
from nbhd_operator.events import Change
from nbhd_operator.finding import Finding
from nbhd_operator.inventory import Inventory
from nbhd_operator.metrics import Metrics
from nbhd_operator.orphans import Stray
from nbhd_operator.packed import Packed
from nbhd_operator.placement import UNSEEN, Standing, whereabouts
from nbhd_operator.queue import Backoff, Closed, WorkQueue
from nbhd_operator.reasons import DRIFTED
from nbhd_operator.resources.base import Body, Place
from nbhd_operator.settings import Platform
from nbhd_operator.situation import Situation

log = logging.getLogger(__name__)

MANAGER = "nbhd-operator"
_WORKERS = 4
_BREATH = 25  # tenants
_PACE = Backoff(first=1.0, most=300.0)
_VISIBLE = 3  # failures in a row after which a passing fault is shown in status


class Keeper:
    """Looks at a Cell when it changes, and at all of them every ``interval`` seconds."""

    def __init__(
        self,
        *,
        cache: Cache,
        azure: Azure,
        objects: Objects[Cell],
        namespace_uid: Callable[[str], Awaitable[str]],
        platform: Platform,
        clock: Clock,
        metrics: Metrics,
        assess: Callable[[Tenant], Situation],
        suspect: Callable[[Key], None],
        wake: Callable[[Key], None],
        relist: Callable[[], Awaitable[None]],
        record: Callable[[KubernetesObject, Change], None],
        interval: float,
        may_act: Callable[[], bool] = lambda: True,
        pace: Backoff = _PACE,
    ) -> None:
        """``wake`` has a Tenant looked at, and so has ``suspect``, because something in Azure is not as it was left."""
        self._cache, self._azure, self._objects, self._uid = cache, azure, objects, namespace_uid
        self._platform, self._now, self._metrics, self._assess = platform, clock, metrics, assess
        self._suspect, self._wake, self._relist, self._record = suspect, wake, relist, record
        self._interval, self._may_act, self._pace = interval, may_act, pace
        self.queue: WorkQueue[Key] = WorkQueue()
        self._due: set[Key] = set()  # to be listed, not only asked for their claim
        self._unreadable: dict[Key, str] = {}  # requests that people were told of

    async def run(self) -> None:
        """For ever. Another operator may have led since the last time, so all that was known is seen anew."""
        self.queue.clear()
        self._cache.standings.clear()
        self._due.clear()
        for key in self._cache.cells:
            self.queue.add(key)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._rounds())
            for _ in range(_WORKERS):
                tasks.create_task(self._work())

    def changed(self, key: Key) -> None:
        """A Cell is new, or a person changed it."""
        self._due.add(key)
        self.queue.add(key)

    def wanted(self, namespace: str) -> None:
        """Somebody waits to be placed, and asks again: no Cell there may stay unknown."""
        for key, cell in self._cache.cells.items():
            standing = self._cache.standing(cell)
            unknown = standing.residents is None and not standing.problem
            if key.namespace == namespace and unknown and not self.queue.attempts(key) and not self.queue.held(key):
                self.changed(key)

    def refused(self, situation: Situation, fault: Fault) -> bool:
        """Takes in that Azure refused one tenant; True if that means, as news, that its cell is full: look again."""
        tenant, task = situation.tenant, situation.task
        if task is None:
            return False
        key = Key(tenant.metadata.namespace, task.place.cell)
        before = self._cache.standings.get(key, UNSEEN)
        standing = cells.refused(before, fault, tenant.spec.id)
        if standing is None or tenant.spec.id in before.refused:
            return False
        log.warning("the cell is full", extra=_names(key) | {"reason": fault.reason})
        self._cache.standings[key] = standing
        return True

    async def _rounds(self) -> None:
        while True:
            await asyncio.sleep(self._interval * random.uniform(0.9, 1.1))  # noqa: S311 - jitter, not a secret
            try:
                await self._relist()
            except (ApiException, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                log.warning("no round without a complete list", extra={"error": type(error).__name__})
            else:
                for key in self._cache.cells:
                    self.changed(key)

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except Closed:
                return
            try:
                await self.look(key)
            finally:
                self.queue.done(key)

    async def look(self, key: Key) -> None:
        """One look at one Cell. Never raises; whatever fails is tried again with a back-off."""
        cell = self._cache.cells.get(key)
        if cell is None:
            self._cache.standings.pop(key, None)
            self.queue.forget(key)
            return
        try:
            look = await self._try_to_look(cell)
            if look is None:
                return
            await self._write(cell, look)
            if look.found is not None and not await self._remove_requested(cell, look):
                self.queue.forget(key)
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError, GoneError) as error:
            self._due.add(key)  # what was found is not told yet
            self.queue.retry(key, self._pace)  # by then the watch has brought a newer version, if that was why
            log.warning("the API server did not do it", extra=_names(key) | {"error": type(error).__name__})
        except Exception as error:  # noqa: BLE001, RUF100 - one cell's trouble is not another's
            self._due.add(key)
            self.queue.retry(key, self._pace)
            self._metrics.failed(type(error).__name__)
            log.error("look at a cell failed", extra=_names(key) | {"error": type(error).__name__})

    async def _try_to_look(self, cell: Cell) -> Look | None:
        """None when there is nothing to say: only the claim was read, or the look failed in a way that may pass."""
        key = key_of(cell)
        try:
            place = Place.of(cell, self._platform)
        except ValueError as missing:
            return self._known(cell, Look(cells.incomplete(missing)))
        owner = cell_owner(
            cell, [one for one in self._cache.cells.values() if one is not cell and self._same(one, place)]
        )
        if owner is not cell:
            return self._known(cell, Look(cells.shared_with(owner)))
        try:
            if (look := await self._claim(cell, place)) is not None:
                return self._known(cell, look)
            if key not in self._due and cells.ready(cell):
                self.queue.forget(key)
                return None
            look = await self._list(cell, place)
        except Fault as fault:
            return self._failed(cell, fault)
        self._metrics.succeeded()
        return self._known(cell, look)

    async def _claim(self, cell: Cell, place: Place) -> Look | None:
        """Reads the claim, and takes a free one. None: it is ours."""
        key = key_of(cell)
        ours = claim_text(self._platform.id, await self._uid(key.namespace))
        found = (await self._azure.get_group_tags(place)).get(CLAIM_TAG)
        claim = claim_of(found, ours, cell.metadata.annotations.get(TAKE_OVER_ANNOTATION))
        if claim is Claim.OURS:
            if not self._cache.standing(cell).ours:
                self._known(cell, Look(replace(UNSEEN, ours=True)))
            return None
        if claim is not Claim.FREE:
            return Look(cells.claimed_by_another(claim, found))
        if self._may_act():
            log.info("claiming a cell", extra=_names(key) | {"claim": ours, "was": found})
            await self._azure.tag_group(place, {CLAIM_TAG: ours})
        self.queue.retry(key, self._pace)
        return Look(UNSEEN, progress=CLAIMING)

    async def _list(self, cell: Cell, place: Place) -> Look:
        key, placed = key_of(cell), self._cache.placed(key_of(cell))
        at_rest = {
            azure_name(packed.id).casefold(): packed
            for packed in self._cache.packed.values()
            if packed.namespace == key.namespace and packed.cell == key.name and not packed.moving
        }

        def compare(app: Body) -> tuple[str, ...]:
            packed = at_rest.get(str(app["name"]).casefold())
            return inventory.app_drift(self._assess(packed.unpack()), app) if packed else ()

        self._due.discard(key)  # what changes from now on is for the next look
        try:
            found = await inventory.take(self._azure, place, compare)
        except Fault:
            self._due.add(key)
            raise
        await self._hand_over_drift(at_rest.values(), found)
        standing = cells.listed(self._cache.standing(cell), found, self._platform.id, placed)
        return Look(standing, found=found, strays=self._strays(key, found))

    def _strays(self, key: Key, found: Inventory) -> list[Stray]:
        beside = (packed for packed in self._cache.packed.values() if packed.namespace == key.namespace)
        return orphans.find(found, self._platform.id, key.name, beside, self._now())

    async def _hand_over_drift(self, tenants: Iterable[Packed], found: Inventory) -> None:
        for number, packed in enumerate(tenants):
            if number % _BREATH == 0:
                await asyncio.sleep(0)  # whoever waits for the loop goes first
            key = Key(packed.namespace, packed.name)
            if self._cache.packed.get(key) is not packed:
                continue  # it changed while Azure was listed, so the list may be older
            tenant = packed.unpack()
            paths, shown = inventory.drift(self._assess(tenant), found), _shows_drift(tenant)
            if paths and not shown:
                log.warning("drift", extra={"tenant": key.name, "namespace": key.namespace, "paths": ",".join(paths)})
            if paths or shown:  # what is shown and not put back may be another by now, or over
                self._suspect(key)

    async def _remove_requested(self, cell: Cell, look: Look) -> bool:
        """Begins to remove what goes first of that which a person named; True if another look must go on with it."""
        key, request = key_of(cell), cell.metadata.annotations.get(REMOVE_ORPHANS_ANNOTATION)
        try:
            names = orphans.requested(request, self._now())
        except ValueError as error:
            if self._unreadable.get(key) != request:
                self._record(cell, Change("Warning", "RequestUnreadable", f"{REMOVE_ORPHANS_ANNOTATION}: {error}"))
            self._unreadable[key] = request or ""
            return False
        if look.found is None or not orphans.next_to_remove(look.strays, names):
            return False
        await self._relist()  # a Tenant that just came, or came back, counts
        strays = self._strays(key, look.found)
        for stray in orphans.next_to_remove(strays, names):
            if self._may_act():
                await self._remove(cell, stray)
        self._due.add(key)
        self.queue.retry(key, self._pace)
        return True

    async def _remove(self, cell: Cell, stray: Stray) -> None:
        place = Place.of(cell, self._platform)
        extra = _names(key_of(cell)) | {"kind": stray.kind, "azure_name": stray.name}
        log.info("removing an orphan", extra=extra)
        try:
            if stray.kind == "containerApp":
                await self._azure.delete_app(place, stray.name)
            elif stray.kind == "roleAssignment":
                await self._azure.delete_role_assignment(place, stray.scope, stray.id)
            elif stray.kind == "secret":
                await self._azure.delete_secret(place, stray.name)
            else:
                await self._azure.delete_identity(place, stray.name)
        except Fault as fault:
            log.warning("Azure did not do it", extra=extra | {"reason": fault.reason, "azure": fault.message})
            return
        note = f"{stray.kind} {stray.name} belonged to no Tenant; it is removed, as asked for."
        self._record(cell, Change("Normal", "OrphanRemoved", note, "Remove"))

    def _failed(self, cell: Cell, fault: Fault) -> Look | None:
        key = key_of(cell)
        self._metrics.failed(fault.reason)
        extra = {"reason": fault.reason, "azure": fault.message}
        delay = self.queue.retry(key, self._pace, at_least=getattr(fault, "after", 0.0))
        log.warning("Azure did not do it", extra=_names(key) | extra | {"again_in": round(delay, 1)})
        before = self._cache.standing(cell)
        denied = isinstance(fault, Denied) and self.queue.attempts(key) >= _VISIBLE  # a new right spreads for a while
        if isinstance(fault, Terminal | NotFound) or denied:
            return self._known(cell, cells.hopeless(before, fault))
        if self.queue.attempts(key) < _VISIBLE:
            return None
        message = f"Azure keeps refusing and is asked again. {fault.message}"
        look = Look(replace(before, unlistable=True), progress=Finding("True", fault.reason, message))
        return self._known(cell, look)

    def _known(self, cell: Cell, look: Look) -> Look:
        """Takes the standing in, and has the Tenants looked at that it may decide for."""
        before = self._cache.standing(cell)
        self._cache.standings[key_of(cell)] = replace(look.standing, of=whereabouts(cell))
        if _decides(before) != _decides(look.standing):
            self._tell(cell.metadata.namespace, everybody=look.standing.problem is not None)
        return look

    def _tell(self, namespace: str, *, everybody: bool) -> None:
        """Wakes whoever may wait for a Cell; who is at rest is not concerned, unless nothing may be done there now."""
        for key, packed in self._cache.packed.items():
            if key.namespace == namespace and (everybody or not packed.cell or packed.moving):
                self._wake(key)

    def _same(self, cell: Cell, place: Place) -> bool:
        subscription = cell.spec.subscription_id or self._platform.subscription_id or ""
        there = (subscription.casefold(), cell.spec.resource_group.casefold())
        return there == (place.subscription_id.casefold(), place.resource_group.casefold())

    async def _write(self, cell: Cell, look: Look) -> None:
        key = key_of(cell)
        cell = self._cache.cells.get(key, cell)
        status = cells.report(cell, look, self._cache.placed(key), self._now())
        if status.wire() == cell.status.wire() or not self._may_act():
            return
        written = await self._objects.apply_status(cell, status.wire(), MANAGER)
        self._cache.cells[key] = written
        for change in changes(cell.status, status):
            self._record(written, change)


def changes(before: CellStatus, after: CellStatus) -> list[Change]:
    """What a person should see between two statuses of a Cell: another trouble, and orphans that were not there."""
    told = []
    was, now = _stalled(before), _stalled(after)
    if now is not None and now != was:
        told.append(Change("Warning", *now))
    fresh = [orphan.name for orphan in after.orphans if orphan not in before.orphans]
    if fresh and (after.orphan_count or 0) > (before.orphan_count or 0):
        note = f"{after.orphan_count} resources belong to no Tenant, among them {', '.join(sorted(set(fresh))[:5])}."
        told.append(Change("Warning", "OrphansFound", note, "List"))
    return told


def _decides(standing: Standing) -> tuple[object, ...]:
    """What of it Tenants wait for, or are held back by."""
    return standing.ours, standing.problem, standing.residents is None, standing.unlistable, standing.full


def _stalled(status: CellStatus) -> tuple[str, str] | None:
    found = next((one for one in status.conditions if one.type == "Stalled" and one.status == "True"), None)
    return (found.reason, found.message) if found else None


def _shows_drift(tenant: Tenant) -> bool:
    return any(one.type == "UpToDate" and one.reason == DRIFTED for one in tenant.status.conditions)


def _names(key: Key) -> dict[str, object]:
    return {"namespace": key.namespace, "cell": key.name}
