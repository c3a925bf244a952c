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
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import stripe

from nbhd_crds.api import Tenant
from nbhd_crds.api.policies import SERVICES_NAMESPACE
from nbhd_crds.client import Tenants, connect
from nbhd_crds.identity import tenant_id
from nbhd_local import cluster as clusters
from nbhd_local.azure import AzureWorld, Delays
from nbhd_local.ca import Authority
from nbhd_local.cluster import Cluster
from nbhd_local.services import Service, free_port
from nbhd_local.stripe import StripeWorld
from nbhd_local.telegram import TelegramWorld
from nbhd_local.waiting import eventually

PLATFORM = "local"
BOT_ID = 7000001
BOT_USERNAME = "nbhd_local_bot"
IMAGE = "registry.local/openclaw/openclaw@sha256:" + "0" * 64
PRICES = {"basic": 500, "plus": 1500}  # US cents a month


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
class World:
    """Handles to everything that runs."""

    folder: Path
    namespace: str
    cluster: Cluster
    authority: Authority
    azure: AzureWorld
    stripe: StripeWorld
    telegram: TelegramWorld
    secrets: Secrets
    operator: Service
    router: Service
    webhooks: Service
    frontend_url: str
    tenants: Tenants

    @property
    def services(self) -> tuple[Service, ...]:
        """Operator, router and webhooks."""
        return (self.operator, self.router, self.webhooks)

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
    """The plans of the local world: no retention, so that an ended subscription's resources go at once."""
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
                "cooldown": "60s",
                "retention": "0s",
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
async def running(
    folder: Path,
    *,
    cluster: Cluster | None = None,
    namespace: str = "nbhd-tenants",
    delays: Delays | None = None,
    only: Sequence[str] = ("operator", "router", "webhooks"),
) -> AsyncIterator[World]:
    """Starts everything, yields when all services are ready, and stops everything.

    ``folder`` must exist. ``cluster`` uses one that runs already; ``only`` names the services to start.
    """
    async with contextlib.AsyncExitStack() as stack:
        if cluster is None:
            cluster = await _own_cluster(stack, folder / "cluster")
        authority = Authority.create(folder / "tls")
        invented = Secrets.invent()
        azure = await stack.enter_async_context(
            AzureWorld(authority, delays=delays or Delays(), log_dir=folder / "replicas")
        )
        telegram = await stack.enter_async_context(
            TelegramWorld(authority, bot_token=invented.bot_token, bot_username=BOT_USERNAME)
        )
        stripe_world = await stack.enter_async_context(StripeWorld(authority, webhook_secret=invented.stripe_webhook))
        prices = await create_prices(stripe_world, authority)
        await asyncio.to_thread(_prepare, cluster, namespace, azure, invented)
        api = await connect(cluster.kubeconfig)
        stack.push_async_callback(api.close)
        world = await asyncio.to_thread(
            _services,
            Tenants(api),
            folder,
            namespace,
            cluster,
            authority,
            azure,
            stripe_world,
            telegram,
            invented,
            prices,
        )
        stripe_world.webhook_url = f"{world.frontend_url}/stripe/webhook"
        for service in world.services:
            stack.push_async_callback(service.stop)
        await asyncio.gather(*(service.start() for service in world.services if service.name in only))
        yield world


async def _own_cluster(stack: contextlib.AsyncExitStack, folder: Path) -> Cluster:
    process, cluster = await asyncio.to_thread(clusters.start, folder, subprocess.PIPE)

    def stop() -> None:
        process.communicate(timeout=10)

    stack.callback(stop)
    await asyncio.to_thread(cluster.install)
    return cluster


