"""A hundred pay at the same moment, and Azure takes new identities slowly: nobody waits for anything but that.

The operator's own throttle, queue and workers under the emulator's limits, in time that does not pass.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from nbhd_crds.api import Tenant
from nbhd_local.azure import Delays, Limits
from nbhd_local.azure.errors import AzureError
from nbhd_local.azure.limits import Meter, Rate
from nbhd_operator.cache import Key
from nbhd_operator.controller import Controller
from nbhd_operator.errors import Throttled
from nbhd_operator.metrics import Metrics
from nbhd_operator.queue import WorkQueue
from nbhd_operator.resources.base import Body, Place
from nbhd_operator.runtime import urgency
from nbhd_operator.throttle import Gates
from tests.bench.figures import share, soonest
from tests.unit.operator import make, swift
from tests.unit.operator.conftest import Store
from tests.unit.operator.memory import MemoryAzure

DELAYS = Delays(answer=0.5)
KUBERNETES = 0.02  # seconds of each request
IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
ROLE = "providers/Microsoft.Authorization/roleAssignments"


class SlowStore(Store):
    """An API server that takes its time."""

    async def get(self, namespace: str, name: str) -> Tenant | None:
        await asyncio.sleep(KUBERNETES)
        return await super().get(namespace, name)

    async def apply_status(self, seen: Tenant, status: Mapping[str, Any], manager: str) -> Tenant:
        await asyncio.sleep(KUBERNETES)
        return await super().apply_status(seen, status, manager)

    async def add_finalizer(self, seen: Tenant) -> Tenant:
        await asyncio.sleep(KUBERNETES)
        return await super().add_finalizer(seen)


class LimitedAzure(MemoryAzure):
    """Behind the operator's gates, an Azure that takes its time and counts."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        clock = asyncio.get_running_loop().time
        self._gates, self._meter = Gates(clock), Meter(limits, clock)
        self.refused = 0

    @contextlib.asynccontextmanager
    async def _asked(self, method: str, url: str) -> AsyncIterator[None]:
        way, path = self._gates.of(method, url), urlsplit(url).path
        assert way
        await way.enter()
        status, headers = 200, dict[str, str]()
        try:
            await asyncio.sleep(DELAYS.answer)
            if url.startswith("https"):
                self._meter.vault(method, path)
            else:
                headers = dict(self._meter.arm(method, path))
            yield
        except AzureError as refused:
            self.refused += 1
            status, headers = 429, dict(refused.headers)
            raise Throttled(refused.code, "", float(headers.get("Retry-After", 0))) from None
        finally:
            way.leave(status, headers)

    async def get_identity(self, place: Place, name: str) -> Body:
        async with self._asked("GET", place.resource_id(f"{IDENTITY}/{name}")):
            return await super().get_identity(place, name)

    async def put_identity(self, place: Place, name: str, body: Body) -> Body:
        async with self._asked("PUT", place.resource_id(f"{IDENTITY}/{name}")):
            return await super().put_identity(place, name, body)

    async def get_secret(self, place: Place, name: str) -> Body:
        async with self._asked("GET", f"{place.vault_url}/secrets/{name}/"):
            return await super().get_secret(place, name)

    async def set_secret(self, place: Place, name: str, value: str, tags: Body) -> Body:
        async with self._asked("PUT", f"{place.vault_url}/secrets/{name}"):
            return await super().set_secret(place, name, value, tags)

    async def list_role_assignments(self, place: Place, scope: str) -> list[Body]:
        async with self._asked("GET", f"{scope}/{ROLE}"):
            return await super().list_role_assignments(place, scope)

    async def put_role_assignment(self, place: Place, scope: str, name: str, properties: Body) -> Body:
        async with self._asked("PUT", f"{scope}/{ROLE}/{name}"):
            return await super().put_role_assignment(place, scope, name, properties)

    async def get_app(self, place: Place, name: str) -> Body:
        async with self._asked("GET", place.resource_id(f"Microsoft.App/containerApps/{name}")):
            return await super().get_app(place, name)


@dataclass(frozen=True)
class Paid:
    """What a crowd's payment came to."""

    ends: list[float]
    """When the first, the second… was ready for linking."""
    other: float
    """How long one took who paid earlier, and whose change came when the crowd was at its thickest."""
    refused: int


async def pay(size: int, limits: Limits, workers: int = 32) -> Paid:
    """All pay in the first moment."""
    loop = asyncio.get_running_loop()
    store, azure, cache = SlowStore(), LimitedAzure(limits), make.cache()
    queue: WorkQueue[Key] = WorkQueue(loop.time)
    ends: dict[str, float] = {}

    def seen(tenant: Tenant | None, key: Key) -> None:
        assert tenant
        for concerned in cache.put_tenant(tenant):
            queue.add(concerned, urgency(cache.packed.get(concerned), listed=False))
        there = tenant.condition("SecretsReady")
        if there and there.status == "True" and tenant.status.observed_generation == tenant.metadata.generation:
            ends.setdefault(f"{key.name} {tenant.metadata.generation}", loop.time())

    async def until(ready: int) -> None:
        while len(ends) < ready:
            assert loop.time() < 600
            await asyncio.sleep(0.01)

    store.watchers.append(seen)
    controller = Controller(
        queue=queue,
        cache=cache,
        tenants=store,  # type: ignore[arg-type] # the same calls, in memory
        azure=azure,  # type: ignore[arg-type] # the same calls, in memory
        platform=make.PLATFORM,
        rings=make.RINGS,
        clock=make.HandClock(),
        metrics=Metrics(),
        record=lambda *_: None,
    )
    for number in range(size):
        store.put(make.tenant(f"t{number:04}", billing=make.billing("active")))
    working = [asyncio.create_task(controller.work()) for _ in range(workers)]
    await until(size // 2)
    early, changed = next(iter(ends)).partition(" ")[0], loop.time()
    store.edit(early, preferences={"language": "de"})
    await until(size + 1)
    queue.close()
    await asyncio.gather(*working)
    other = ends.pop(f"{early} 2") - changed
    return Paid(sorted(ends.values()), other, azure.refused)


@pytest.mark.parametrize("workers", [32, 100])
def test_a_hundred_are_ready_when_azure_has_taken_the_last_identity(workers: int) -> None:
    limits = Limits()
    paid, bound = swift.run(pay(100, limits, workers)), soonest(limits, DELAYS, 100)
    assert paid.ends[-1] < 1.05 * bound[-1]
    assert share(paid.ends, 0.5) < share(bound, 0.5) + 3 * DELAYS.answer + 0.5
    assert paid.refused <= workers  # each of those who were under way finds out at most once


def test_one_alone_waits_for_three_answers_and_kubernetes() -> None:
    paid = swift.run(pay(2, Limits()))
    assert paid.ends[-1] < 3 * DELAYS.answer + 10 * KUBERNETES


def test_whoever_has_a_place_goes_before_a_crowd_that_has_none() -> None:
    paid = swift.run(pay(300, Limits()))
    assert paid.other < 4 * DELAYS.answer + 1


def test_a_vault_that_does_not_say_when_to_come_back_is_enough_in_the_end() -> None:
    paid = swift.run(pay(60, Limits(vault_sets=Rate(20, 2))))
    assert paid.ends[-1] < 2 * soonest(Limits(vault_sets=Rate(20, 2)), DELAYS, 60)[-1]
