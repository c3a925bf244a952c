"""The service as one object: builds its parts from the settings and serves while its context lasts.

``main.py`` runs it until a signal; tests run it in-process.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from nbhd_crds import clock
from nbhd_crds.client import Tenants, connect
from nbhd_crds.health import Readiness, health_app
from nbhd_crds.listener import listening
from nbhd_webhooks.events import BODY_LIMIT, EventHandler
from nbhd_webhooks.metrics import Metrics
from nbhd_webhooks.pages import Pages, guard
from nbhd_webhooks.resync import Resync
from nbhd_webhooks.settings import WebhooksSettings
from nbhd_webhooks.stripe_api import open_stripe
from nbhd_webhooks.sync import Sync

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """A service that answers."""

    url: str
    sync: Sync
    events: EventHandler
    resync: Resync


@contextlib.asynccontextmanager
async def running(settings: WebhooksSettings) -> AsyncIterator[Service]:
    """Connects to Kubernetes and Stripe, listens, and resyncs in the background.

    At the end it is unready first, then finishes requests in progress, then stops.
    """
    now = clock.clock(settings.clock_file)
    readiness, metrics = Readiness(), Metrics()
    async with contextlib.AsyncExitStack() as stack:
        if settings.health_listen:
            health = health_app(readiness, metrics=metrics.registry)
            await stack.enter_async_context(listening(health, settings.health_listen))
        api = await connect(settings.kubeconfig)
        stack.push_async_callback(api.close)
        stripe = await stack.enter_async_context(open_stripe(settings.stripe_url, settings.api_key, metrics))
        lookup_keys = {price: plan for plan, price in settings.plan_prices.items()}
        sync = Sync(
            stripe,
            Tenants(api),
            platform=settings.platform_id,
            namespace=settings.namespace,
            lookup_keys=lookup_keys,
        )
        events = EventHandler(
            sync.customer,
            stripe.customer_of,
            secrets=settings.signing_secrets,
            live=settings.live_mode,
            clock=now,
            metrics=metrics,
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
            clock=now,
        )
        resync = Resync(
            sync,
            stripe,
            lookup_keys=lookup_keys,
            every=datetime.timedelta(seconds=settings.resync_seconds),
            clock=now,
            metrics=metrics,
        )
        public = application(events, pages, settings.frontend_url)
        url = await stack.enter_async_context(listening(public, settings.listen, drain=10))
        background = asyncio.create_task(resync.run(), name="resync")
        stack.push_async_callback(_stop, background)
        stack.callback(readiness.stopping)
        readiness.serving()
        log.info("serving", extra={"url": url, "live": settings.live_mode, "namespace": settings.namespace})
        yield Service(url, sync, events, resync)


def application(events: EventHandler, pages: Pages, frontend_url: str) -> web.Application:
    """The public routes."""
    app = web.Application(middlewares=[guard(frontend_url)], client_max_size=BODY_LIMIT)
    app.router.add_post("/stripe/webhook", events.handle)
    app.router.add_get("/", pages.plans)
    app.router.add_post("/subscribe/{plan}", pages.subscribe)
    app.router.add_get("/welcome", pages.welcome)
    return app


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
