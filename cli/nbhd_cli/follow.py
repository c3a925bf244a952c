"""Waits for Tenants by a watch, and tells in the meantime what goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from nbhd_cli.access import Access
from nbhd_cli.errors import LateError
from nbhd_cli.states import state
from nbhd_crds.api import Tenant
from nbhd_crds.client import Meta, Watch


class _Shown(msgspec.Struct, frozen=True):
    """What the watch decodes of a Tenant."""

    metadata: Meta
    spec: dict[str, Any]
    status: dict[str, Any] = {}

    def tenant(self) -> Tenant:
        meta = {name: value for name, value in msgspec.to_builtins(self.metadata).items() if value is not None}
        return Tenant.parse({"metadata": meta, "spec": self.spec, "status": self.status})


Done = Callable[[Tenant | None], bool]


async def follow(
    access: Access, name: str, done: Done, *, timeout: float, tell: Callable[[str], None]
) -> Tenant | None:
    """Returns the Tenant, None once it is gone, as soon as it is ``done``; tells of each change until then.

    Raises ``LateError`` after ``timeout`` seconds.
    """
    first = await access.find(Tenant, name)
    if done(first):
        return first
    seen: asyncio.Queue[_Shown | None] = asyncio.Queue()
    watch = Watch(
        access.api,
        _Shown,
        Tenant.plural,
        namespace=access.namespace,
        name=name,
        on_set=seen.put_nowait,
        on_delete=lambda _: seen.put_nowait(None),
    )
    told = ""
    running = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(timeout):
            await watch.synced.wait()
            shown = await seen.get() if not seen.empty() else None
            while True:
                tenant = shown.tenant() if shown else None
                if done(tenant):
                    return tenant
                if tenant and progress(tenant) != told:
                    told = progress(tenant)
                    tell(told)
                shown = await seen.get()
    except TimeoutError:
        raise LateError(
            f'tenant "{name}" is not there yet after {timeout:.0f} s: {told or "nothing was heard"}'
        ) from None
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def progress(tenant: Tenant) -> str:
    """One line about where a Tenant stands."""
    why = tenant.condition("Stalled")
    if why is None or why.status != "True":
        why = tenant.condition("Reconciling")
    return f"{tenant.metadata.name}: {state(tenant)}" + (f": {why.message}" if why else "")


def rested(tenant: Tenant | None) -> bool:
    """True when the operator has acted on all of the spec and nothing is under way: as kstatus sees it."""
    if tenant is None:
        return True
    moving = tenant.condition("Reconciling")
    stalled = tenant.condition("Stalled")
    observed = tenant.status.observed_generation == tenant.metadata.generation
    return observed and moving is not None and (moving.status != "True" or bool(stalled and stalled.status == "True"))
