"""``nbhd-local serve``: the emulators in a Pod, for a platform that the chart installed with ``local.enabled``.

The chart made the secrets, the CA and all names up before; what is here keeps its state in memory, so when this Pod is
replaced, what Azure, Stripe and Telegram knew is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from pathlib import Path
from typing import Annotated

from kubernetes.aio import client
from pydantic import AfterValidator, Field, SecretStr

from nbhd_crds.client import connect
from nbhd_crds.clock import Clock, clock
from nbhd_crds.health import Readiness, health_app
from nbhd_crds.listener import listening
from nbhd_crds.settings import Settings, load
from nbhd_local.azure import AzureWorld, Workload
from nbhd_local.ca import Authority
from nbhd_local.clock import WorldClock
from nbhd_local.stripe import StripeWorld
from nbhd_local.telegram import TelegramWorld
from nbhd_local.web import LOOPBACK
from nbhd_local.world import DESCRIPTIONS, PRICES


def _port(listen: str) -> str:
    if not listen.rpartition(":")[2].isdigit():
        raise ValueError("must be host:port")
    return listen


Listen = Annotated[str, AfterValidator(_port)]


class LocalSettings(Settings):
    """What the chart tells the Pod."""

    host: str = Field(validation_alias="NBHD_LOCAL_HOST")
    ca_cert: Path = Field(validation_alias="NBHD_LOCAL_CA_CERT")
    ca_key: Path = Field(validation_alias="NBHD_LOCAL_CA_KEY")
    folder: Path = Field(validation_alias="NBHD_LOCAL_FOLDER")
    arm: Listen = Field(validation_alias="NBHD_LOCAL_ARM_LISTEN")
    entra: Listen = Field(validation_alias="NBHD_LOCAL_ENTRA_LISTEN")
    vault: Listen = Field(validation_alias="NBHD_LOCAL_VAULT_LISTEN")
    stripe: Listen = Field(validation_alias="NBHD_LOCAL_STRIPE_LISTEN")
    telegram: Listen = Field(validation_alias="NBHD_LOCAL_TELEGRAM_LISTEN")
    # The two pages are for a browser that comes by `kubectl port-forward`, so they are on the Pod's loopback.
    stripe_pages: Listen = Field("127.0.0.1:8448", validation_alias="NBHD_LOCAL_STRIPE_PAGES_LISTEN")
    telegram_page: Listen = Field("127.0.0.1:8449", validation_alias="NBHD_LOCAL_TELEGRAM_PAGE_LISTEN")
    stripe_webhook: str = Field(validation_alias="NBHD_LOCAL_STRIPE_WEBHOOK_URL")
    operator: str = Field(validation_alias="NBHD_LOCAL_AZURE_SUBJECT")
    tenant_id: str = Field(validation_alias="AZURE_TENANT_ID")
    client_id: str = Field(validation_alias="AZURE_CLIENT_ID")
    subscription_id: str = Field(validation_alias="AZURE_SUBSCRIPTION_ID")
    vault_name: str = Field(validation_alias="AZURE_KEY_VAULT_NAME")
    price_basic: str = Field(validation_alias="STRIPE_PRICE_BASIC")
    price_plus: str = Field(validation_alias="STRIPE_PRICE_PLUS")
    bot_username: str = Field(validation_alias="TELEGRAM_BOT_USERNAME")
    bot_token: SecretStr = Field(validation_alias="TELEGRAM_BOT_TOKEN")
    stripe_key: SecretStr = Field(validation_alias="STRIPE_TEST_SECRET_KEY")
    signing_secret: SecretStr = Field(validation_alias="STRIPE_WEBHOOK_SECRETS")


async def run(_: Path) -> int:
    """Serves until a signal; returns the exit status."""
    settings = load(LocalSettings)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop.set)
    readiness = Readiness()
    async with contextlib.AsyncExitStack() as stack:
        if settings.health_listen:
            await stack.enter_async_context(listening(health_app(readiness), settings.health_listen))
        await _emulate(stack, settings)
        readiness.serving()
        print("Azure, Stripe and Telegram are here.", flush=True)
        await stop.wait()
        readiness.stopping()
    return 0


async def _emulate(stack: contextlib.AsyncExitStack, settings: LocalSettings) -> None:
    authority = Authority.create(settings.folder / "tls", settings.host, (settings.ca_cert, settings.ca_key))
    now = _clock(settings)
    azure = AzureWorld(
        authority,
        clock=now,
        subscription_id=settings.subscription_id,
        tenant_id=settings.tenant_id,
        client_id=settings.client_id,
        resource_group="local",
        vault_name=settings.vault_name,
        environment_name="local",
        pull_identity="pull",
        log_dir=settings.folder / "replicas",
        workload=Workload(settings.operator, await _signing_keys(settings)),
        host=settings.host,
        arm_port=_number(settings.arm),
        authority_port=_number(settings.entra),
        vault_port=_number(settings.vault),
    )
    telegram = TelegramWorld(
        authority,
        bot_token=settings.bot_token.get_secret_value(),
        bot_username=settings.bot_username,
        clock=now,
        host=settings.host,
        port=_number(settings.telegram),
        web_host=LOOPBACK,
        web_port=_number(settings.telegram_page),
    )
    stripe = StripeWorld(
        authority,
        webhook_url=settings.stripe_webhook,
        webhook_secret=settings.signing_secret.get_secret_value(),
        secret_key=settings.stripe_key.get_secret_value(),
        clock=now,
        host=settings.host,
        port=_number(settings.stripe),
        pages_host=LOOPBACK,
        pages_port=_number(settings.stripe_pages),
    )
    for plan, price in (("basic", settings.price_basic), ("plus", settings.price_plus)):
        name = f"Private assistant, {plan}"
        stripe.sell(plan, cents=PRICES[plan], name=name, description=DESCRIPTIONS[plan], price_id=price)
    for emulator in (azure, telegram, stripe):
        await stack.enter_async_context(emulator)


def _clock(settings: LocalSettings) -> Clock:
    """The clock that the services share; this Pod begins it where a volume for it is mounted."""
    if settings.clock_file and not settings.clock_file.exists():
        return WorldClock(settings.clock_file)
    return clock(settings.clock_file)


async def _signing_keys(settings: LocalSettings) -> dict[str, object]:
    """The keys that the cluster signs ServiceAccount tokens with, as Entra fetches them from the cluster's issuer."""
    async with await connect(settings.kubeconfig) as api:
        keys = client.OpenidApi(api)
        answer = await keys.get_service_account_issuer_open_id_keyset_without_preload_content()
        found: dict[str, object] = json.loads(await answer.read())
        return found


def _number(listen: str) -> int:
    return int(listen.rpartition(":")[2])
