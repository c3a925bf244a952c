"""Starts the webhooks service: settings, logs, and ``service.py`` until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal

from nbhd_crds import logs
from nbhd_crds.settings import load
from nbhd_webhooks.service import running
from nbhd_webhooks.settings import WebhooksSettings


def main() -> None:
    """Entry point of ``nbhd-webhooks``."""
    settings = load(WebhooksSettings)
    logs.configure(settings.log_level)
    asyncio.run(_serve(settings))


async def _serve(settings: WebhooksSettings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with running(settings):
        await stopped.wait()


if __name__ == "__main__":
    main()
