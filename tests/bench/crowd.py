"""Thousands of Tenants in a world: paid and linked, and if asked settled already, in Kubernetes and in Azure alike.

They are written by a member of the break-glass group, for billing and the chat belong to services that are not needed
here. What is settled is a copy of one Tenant that the operator brought there itself; what depends on the Tenant is
computed with the operator's own functions.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client
from multidict import CIMultiDict

from nbhd_crds.api import Cell, Plan, Tenant, TenantStatus
from nbhd_crds.api.meta import API_VERSION, FINALIZER, GROUP, VERSION
from nbhd_crds.api.policies import BREAK_GLASS_GROUP
from nbhd_crds.client import Objects, connect
from nbhd_crds.identity import Keyring, azure_name, tenant_id
from nbhd_crds.settings import read
from nbhd_local.azure.state import Age, ContainerApp, Identity, Revision, RoleAssignment, key
from nbhd_local.wiring import PLATFORM
from nbhd_local.world import World
from nbhd_operator.cache import Cache, key_of
from nbhd_operator.placement import Standing, whereabouts
from nbhd_operator.resources import container_app
from nbhd_operator.resources.role_assignment import SECRETS_USER, scope_of
from nbhd_operator.settings import OperatorSettings
from nbhd_operator.situation import Situation, assess

_AT_ONCE = 32
_FIRST_CHAT = 10_000_000


@contextlib.asynccontextmanager
async def break_glass(kubeconfig: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """Plain requests to the API server, by somebody who may write everything."""
    api = await connect(kubeconfig)
    try:
        tls = client.rest.RESTClientObject(api.configuration).ssl_context
        who = [("Impersonate-User", "bench")]
        who += [("Impersonate-Group", group) for group in ("system:masters", BREAK_GLASS_GROUP)]
        async with aiohttp.ClientSession(
            api.configuration.host,
            headers=CIMultiDict(who),
            connector=aiohttp.TCPConnector(ssl=tls, limit=_AT_ONCE),
            raise_for_status=True,
        ) as session:
            yield session
    finally:
        await api.close()  # type: ignore[no-untyped-call] # untyped upstream


def name_of(number: int) -> str:
    """Kubernetes name of a Tenant."""
    return f"tenant-{number:06}"


def spec(number: int, *, linked: bool = True) -> dict[str, Any]:
    """Who pays for the plan ``basic``; ``linked`` with a chat."""
    customer = f"cus_Bench{number:06}"
    paid = {
        "customerId": customer,
        "status": "active",
        "subscriptionId": f"sub_Bench{number:06}",
        "lookupKey": "basic",
        "priceId": "price_Bench",
        "currentPeriodEnd": "2030-01-01T00:00:00Z",
    }
    chat = _FIRST_CHAT + number
    telegram = {"telegram": {"chatId": chat, "userId": chat, "generation": 1}} if linked else {}
    return {"id": tenant_id(PLATFORM, customer), "billing": paid, **telegram}


class Crowd:
    """The Tenants of one world."""

    def __init__(self, world: World, session: aiohttp.ClientSession) -> None:
        self._world, self._session = world, session
        self._url = f"/apis/{GROUP}/{VERSION}/namespaces/{world.namespace}/tenants"

    async def create(self, numbers: Iterable[int], *, linked: bool = True) -> None:
        """Makes Tenants that nobody has looked at."""

        async def one(number: int) -> None:
            await self._create(number, linked=linked)

        await _each(numbers, one)

    async def change(self, number: int, **changed: Any) -> int:
        """Changes the spec of one; returns its new generation."""
        headers = {"Content-Type": "application/merge-patch+json"}
        url = f"{self._url}/{name_of(number)}"
        async with self._session.patch(url, data=json.dumps({"spec": changed}), headers=headers) as answer:
            return int((await answer.json())["metadata"]["generation"])

    async def get(self, number: int) -> Tenant:
        """One as the API server has it."""
        async with self._session.get(f"{self._url}/{name_of(number)}") as answer:
            return Tenant.parse(await answer.json())

    async def with_secrets(self) -> list[str]:
        """Ids of those who have all that linking needs. It takes little time: somebody else is being measured."""
        async with self._session.get(self._url, params={"resourceVersion": "0"}) as answer:
            found = (await answer.json())["items"]
        return [
            one["spec"]["id"]
            for one in found
            for condition in one.get("status", {}).get("conditions", ())
            if condition["type"] == "SecretsReady" and condition["status"] == "True"
        ]

    async def settle(self, template: Tenant, numbers: Iterable[int]) -> None:
        """Makes Tenants for which there is nothing left to do, each a twin of ``template``, which has settled."""
        settle = await Settled.like(template, self._world)

        async def one(number: int) -> None:
            made = Tenant.parse(await self._create(number, finalizers=[FINALIZER]))
            status = settle(made)
            body = {
                "apiVersion": API_VERSION,
                "kind": Tenant.kind,
                "metadata": {"name": made.metadata.name, "resourceVersion": made.metadata.resource_version},
                "spec": made.spec.wire(),
                "status": status.wire(),
            }
            async with self._session.put(f"{self._url}/{made.metadata.name}/status", json=body):
                pass

        await _each(numbers, one)

    async def _create(self, number: int, *, linked: bool = True, finalizers: Iterable[str] = ()) -> dict[str, Any]:
        body = {
            "apiVersion": API_VERSION,
            "kind": Tenant.kind,
            "metadata": {"name": name_of(number), "finalizers": list(finalizers)},
            "spec": spec(number, linked=linked),
        }
        async with self._session.post(self._url, json=body) as answer:
            found: dict[str, Any] = await answer.json()
            return found


class Settled:
    """Makes what one settled Tenant has in the emulated Azure, and the status that goes with it."""

    def __init__(self, template: Tenant, world: World, cache: Cache) -> None:
        settings = read(OperatorSettings, dict(world.operator.environment))
        rings = (settings.bot_keys, settings.webhook_keys, settings.gateway_keys, settings.model_keys)
        self._rings: dict[str, Keyring] = {ring.purpose: ring for ring in rings}
        self._platform, self._azure, self._cache = settings.platform, world.azure, cache
        self._template, self._now = template, datetime.datetime.now(datetime.UTC)
        self._app = world.azure.subscription.apps[key(world.azure.resource_group, azure_name(template.spec.id))]

    @classmethod
    async def like(cls, template: Tenant, world: World) -> Settled:
        """With the world's Plans and Cells."""
        cache = Cache()
        async with contextlib.AsyncExitStack() as stack:
            api = await connect(world.cluster.kubeconfig)
            stack.push_async_callback(api.close)
            plans = await Objects(api, Plan, Plan.plural).list(world.namespace)
            cells = await Objects(api, Cell, Cell.plural).list(world.namespace)
        cache.replace([], plans, cells, cache.known())
        for one in cells:
            cache.standings[key_of(one)] = Standing(of=whereabouts(one), ours=True)
        return cls(template, world, cache)

    def __call__(self, tenant: Tenant) -> TenantStatus:
        """The status of ``tenant``, whose things in Azure are there afterwards."""
        azure, name = self._azure, azure_name(tenant.spec.id)
        group, location, created = azure.resource_group, azure.location, self._now
        situation = self._assess(tenant, self._twin(tenant))
        if situation.task is None:
            raise AssertionError(f"nothing is due to {tenant.metadata.name}: {situation.problem}")
        task = situation.task
        made = Identity(name, group, location, task.tags, created, Age(86_400))
        azure.subscription.identities[key(group, name)] = made
        value = task.bundle.text if task.bundle else ""
        content = {"value": value, "tags": task.tags, "contentType": "application/json"}
        _, version = azure.vault.store.set(name, content)
        role = str(uuid.uuid4())
        azure.subscription.assignments[role] = RoleAssignment(
            role, scope_of(task), SECRETS_USER, made.principal_id, "ServicePrincipal", created, age=Age(86_400)
        )
        identity_id, secret_url = azure.subscription.identity_id(made), f"{azure.vault_url}/secrets/{name}/{version.id}"
        body = container_app.body(task, identity_id=identity_id, secret_url=secret_url)
        revision = f"{name}--settled"
        app = ContainerApp(name, group, body, created, created, self._app.fqdn, "Succeeded")
        app.latest_revision = app.latest_ready_revision = revision
        app.revisions[revision] = Revision(revision, body["properties"]["template"], created, provisioned=True)
        azure.subscription.apps[key(group, name)] = app
        applied = {"resourceId": identity_id, "principalId": made.principal_id, "clientId": made.client_id}
        status = self._twin(tenant, identity=applied, secretId=secret_url, revision=revision)
        return status.model_copy(update={"inputs_hash": self._assess(tenant, status).inputs})

    def _twin(self, tenant: Tenant, **own: Any) -> TenantStatus:
        if tenant.spec.telegram:
            own["chatId"] = tenant.spec.telegram.chat_id
        return TenantStatus.model_validate(self._template.status.wire() | own)

    def _assess(self, tenant: Tenant, status: TenantStatus) -> Situation:
        looked_at = tenant.model_copy(update={"status": status})
        return assess(looked_at, self._cache, self._platform, self._rings, self._now)


async def _each(numbers: Iterable[int], act: Callable[[int], Awaitable[None]]) -> None:
    waiting = iter(numbers)

    async def work() -> None:
        for number in waiting:
            await act(number)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(work())
