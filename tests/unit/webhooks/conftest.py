"""A store of Tenants in memory with the preconditions of the real one, and a moment at which nothing moves."""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from nbhd_crds.api.meta import ObjectMeta
from nbhd_crds.api.tenant import Tenant, TenantSpec
from nbhd_crds.client import ChangedError, GoneError
from nbhd_local.stripe import StripeWorld
from nbhd_webhooks.metrics import Metrics
from nbhd_webhooks.stripe_api import StripeApi, open_stripe

NOW = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)


class MemoryTenants:
    """Tenants by name. ``on_apply`` runs just before an apply, as another writer would."""

    def __init__(self) -> None:
        self.objects: dict[str, Tenant] = {}
        self.writes: list[str] = []
        self.on_apply: Callable[[], None] = lambda: None
        self.failure: Exception | None = None
        self.steps: Callable[[], int] = lambda: 0
        self._versions = itertools.count(1)

    async def _travel(self) -> None:
        """Lets others run in the meantime, as a request on the wire does."""
        for _ in range(self.steps()):
            await asyncio.sleep(0)

    def put(self, name: str, *, deleting: bool = False, **spec: Any) -> Tenant:
        version = str(next(self._versions))
        uid = self.objects[name].metadata.uid if name in self.objects else f"uid-{version}"
        meta = ObjectMeta(
            name=name,
            namespace="tenants",
            uid=uid,
            resource_version=version,
            deletion_timestamp=NOW if deleting else None,
        )
        self.objects[name] = Tenant(metadata=meta, spec=TenantSpec(**{"id": name, **spec}))
        return self.objects[name]

    async def get(self, namespace: str, name: str) -> Tenant | None:
        assert namespace == "tenants"
        await self._travel()
        if self.failure:
            raise self.failure
        return self.objects.get(name)

    async def list(self, namespace: str) -> list[Tenant]:
        assert namespace == "tenants"
        if self.failure:
            raise self.failure
        return [*self.objects.values()]

    async def create(self, namespace: str, name: str, spec_id: str) -> Tenant:
        assert namespace == "tenants"
        await self._travel()
        if name not in self.objects:
            self.writes.append("create")
            self.put(name, id=spec_id)
        return self.objects[name]

    async def apply_part(self, seen: Tenant, part: str, value: dict[str, Any], manager: str) -> Tenant:
        assert manager == "nbhd-billing"
        await self._travel()
        self.on_apply()
        name = seen.metadata.name
        now = self.objects.get(name)
        if now is None or now.metadata.uid != seen.metadata.uid:
            raise GoneError(name)
        if getattr(now.spec, part) != getattr(seen.spec, part):
            raise ChangedError(part)
        self.writes.append(f"apply {part}")
        return self.put(name, **(now.spec.model_dump() | {part: value}))


@pytest.fixture
def tenants() -> MemoryTenants:
    return MemoryTenants()


@pytest.fixture(scope="session")
def new_tenants() -> Callable[[], MemoryTenants]:
    """For tests that need a new store each time that they are run."""
    return MemoryTenants


@pytest.fixture
def now() -> datetime.datetime:
    return NOW


class Stripe(StripeWorld):
    """The local Stripe, without delays and with a clock that a test moves."""

    def __init__(self) -> None:
        self._ahead = datetime.timedelta()
        super().__init__(latency=(0, 0), clock=lambda: datetime.datetime.now(datetime.UTC) + self._ahead)

    def clock_moves(self, by: datetime.timedelta) -> None:
        self._ahead += by


@pytest.fixture
async def world() -> AsyncIterator[Stripe]:
    async with Stripe() as made:
        yield made


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def api(world: StripeWorld, metrics: Metrics) -> AsyncIterator[StripeApi]:
    """Our client of it."""
    async with open_stripe(world.api_url, SecretStr(world.secret_key), metrics) as made:
        yield made


@pytest.fixture
async def price(world: StripeWorld) -> str:
    """Id of a price of five dollars a month."""
    headers = {"Authorization": f"Bearer {world.secret_key}"}
    data = {
        "unit_amount": "500",
        "currency": "usd",
        "recurring[interval]": "month",
        "product_data[name]": "Basic <b>",
        "lookup_key": "nbhd-basic",
    }
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{world.api_url}/v1/prices", data=data) as response,
    ):
        return str((await response.json())["id"])
