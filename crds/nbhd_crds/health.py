"""Liveness and readiness of the router and webhooks: ``/healthz`` and ``/readyz`` (kopf brings its own)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web


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


def health_app(problem: Callable[[], str | None]) -> web.Application:
    """``/healthz`` answers while the loop lives; ``/readyz`` answers 503 with what ``problem()`` says is missing."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def ready(_: web.Request) -> web.Response:
        missing = problem()
        return web.Response(status=503, text=missing) if missing else web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/healthz", live)
    app.router.add_get("/readyz", ready)
    return app
