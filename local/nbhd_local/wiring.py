"""What each service gets to know of the local world: its environment, and nothing else, as in production."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nbhd_local.ports import Ports
from nbhd_local.services import Service
from nbhd_local.web import LOOPBACK

if TYPE_CHECKING:
    from nbhd_local.world import Addresses, Emulators, World

PLATFORM = "local"
BOT_ID = 7000001
BOT_USERNAME = "nbhd_local_bot"


def settings(emulators: Emulators, addresses: Addresses, *, namespace: str, private: Path) -> dict[str, dict[str, str]]:
    """What the services must know of the world, by service; files of theirs are in the folder ``private``."""
    keys = {f"NBHD_{name}_KEYS": ring for name, ring in emulators.secrets.keyrings.items()}
    azure, stripe, telegram, secrets = emulators.azure, emulators.stripe, emulators.telegram, emulators.secrets
    common = {
        "NBHD_PLATFORM_ID": PLATFORM,
        "NBHD_NAMESPACE": namespace,
        "SSL_CERT_FILE": str(emulators.authority.bundle_path),
        "AZURE_MOCK": "true",
        "NBHD_CLOCK_FILE": str(emulators.clock.path),
    }
    operator = {
        **{name: ring for name, ring in keys.items() if name != "NBHD_LINK_KEYS"},
        **azure.credentials_env(private),
        "AZURE_SUBSCRIPTION_ID": azure.subscription_id,
        "AZURE_KEY_VAULT_NAME": azure.vault_name,
        "AZURE_ARM_URL": azure.arm_url,
        "NBHD_EGRESS_URL": addresses.egress,
        "NBHD_BOT_ID": str(BOT_ID),
        "NBHD_MODEL_URL": "http://127.0.0.1:9/v1",  # nobody: the stand-in asks no model
    }
    router = {
        **{name: keys[name] for name in ("NBHD_BOT_KEYS", "NBHD_WEBHOOK_KEYS", "NBHD_LINK_KEYS")},
        "TELEGRAM_BOT_TOKEN": secrets.bot_token,
        "TELEGRAM_WEBHOOK_SECRET": secrets.telegram_webhook,
        "TELEGRAM_API_URL": telegram.api_url,
        "NBHD_PUBLIC_URL": addresses.telegram_hook,
        "FRONTEND_URL": addresses.frontend,
    }
    webhooks = {
        "NBHD_LINK_KEYS": keys["NBHD_LINK_KEYS"],
        "STRIPE_TEST_SECRET_KEY": stripe.secret_key,
        "STRIPE_WEBHOOK_SECRETS": secrets.stripe_webhook,
        "STRIPE_PRICE_BASIC": emulators.prices["basic"],
        "STRIPE_PRICE_PLUS": emulators.prices["plus"],
        "STRIPE_API_URL": stripe.api_url,
        "FRONTEND_URL": addresses.frontend,
        "TELEGRAM_BOT_USERNAME": BOT_USERNAME,
        "TELEGRAM_LINK_URL": telegram.web_url,
    }
    own = {"operator": operator, "router": router, "webhooks": webhooks}
    return {name: common | settings for name, settings in own.items()}


def services(world: World, ports: Ports, api_proxies: Mapping[str, str]) -> dict[str, Service]:
    """The three services as children of this process, by name, not started yet.

    ``api_proxies`` are ways to the API server that are not the straight one.
    """
    private = world.folder / "private"
    private.mkdir(mode=0o700, exist_ok=True)
    known = settings(world, world.addresses, namespace=world.namespace, private=private)
    listening = {
        "operator": {},
        "router": {
            "NBHD_LISTEN": f"{LOOPBACK}:{ports.router}",
            "NBHD_EGRESS_LISTEN": f"{LOOPBACK}:{ports.egress}",
            "NBHD_SPOOL_PATH": str(world.folder / "spool.sqlite"),
        },
        "webhooks": {"NBHD_LISTEN": f"{LOOPBACK}:{ports.web}"},
    }

    def service(name: str, health_port: int) -> Service:
        proxy = api_proxies.get(name)
        through = (proxy, world.authority.bundle_path) if proxy else None
        own = {
            "KUBECONFIG": str(world.cluster.service_kubeconfig(name, private, through=through)),
            "NBHD_HEALTH_LISTEN": f"{LOOPBACK}:{health_port}",
        }
        url = f"http://{LOOPBACK}:{health_port}/readyz"
        environment = {**known[name], **own, **listening[name]}
        return Service(name, f"nbhd_{name}.main", environment, url, world.folder / f"{name}.log")

    return {
        "operator": service("operator", ports.operator_health),
        "router": service("router", ports.router_health),
        "webhooks": service("webhooks", ports.webhooks_health),
    }
