"""The whole product on one machine: a real API server, emulators of Azure, Stripe and Telegram, and our three services.

The emulators run in this process, the services as children with nothing but their environment, as in production.
``demo.py`` and the end-to-end tests tell stories on top of this.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import stripe

from nbhd_crds.api import Tenant
from nbhd_crds.api.policies import SERVICES, SERVICES_NAMESPACE
from nbhd_crds.client import Tenants, connect
from nbhd_crds.identity import tenant_id
from nbhd_local import cluster as clusters
from nbhd_local import wiring
from nbhd_local.azure import AzureWorld, Delays, Workload
from nbhd_local.ca import Authority
from nbhd_local.clock import WorldClock, utc_now
from nbhd_local.cluster import Cluster
from nbhd_local.ports import Ports
from nbhd_local.proxy import injected, proxy
from nbhd_local.services import Service
from nbhd_local.stripe import StripeWorld
from nbhd_local.telegram import TelegramWorld
from nbhd_local.traffic import Traffic
from nbhd_local.waiting import eventually
from nbhd_local.web import LOOPBACK
from nbhd_local.wiring import BOT_ID, BOT_USERNAME, PLATFORM

IMAGE = "registry.local/openclaw/openclaw@sha256:" + "0" * 64
PRICES = {"basic": 500, "plus": 1500}  # US cents a month
DESCRIPTIONS = {"basic": "An assistant of your own in Telegram.", "plus": "The same with twice the power."}


@dataclass(frozen=True)
class Secrets:
    """Every platform secret of one world, made up at its start."""

    keyrings: dict[str, str] = field(repr=False)
    bot_token: str = field(repr=False)
    telegram_webhook: str = field(repr=False)
    stripe_webhook: str = field(repr=False)

    @classmethod
    def invent(cls) -> Secrets:
        """Fresh random secrets."""
        rings = {name: "k1:" + _random_key() for name in ("BOT", "WEBHOOK", "GATEWAY", "MODEL", "LINK")}
        token = f"{BOT_ID}:{secrets.token_urlsafe(27)[:35]}"
        return cls(rings, token, secrets.token_urlsafe(32), "whsec_" + secrets.token_hex(24))

    def all(self) -> list[str]:
        """Each secret as it would look in a leak."""
        keys = [ring.partition(":")[2] for ring in self.keyrings.values()]
        return [*keys, self.bot_token, self.telegram_webhook, self.stripe_webhook]


def _random_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


@dataclass
class Emulators:
    """Azure, Stripe and Telegram, and what they and the services agreed on."""

    folder: Path
    authority: Authority
    clock: WorldClock
    azure: AzureWorld
    stripe: StripeWorld
    telegram: TelegramWorld
    secrets: Secrets
    prices: dict[str, str]


@dataclass(frozen=True)
class Addresses:
    """Where our services are reached: the website, the tenants' Bot API (roots), and what Telegram and Stripe call."""

    frontend: str
    egress: str
    telegram_hook: str
    stripe_hook: str

    @classmethod
    def of(cls, *, router: str, egress: str, webhooks: str) -> Addresses:
        """From the roots of the three listeners."""
        return cls(webhooks, egress, router, f"{webhooks}/stripe/webhook")


