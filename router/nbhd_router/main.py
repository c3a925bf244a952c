"""Wires the router: settings, the watch, the spool, dispatch, and three listeners (webhook, egress root, health)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import ssl

import aiohttp
from aiohttp import web

from nbhd_crds import logs
from nbhd_crds.api.tenant import Tenant
from nbhd_crds.client import Tenants, Watch, connect
from nbhd_crds.health import health_app
from nbhd_crds.settings import load
from nbhd_router import grants, spool
from nbhd_router.commands import Commands
from nbhd_router.database import Database
from nbhd_router.delivery import Delivery
from nbhd_router.directory import Directory, TenantView, freshness
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
    """Serves until cancelled."""
    async with contextlib.AsyncExitStack() as stack:
        api = await connect(settings.kubeconfig)
        stack.push_async_callback(api.close)
        database = Database(settings.spool_path, spool.SCHEMA + grants.SCHEMA)
        stack.push_async_callback(database.close)
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=30)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

        updates, granted, metrics, directory = Spool(database), Grants(database), Metrics(), Directory()
        watch = Watch(
            api,
            TenantView,
            Tenant.plural,
            namespace=settings.namespace,
            on_set=directory.set,
            on_delete=directory.delete,
        )
        directory.fresh = freshness(watch.synced.is_set, lambda: watch.last_contact)
        telegram = Telegram(session, settings.telegram_url, settings.bot_token.get_secret_value())
        notices = Notices(telegram, Texts(settings.frontend_url))
        linking = Linking(settings.link_keys, settings.platform_id, directory, Tenants(api))
        dispatcher = Dispatcher(
            settings.bot_id,
            updates,
            directory,
            Delivery(session, settings.webhook_keys, settings.platform_id),
            granted,
            notices,
            metrics,
            Commands(linking, directory, notices).answer,
        )
        stack.push_async_callback(dispatcher.stop)
        directory.changed = dispatcher.changed
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

        async def dispatch() -> None:
            await watch.synced.wait()
            await dispatcher.start()

        def problem() -> str | None:
            return None if watch.synced.is_set() else "the list of Tenants is not complete yet"

        async def expose(_: web.Request) -> web.Response:
            return web.Response(text=metrics.render({"tenants": len(directory), "busy_chats": dispatcher.busy}))

        await _listen(stack, intake.app(), settings.listen, _tls(settings))
        await _listen(stack, egress.app(), settings.egress_listen, _tls(settings))
        if settings.health_listen:
            health = health_app(problem)
            health.router.add_get("/metrics", expose)
            await _listen(stack, health, settings.health_listen, None)
        async with asyncio.TaskGroup() as group:
            group.create_task(watch.run())
            group.create_task(dispatch())
            group.create_task(announce(telegram, webhook, bot))
            group.create_task(_purge(updates, granted))


async def _listen(
    stack: contextlib.AsyncExitStack, app: web.Application, address: str, tls: ssl.SSLContext | None
) -> None:
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)  # an access log would show tokens in addresses
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, int(port), ssl_context=tls).start()
    log.info("listening", extra={"address": f"{host}:{runner.addresses[0][1]}"})


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
