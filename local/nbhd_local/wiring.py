"""What each service gets to know of the local world: its environment, and nothing else, as in production."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbhd_local.services import Service

if TYPE_CHECKING:
    from nbhd_local.world import World

PLATFORM = "local"
BOT_ID = 7000001
BOT_USERNAME = "nbhd_local_bot"


def services(world: World) -> dict[str, Service]:
    """The three services by name, not started yet."""
    private = world.folder / "private"
    private.mkdir(mode=0o700, exist_ok=True)
    keys = {f"NBHD_{name}_KEYS": ring for name, ring in world.secrets.keyrings.items()}
    ports = world.ports
    common = {
        "NBHD_PLATFORM_ID": PLATFORM,
        "NBHD_NAMESPACE": world.namespace,
        "SSL_CERT_FILE": str(world.authority.bundle_path),
        "AZURE_MOCK": "true",
        "NBHD_CLOCK_FILE": str(world.clock.path),
    }

    def service(name: str, health_port: int, ready: str, environment: dict[str, str]) -> Service:
        proxy = world.api_proxies.get(name)
        through = (proxy, world.authority.bundle_path) if proxy else None
        own = {
            "KUBECONFIG": str(world.cluster.service_kubeconfig(name, private, through=through)),
            "NBHD_HEALTH_LISTEN": f"127.0.0.1:{health_port}",
        }
        url = f"http://127.0.0.1:{health_port}{ready}"
        log = world.folder / f"{name}.log"
        return Service(name, f"nbhd_{name}.main", {**common, **own, **environment}, url, log)

    operator = {
        **{name: ring for name, ring in keys.items() if name != "NBHD_LINK_KEYS"},
        **world.azure.credentials_env(private),
        "AZURE_SUBSCRIPTION_ID": world.azure.subscription_id,
        "AZURE_KEY_VAULT_NAME": world.azure.vault_name,
        "AZURE_ARM_URL": world.azure.arm_url,
        "NBHD_EGRESS_URL": world.egress_url,
        "NBHD_BOT_ID": str(BOT_ID),
        "NBHD_MODEL_URL": "http://127.0.0.1:9/v1",  # nobody: the stand-in asks no model
    }
    router = {
        **{name: keys[name] for name in ("NBHD_BOT_KEYS", "NBHD_WEBHOOK_KEYS", "NBHD_LINK_KEYS")},
        "TELEGRAM_BOT_TOKEN": world.secrets.bot_token,
        "TELEGRAM_WEBHOOK_SECRET": world.secrets.telegram_webhook,
        "TELEGRAM_API_URL": world.telegram.api_url,
        "NBHD_PUBLIC_URL": world.telegram_target,
        "NBHD_LISTEN": f"127.0.0.1:{ports.router}",
        "NBHD_EGRESS_LISTEN": f"127.0.0.1:{ports.egress}",
        "NBHD_SPOOL_PATH": str(world.folder / "spool.sqlite"),
        "FRONTEND_URL": world.frontend_url,
    }
    webhooks = {
        "NBHD_LINK_KEYS": keys["NBHD_LINK_KEYS"],
        "STRIPE_TEST_SECRET_KEY": world.stripe.secret_key,
        "STRIPE_WEBHOOK_SECRETS": world.secrets.stripe_webhook,
        "STRIPE_PRICE_BASIC": world.prices["basic"],
        "STRIPE_PRICE_PLUS": world.prices["plus"],
        "STRIPE_API_URL": world.stripe.api_url,
        "FRONTEND_URL": world.frontend_url,
        "TELEGRAM_BOT_USERNAME": BOT_USERNAME,
        "TELEGRAM_LINK_URL": world.telegram.web_url,
        "NBHD_LISTEN": f"127.0.0.1:{ports.web}",
    }
    return {
        "operator": service("operator", ports.operator_health, "/readyz", operator),
        "router": service("router", ports.router_health, "/readyz", router),
        "webhooks": service("webhooks", ports.webhooks_health, "/readyz", webhooks),
    }