@dataclass
class World(Emulators):
    """Handles to everything that runs. ``wiring.py`` gives the services their environment."""

    addresses: Addresses
    namespace: str
    cluster: Cluster
    tenants: Tenants
    services: dict[str, Service] = field(default_factory=dict)
    gates: dict[str, Traffic] = field(default_factory=dict)
    """Fault hooks by name: what each service says to the API server, and what Telegram and Stripe say to us."""

    @property
    def operator(self) -> Service:
        """The operator."""
        return self.services["operator"]

    @property
    def router(self) -> Service:
        """The router."""
        return self.services["router"]

    @property
    def webhooks(self) -> Service:
        """The Stripe webhooks and the website's pages."""
        return self.services["webhooks"]

    @property
    def frontend_url(self) -> str:
        """Root of the website."""
        return self.addresses.frontend

    @property
    def egress_url(self) -> str:
        """Root of the tenants' Bot API."""
        return self.addresses.egress

    def tenant_name(self, customer_id: str) -> str:
        """Kubernetes name of the Tenant that a Stripe customer gets."""
        return tenant_id(PLATFORM, customer_id)

    def kubectl(self, *args: str, timeout: float = 60) -> str:
        """kubectl as the administrator, in the world's namespace."""
        return self.cluster.kubectl("-n", self.namespace, *args, timeout=timeout)

    async def kubectl_wait(self, *args: str, timeout: float = 60) -> str:
        """The same without blocking the emulators."""
        return await asyncio.to_thread(self.kubectl, *args, timeout=timeout)

    async def tenant(self, name: str) -> Tenant | None:
        """The Tenant as the API server has it, or None."""
        return await self.tenants.get(self.namespace, name)

    async def until(self, name: str, holds: Callable[[Tenant | None], bool], what: str, seconds: float = 60) -> None:
        """Waits until ``holds`` of the Tenant. Raises ``AssertionError`` that shows what is there instead."""
        last: list[Tenant | None] = []

        async def look() -> bool:
            last[:] = [await self.tenant(name)]
            return holds(last[0])

        def there() -> str:
            found = last[0]
            return "no such Tenant" if found is None else found.status.model_dump_json(exclude_none=True)

        await eventually(look, lambda: f"{what} of {name}; there is: {there()}", seconds)


def plans() -> list[dict[str, Any]]:
    """The plans of the local world, with the API's own grace and retention."""
    sizes = {"basic": ("1", "2Gi"), "plus": ("2", "4Gi")}
    return [
        {
            "apiVersion": "nbhd.united/v1alpha1",
            "kind": "Plan",
            "metadata": {"name": name},
            "spec": {
                "lookupKeys": [name],
                "image": IMAGE,
                "cpu": cpu,
                "memory": memory,
            },
        }
        for name, (cpu, memory) in sizes.items()
    ]


def cell(azure: AzureWorld) -> dict[str, Any]:
    """The one cell of the local world."""
    return {
        "apiVersion": "nbhd.united/v1alpha1",
        "kind": "Cell",
        "metadata": {"name": "local-1"},
        "spec": {
            "resourceGroup": azure.resource_group,
            "location": azure.location,
            "environmentId": azure.environment_id,
            "vault": {"name": azure.vault_name, "url": azure.vault_url},
            "pullIdentityId": azure.pull_identity_id,
        },
    }


@asynccontextmanager
async def emulating(
    folder: Path,
    *,
    host: str = LOOPBACK,
    delays: Delays | None = None,
    workload: Workload | None = None,
    azure_options: Mapping[str, Any] | None = None,
) -> AsyncIterator[Emulators]:
    """Starts the emulators on ``host``, a private address of this machine. ``folder`` must exist.

    ``workload`` is the operator's ServiceAccount where it runs in a cluster; ``azure_options`` go to ``AzureWorld``.
    """
    authority = Authority.create(folder / "tls", host)
    (folder / "clock").mkdir(exist_ok=True)
    clock = WorldClock(folder / "clock" / "clock.json")
    invented = Secrets.invent()
    azure = AzureWorld(
        authority,
        clock=clock,
        delays=delays or Delays(),
        log_dir=folder / "replicas",
        host=host,
        workload=workload,
        **(azure_options or {}),
    )
    telegram = TelegramWorld(authority, bot_token=invented.bot_token, bot_username=BOT_USERNAME, clock=clock, host=host)
    stripe_world = StripeWorld(authority, webhook_secret=invented.stripe_webhook, clock=clock, host=host)
    async with azure, telegram, stripe_world:
        prices = await create_prices(stripe_world, authority)
        yield Emulators(folder, authority, clock, azure, stripe_world, telegram, invented, prices)