def _prepare(cluster: Cluster, namespace: str, azure: AzureWorld, invented: Secrets) -> None:
    """The world's namespace with plans and a cell, and what ``kubectl nbhd`` reads."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    cluster.apply(*plans(), cell(azure), namespace=namespace)
    facts = {"platformId": PLATFORM, "botUsername": BOT_USERNAME}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "nbhd-link-keys"},
            "stringData": {"keys": invented.keyrings["LINK"]},
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nbhd-platform"}, "data": facts},
        namespace=SERVICES_NAMESPACE,
    )


async def create_prices(world: StripeWorld, authority: Authority) -> dict[str, str]:
    """Makes a product and a monthly price for each plan; returns plan → price id."""
    connector = aiohttp.TCPConnector(ssl=authority.client_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        client = stripe.StripeClient(
            world.secret_key,
            base_addresses={"api": world.api_url},
            http_client=stripe.AIOHTTPClient(timeout=10, session=session),
        )
        found: dict[str, str] = {}
        for plan, cents in PRICES.items():
            product = await client.v1.products.create_async({"name": f"Private assistant, {plan}"})
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


def _services(
    tenants: Tenants,
    folder: Path,
    namespace: str,
    cluster: Cluster,
    authority: Authority,
    azure: AzureWorld,
    stripe_world: StripeWorld,
    telegram: TelegramWorld,
    invented: Secrets,
    prices: dict[str, str],
) -> World:
    private = folder / "private"
    private.mkdir(mode=0o700, exist_ok=True)
    ports = {name: free_port() for name in ("operator", "router-health", "router", "egress", "webhooks-health", "web")}
    frontend = f"http://127.0.0.1:{ports['web']}"
    keys = {f"NBHD_{name}_KEYS": ring for name, ring in invented.keyrings.items()}
    common = {
        "NBHD_PLATFORM_ID": PLATFORM,
        "NBHD_NAMESPACE": namespace,
        "SSL_CERT_FILE": str(authority.bundle_path),
        "AZURE_MOCK": "true",
    }

    def service(name: str, health: str, health_path: str, **environment: str) -> Service:
        return Service(
            name,
            f"nbhd_{name}.main",
            {
                **common,
                "KUBECONFIG": str(cluster.service_kubeconfig(name, private)),
                "NBHD_HEALTH_LISTEN": f"127.0.0.1:{ports[health]}",
                **environment,
            },
            f"http://127.0.0.1:{ports[health]}{health_path}",
            folder / f"{name}.log",
        )

    operator = service(
        "operator",
        "operator",
        "/healthz",
        **{k: v for k, v in keys.items() if k != "NBHD_LINK_KEYS"},
        **azure.credentials_env(private),
        AZURE_SUBSCRIPTION_ID=azure.subscription_id,
        AZURE_KEY_VAULT_NAME=azure.vault_name,
        AZURE_ARM_URL=azure.arm_url,
        NBHD_EGRESS_URL=f"http://127.0.0.1:{ports['egress']}",
        NBHD_BOT_ID=str(BOT_ID),
        NBHD_MODEL_URL="http://127.0.0.1:9/v1",
    )
    router = service(
        "router",
        "router-health",
        "/readyz",
        **{k: keys[k] for k in ("NBHD_BOT_KEYS", "NBHD_WEBHOOK_KEYS", "NBHD_LINK_KEYS")},
        TELEGRAM_BOT_TOKEN=invented.bot_token,
        TELEGRAM_WEBHOOK_SECRET=invented.telegram_webhook,
        TELEGRAM_API_URL=telegram.api_url,
        NBHD_PUBLIC_URL=f"http://127.0.0.1:{ports['router']}",
        NBHD_LISTEN=f"127.0.0.1:{ports['router']}",
        NBHD_EGRESS_LISTEN=f"127.0.0.1:{ports['egress']}",
        NBHD_SPOOL_PATH=str(folder / "spool.sqlite"),
        FRONTEND_URL=frontend,
    )
    webhooks = service(
        "webhooks",
        "webhooks-health",
        "/readyz",
        NBHD_LINK_KEYS=keys["NBHD_LINK_KEYS"],
        STRIPE_TEST_SECRET_KEY=stripe_world.secret_key,
        STRIPE_WEBHOOK_SECRETS=invented.stripe_webhook,
        STRIPE_PRICE_BASIC=prices["basic"],
        STRIPE_PRICE_PLUS=prices["plus"],
        STRIPE_API_URL=stripe_world.api_url,
        FRONTEND_URL=frontend,
        TELEGRAM_BOT_USERNAME=BOT_USERNAME,
        TELEGRAM_LINK_URL=telegram.web_url,
        NBHD_LISTEN=f"127.0.0.1:{ports['web']}",
    )
    return World(
        folder,
        namespace,
        cluster,
        authority,
        azure,
        stripe_world,
        telegram,
        invented,
        operator,
        router,
        webhooks,
        frontend,
        tenants,
    )
