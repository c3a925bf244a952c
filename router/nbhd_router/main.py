"""Wires the router: settings, the watch, the spool, dispatch, and three listeners (webhook, egress root, health)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import resource
import signal
import ssl

import aiohttp

from nbhd_crds import clock, logs
from nbhd_crds.api.tenant import Tenant
from nbhd_crds.client import Tenants, Watch, connect
from nbhd_crds.health import Readiness, health_app
from nbhd_crds.listener import listening
from nbhd_crds.settings import load
from nbhd_router import announcements, grants, spool
from nbhd_router.announcements import Announcer
from nbhd_router.commands import Commands
from nbhd_router.database import Database
from nbhd_router.delivery import Delivery
from nbhd_router.directory import Directory, TenantView
from nbhd_router.dispatch import Dispatcher
from nbhd_router.egress import Egress
from nbhd_router.errors import DatabaseError
from nbhd_router.grants import Grants
from nbhd_router.intake import WEBHOOK_PATH, Intake
from nbhd_router.linking import Linking
from nbhd_router.metrics import Metrics
from nbhd_router.notices import Notices
from nbhd_router.settings import RouterSettings
from nbhd_router.spool import Spool
from nbhd_router.telegram import Telegram, announce
from nbhd_router.texts import Texts
from nbhd_router.update import ALLOWED_UPDATES

log = logging.getLogger("nbhd_router.main")  # also when run with -m

_PURGE_SECONDS = 3600.0


async def run(settings: RouterSettings) -> None:
    """Serves until cancelled; then it is unready first, and finishes requests in progress."""
    now = clock.clock(settings.clock_file)
    metrics, directory, readiness = Metrics(), Directory(), Readiness("the list of Tenants is not complete yet")

    def seconds() -> float:
        return now().timestamp()

    async with contextlib.AsyncExitStack() as stack:
        api = await connect(settings.kubeconfig)
        stack.push_async_callback(api.close)
        database = Database(settings.spool_path, spool.SCHEMA + grants.SCHEMA + announcements.SCHEMA)
        stack.push_async_callback(database.close)
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=30)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

        updates, granted = Spool(database, clock=seconds), Grants(database, clock=seconds)
        watch = Watch(
            api,
            TenantView,
            Tenant.plural,
            namespace=settings.namespace,
            on_set=directory.set,
            on_delete=directory.delete,
        )
        directory.fresh = lambda: watch.current
        telegram = Telegram(session, settings.telegram_url, settings.bot_token.get_secret_value())
        notices = Notices(telegram, Texts(settings.frontend_url), clock=now)
        linking = Linking(settings.link_keys, settings.platform_id, directory, Tenants(api), clock=now)
        dispatcher = Dispatcher(
            settings.bot_id,
            updates,
            directory,
            Delivery(session, settings.webhook_keys, settings.platform_id),
            granted,
            notices,
            metrics,
            Commands(linking, directory, notices).answer,
            clock=seconds,
        )
        stack.push_async_callback(dispatcher.stop)
        announcer = Announcer(database, directory, notices, clock=now)

        def changed(chat: int) -> None:
            dispatcher.changed(chat)
            announcer.changed(chat)

        directory.changed = changed
        intake = Intake(
            settings.bot_id, settings.accepted_secrets, updates, directory, notices, metrics, dispatcher.wake
        )
        bot = asyncio.get_running_loop().create_future()
        egress = Egress(
            session,
            telegram,
            bot,
            settings.bot_id,
            settings.bot_keys,
            settings.platform_id,
            directory,
            granted,
            metrics,
        )
        webhook = {
            "url": settings.public_url + WEBHOOK_PATH,
            "secret_token": settings.accepted_secrets[0],
            "allowed_updates": list(ALLOWED_UPDATES),
            "max_connections": settings.max_connections,
        }

        async def when_complete() -> None:
            await watch.synced.wait()
            readiness.serving()
            await dispatcher.start()
            await announcer.run()

        if settings.health_listen:
            metrics.watch(lambda: len(directory), lambda: dispatcher.busy)
            refresh = functools.partial(metrics.look_at, updates, seconds)
            health = health_app(readiness, metrics=metrics.registry, refresh=refresh)
            await stack.enter_async_context(listening(health, settings.health_listen))
        tls = _tls(settings)
        await stack.enter_async_context(listening(egress.app(), settings.egress_listen, tls=tls))
        await stack.enter_async_context(listening(intake.app(), settings.listen, tls=tls))
        stack.callback(readiness.stopping)
        async with asyncio.TaskGroup() as group:
            group.create_task(watch.run())
            group.create_task(when_complete())
            group.create_task(announce(telegram, webhook, bot))
            group.create_task(_purge(updates, granted))


def _tls(settings: RouterSettings) -> ssl.SSLContext | None:
    if settings.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context


async def _purge(updates: Spool, granted: Grants) -> None:
    while True:
        try:
            await updates.purge()
            await granted.purge()
        except DatabaseError as error:
            log.warning("spool not purged", extra={"error": str(error)})
        await asyncio.sleep(_PURGE_SECONDS)


async def _until_told(settings: RouterSettings) -> None:
    task = asyncio.create_task(run(settings))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """Entry point of ``nbhd-router``."""
    settings = load(RouterSettings)
    logs.configure(settings.log_level)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:  # each waiting chat may hold a connection
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(_until_told(settings))


if __name__ == "__main__":
    main()