@asynccontextmanager
async def running(
    folder: Path,
    *,
    cluster: Cluster | None = None,
    namespace: str = "nbhd-tenants",
    delays: Delays | None = None,
    only: Sequence[str] = SERVICES,
    gates: bool = False,
    azure_options: Mapping[str, Any] | None = None,
) -> AsyncIterator[World]:
    """Starts everything, yields when all services are ready, and stops everything.

    ``folder`` must exist. ``cluster`` uses one that runs already; ``only`` names the services to start.
    ``gates`` puts a proxy with fault hooks on every way that has no emulator at its end.
    """
    async with contextlib.AsyncExitStack() as stack:
        if cluster is None:
            cluster = await _own_cluster(stack, folder / "cluster")
        api = await stack.enter_async_context(await connect(cluster.kubeconfig))
        emulators = await stack.enter_async_context(emulating(folder, delays=delays, azure_options=azure_options))
        ports = Ports()
        world = World(
            **vars(emulators), addresses=_local(ports), namespace=namespace, cluster=cluster, tenants=Tenants(api)
        )
        api_proxies = await _add_gates(stack, world) if gates else {}
        await asyncio.to_thread(prepare, world)
        world.services = await asyncio.to_thread(wiring.services, world, ports, api_proxies)
        world.stripe.webhook_url = world.addresses.stripe_hook
        for service in world.services.values():
            stack.push_async_callback(service.stop)
        await asyncio.gather(*(world.services[name].start() for name in only))
        yield world


def _local(ports: Ports) -> Addresses:
    def root(port: int) -> str:
        return f"http://{LOOPBACK}:{port}"

    return Addresses.of(router=root(ports.router), egress=root(ports.egress), webhooks=root(ports.web))


async def _add_gates(stack: contextlib.AsyncExitStack, world: World) -> dict[str, str]:
    """Gates on all ways; returns each service's way to the API server."""

    def gate(name: str) -> Traffic:
        world.gates[name] = Traffic(utc_now, injected)
        return world.gates[name]

    tls, trust, ours = world.authority.server_context(), world.cluster.client_context(), world.addresses
    to_kubernetes: dict[str, str] = {}
    for name in SERVICES:
        url = proxy(world.cluster.server, gate(f"{name}→kubernetes"), "kubernetes", tls=tls, trust=trust)
        to_kubernetes[name] = await stack.enter_async_context(url)
    telegram = await stack.enter_async_context(proxy(ours.telegram_hook, gate("telegram→router"), "router"))
    events = await stack.enter_async_context(proxy(ours.frontend, gate("stripe→webhooks"), "webhooks"))
    world.addresses = replace(ours, telegram_hook=telegram, stripe_hook=f"{events}/stripe/webhook")
    return to_kubernetes


async def _own_cluster(stack: contextlib.AsyncExitStack, folder: Path) -> Cluster:
    process, cluster = await asyncio.to_thread(clusters.start, folder, subprocess.PIPE)
    stack.callback(clusters.stop, process)
    await asyncio.to_thread(cluster.install)
    return cluster


def prepare(world: World) -> None:
    """The world's namespace with plans and a cell, and what ``kubectl nbhd`` reads."""
    cluster = world.cluster
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": world.namespace}})
    cluster.apply(*plans(), cell(world.azure), namespace=world.namespace)
    facts = {"platformId": PLATFORM, "botUsername": BOT_USERNAME}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "nbhd-link-keys"},
            "stringData": {"keys": world.secrets.keyrings["LINK"]},
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nbhd-platform"}, "data": facts},
        namespace=SERVICES_NAMESPACE,
    )


@asynccontextmanager
async def stripe_client(world: StripeWorld, authority: Authority) -> AsyncIterator[stripe.StripeClient]:
    """The real library, as the owner of the Stripe account would use it."""
    connector = aiohttp.TCPConnector(ssl=authority.client_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        yield stripe.StripeClient(
            world.secret_key,
            base_addresses={"api": world.api_url},
            http_client=stripe.AIOHTTPClient(timeout=10, session=session),
        )


async def create_prices(world: StripeWorld, authority: Authority) -> dict[str, str]:
    """Makes a product and a monthly price for each plan; returns plan → price id."""
    found: dict[str, str] = {}
    async with stripe_client(world, authority) as client:
        for plan, cents in PRICES.items():
            product = await client.v1.products.create_async(
                {"name": f"Private assistant, {plan}", "description": DESCRIPTIONS[plan]}
            )
            price = await client.v1.prices.create_async(
                {
                    "product": product.id,
                    "currency": "usd",
                    "unit_amount": cents,
                    "lookup_key": plan,
                    "recurring": {"interval": "month"},
                }
            )
            found[plan] = price.id
    return found
