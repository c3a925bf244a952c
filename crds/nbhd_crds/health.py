"""What a service tells of itself on its health listener: ``/healthz``, ``/readyz`` and ``/metrics``.

Liveness and readiness mean different things: a service that is not alive is to be killed and started again, one that
is not ready waits for something that a new start would not bring sooner. The services bring both verdicts and a
registry of ``metrics.py``; ``listener.py`` serves the application.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler


@dataclass
class Readiness:
    """What keeps a service from working: all of it at first, and again from the moment that it is told to stop."""

    missing: str = "starting"

    def __call__(self) -> str | None:
        return self.missing or None

    def serving(self) -> None:
        """It works."""
        self.missing = ""

    def stopping(self) -> None:
        """It finishes what it has begun; nothing new should be sent here."""
        self.missing = "shutting down"


def _alive() -> str | None:
    return None


async def _as_it_is() -> None:
    pass


def health_app(
    problem: Callable[[], str | None],
    *,
    stuck: Callable[[], str | None] = _alive,
    metrics: CollectorRegistry | None = None,
    refresh: Callable[[], Awaitable[None]] = _as_it_is,
) -> web.Application:
    """``/readyz`` answers 503 with what ``problem()`` says is missing, ``/healthz`` with what ``stuck()`` says.

    A loop that is stuck as a whole answers nothing, which a probe takes for the same. ``refresh`` is awaited before
    ``metrics`` are read, for values that cannot be had at once.
    """

    def verdict(trouble: str | None) -> web.Response:
        return web.Response(status=503, text=trouble) if trouble else web.Response(text="ok")

    async def live(_: web.Request) -> web.Response:
        return verdict(stuck())

    async def ready(_: web.Request) -> web.Response:
        return verdict(problem())

    app = web.Application()
    app.router.add_get("/healthz", live)
    app.router.add_get("/readyz", ready)
    if metrics is not None:
        expose = make_aiohttp_handler(metrics)

        async def measured(request: web.Request) -> web.StreamResponse:
            await refresh()
            return await expose(request)

        app.router.add_get("/metrics", measured)
    return app
