"""kopf as the shell: login, discovery, watch, probes, signals. Its events feed the cache and the queue, nothing more.

Only ``kopf.on.event`` is used: its stateful handlers write to every object and remember in annotations, and its timers,
daemons and indexes cost too much at thousands of objects. So kopf is left nothing to store.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import kopf
from pydantic import ValidationError

from nbhd_crds.api import GROUP, VERSION, Cell, Plan, Tenant
from nbhd_operator.runtime import Runtime
from nbhd_operator.settings import OperatorSettings

_EXIT_TIMEOUT = 25.0


class _Backoffs:
    """Endless: by default kopf ends the process after a minute of trouble with the API server."""

    def __iter__(self) -> Iterator[float]:
        delay = 0.5
        while True:
            yield delay * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
            delay = min(delay * 2, 10.0)


class _NoDiffBase(kopf.DiffBaseStorage):
    """Nothing is diffed by kopf."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:  # noqa: ARG002 - kopf's signature
        return {}

    def fetch(self, *, body: Any) -> Any:  # noqa: ARG002
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Nothing."""


class _NoProgress(kopf.ProgressStorage):
    """There are no handlers whose progress kopf would have to keep."""

    def fetch(self, *, key: Any, body: Any) -> Any:  # noqa: ARG002
        return None

    def store(self, *, key: Any, record: Any, body: Any, patch: Any) -> None:
        """Nothing."""

    def purge(self, *, key: Any, body: Any, patch: Any) -> None:
        """Nothing."""

    def touch(self, *, body: Any, patch: Any, value: str | None) -> None:
        """Nothing."""

    def clear(self, *, essence: Any) -> Any:
        return essence


def kopf_settings() -> kopf.OperatorSettings:
    """kopf, held to watching."""
    settings = kopf.OperatorSettings()
    # kopf's own finalizer stays the default one, which nothing carries: it takes "its" finalizer off whatever has no
    # deletion handler, and would fight us for ours.
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True  # the ServiceAccount may not list CRDs and namespaces
    settings.watching.chunk_size = 500
    settings.watching.initial_streaming = True
    settings.queueing.idle_timeout = 0.05
    settings.queueing.exit_timeout = _EXIT_TIMEOUT
    settings.networking.error_backoffs = _Backoffs()
    return settings


def registry(settings: OperatorSettings, runtime: Runtime) -> kopf.OperatorRegistry:
    """All our handlers."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers, id="login")
    async def login(**kwargs: Any) -> Any:
        found = kopf.login_with_service_account if settings.kubeconfig is None else kopf.login_with_kubeconfig
        info = found(**kwargs)
        return runtime.watches.session(info) if info else None

    @kopf.on.startup(registry=handlers, id="start")
    async def start(**_: Any) -> None:
        await runtime.start()

    @kopf.on.cleanup(registry=handlers, id="stop")
    async def stop(**_: Any) -> None:
        await runtime.stop()

    def on_event(plural: str, kind: type[Any], seen: Callable[[str | None, Any], None]) -> None:
        @kopf.on.event(GROUP, VERSION, plural, registry=handlers, id=plural)
        async def informed(type: str | None, body: kopf.Body, logger: kopf.Logger, **_: Any) -> None:  # noqa: A002
            if type != "DELETED" and runtime.knows(plural, body["metadata"]):
                return  # most events are echoes of our own writes
            try:
                found = kind.parse(dict(body))
            except ValidationError as error:
                logger.error(f"not a valid {kind.kind}: {error.error_count()} fields are wrong")
                return
            seen(type, found)

    on_event(Tenant.plural, Tenant, runtime.on_tenant)
    on_event(Plan.plural, Plan, runtime.on_plan)
    on_event(Cell.plural, Cell, runtime.on_cell)
    return handlers
