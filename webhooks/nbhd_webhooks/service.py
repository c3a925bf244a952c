"""The service as one object: builds its parts from the settings and serves while its context lasts.

``main.py`` runs it until a signal; tests run it in-process.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiohttp import web

from nbhd_crds.client import Tenants, connect
from nbhd_crds.health import health_app
from nbhd_webhooks.events import BODY_LIMIT, EventHandler
from nbhd_webhooks.pages import Pages, guard
from nbhd_webhooks.resync import Resync
from nbhd_webhooks.settings import WebhooksSettings
from nbhd_webhooks.stripe_api import open_stripe
from nbhd_webhooks.sync import Sync

log = logging.getLogger(__name__)


def utc_now() -> datetime.datetime:
    """The machine's clock."""
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class Service:
    """A service that answers."""

    url: str
    sync: Sync
    events: EventHandler
    resync: Resync


@contextlib.asynccontextmanager
async def running(
    settings: WebhooksSettings, *, clock: Callable[[], datetime.datetime] = utc_now
) -> AsyncIterator[Service]:
    """Connects to Kubernetes and Stripe, listens, and resyncs in the background; stops all of it at the end."""
    async with contextlib.AsyncExitStack() as stack:
        api = await connect(settings.kubeconfig)
        stack.push_async_callback(api.close)
        stripe = await stack.enter_async_context(open_stripe(settings.stripe_url, settings.api_key))
        tenants = Tenants(api)
        lookup_keys = {price: plan for plan, price in settings.plan_prices.items()}
        sync = Sync(
            stripe,
            tenants,
            platform=settings.platform_id,
            namespace=settings.namespace,
            lookup_keys=lookup_keys,
        )
        events = EventHandler(
            sync.customer,
            stripe.customer_of,
            secrets=settings.signing_secrets,
            live=settings.live_mode,
            clock=clock,
        )
        pages = Pages(
            stripe,
            sync,
            plans=settings.plan_prices,
            live=settings.live_mode,
            frontend_url=settings.frontend_url,
            platform=settings.platform_id,
            bot_username=settings.bot_username,
            telegram_link_url=settings.telegram_link_url,
            link_keys=settings.link_keys,
            clock=clock,
        )
        resync = Resync(
            sync,
            stripe,
            tenants,
            namespace=settings.namespace,
            lookup_keys=lookup_keys,
            every=datetime.timedelta(seconds=settings.resync_seconds),
            clock=clock,
        )
        url = await _listen(stack, application(events, pages, settings.frontend_url), settings.listen)
        if settings.health_listen:
            await _listen(stack, health_app(lambda: None), settings.health_listen)
        background = asyncio.create_task(resync.run(), name="resync")
        stack.push_async_callback(_stop, background)
        log.info("listening", extra={"url": url, "live": settings.live_mode, "namespace": settings.namespace})
        yield Service(url, sync, events, resync)


def application(events: EventHandler, pages: Pages, frontend_url: str) -> web.Application:
    """The public routes."""
    app = web.Application(middlewares=[guard(frontend_url)], client_max_size=BODY_LIMIT)
    app.router.add_post("/stripe/webhook", events.handle)
    app.router.add_get("/", pages.plans)
    app.router.add_post("/subscribe/{plan}", pages.subscribe)
    app.router.add_get("/welcome", pages.welcome)
    return app


async def _listen(stack: contextlib.AsyncExitStack, app: web.Application, address: str) -> str:
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=10)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, int(port)).start()
    return f"http://{host}:{runner.addresses[0][1]}"


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
