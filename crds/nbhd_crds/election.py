"""Who leads among replicas: an election by a Lease, after the rules of client-go's ``leaderelection``.

A candidate takes the Lease when nobody holds it, or when its holder has not renewed it for a whole duration *by the
candidate's own monotonic clock, counted from when the candidate saw the last change*: no two clocks are compared. A
leader counts from before its last successful renewal was sent, and stops well before anybody else may begin. All of
this is advisory: what leaders do must be correct even if two of them act. ``client/leases.py`` reads and writes.
https://kubernetes.io/docs/concepts/architecture/leases/
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.client.leases import Lease

log = logging.getLogger(__name__)

_NEVER = float("-inf")
_TROUBLE = (ApiException, aiohttp.ClientError, TimeoutError, OSError)


class LeaseStore(Protocol):
    """The part of ``client.Leases`` that is used here: one Lease."""

    async def get(self) -> Lease | None:
        """The Lease, or None."""
        ...

    async def create(self, lease: Lease) -> Lease:
        """Makes it; 409 if it is there already."""
        ...

    async def replace(self, lease: Lease) -> Lease:
        """Writes it on exactly the version that was read; 409 if there is a newer one."""
        ...


@dataclass(frozen=True)
class Timing:
    """Seconds. A dead leader is replaced after ``duration`` and at most two ``retry`` more."""

    duration: int = 10
    """How long others leave a holder alone that does not renew."""
    deadline: float = 6.0
    """A leader that could not renew for so long stops; the rest of the duration is for its workers to end."""
    renew: float = 2.0
    """How often a leader renews."""
    retry: float = 1.0
    """How often a candidate looks, and a leader tries again what failed."""
    request: float = 3.0
    """How long one request may take."""


def identity() -> str:
    """A name for this process that no other one has: the Pod's, and something random, for Pods' names come again."""
    return f"{os.environ.get('HOSTNAME') or socket.gethostname()}_{secrets.token_hex(6)}"


class Election:
    """One candidate. ``run`` goes on until it is cancelled; ``release`` then gives the Lease up for the next."""

    def __init__(
        self,
        leases: LeaseStore,
        identity: str,
        *,
        timing: Timing = Timing(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases, self.identity, self._timing, self._clock = leases, identity, timing, clock
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._renewed = _NEVER
        self._newest = False
        """True while the Lease is as we last wrote it, as far as we know."""
        self._troubled = False

    @property
    def leading(self) -> bool:
        """False from the deadline on, also if the loop was too busy to notice: nobody else can have begun before."""
        return self._clock() < self._renewed + self._timing.deadline

    async def run(self, lead: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        """Waits for the Lease, then keeps it within ``lead()``'s context, which must end quickly; and so on."""
        while True:
            if not await self._try():
                await asyncio.sleep(self._timing.retry * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not a secret
                continue
            log.info("leading", extra={"identity": self.identity})
            async with lead():
                await self._keep()
                log.warning("the Lease could not be renewed in time: standing by", extra={"identity": self.identity})

    async def release(self) -> None:
        """Gives the Lease up, if it is ours, so that the next one need not wait for its end. Never raises."""
        self._renewed = _NEVER
        if self._seen is None or self._seen.holder != self.identity:
            return
        try:
            async with asyncio.timeout(self._timing.request):
                found = await self._leases.get()
                if found is not None and found.holder == self.identity:
                    now = datetime.datetime.now(datetime.UTC)
                    await self._leases.replace(found.held_by("", seconds=1, now=now))
            log.info("lease released", extra={"identity": self.identity})
        except _TROUBLE as error:
            log.warning("lease not released: it ends by itself", extra=_described(error))

    async def _keep(self) -> None:
        """Renews until that fails for too long, or somebody else holds the Lease."""
        pause = self._timing.renew
        while self.leading:
            await asyncio.sleep(max(0.0, min(pause, self._renewed + self._timing.deadline - self._clock())))
            if not self.leading:
                return
            pause = self._timing.renew if await self._try() else self._timing.retry

    async def _try(self) -> bool:
        """One attempt to take or renew the Lease. True if it is ours, counted from before the attempt."""
        begun = self._clock()
        left = self._renewed + self._timing.deadline - begun  # a leader's attempt must not outlast its own deadline
        try:
            async with asyncio.timeout(min(self._timing.request, left) if left > 0 else self._timing.request):
                held = await self._attempt()
        except _TROUBLE as error:
            self._newest = False
            quicker = getattr(error, "status", None) == 409  # another candidate
            if not quicker and not self._troubled:
                log.warning("lease not reached", extra=_described(error))
            self._troubled = not quicker
            return False
        self._troubled, self._newest = False, held
        self._renewed = begun if held else _NEVER
        return held

    async def _attempt(self) -> bool:
        # Nobody else writes the Lease of one who renews, so most renewals need no reading.
        found = self._seen if self._newest else await self._leases.get()
        now = datetime.datetime.now(datetime.UTC)
        if found is None:
            self._saw(await self._leases.create(Lease().held_by(self.identity, self._timing.duration, now)))
            return True
        self._saw(found)
        free = not found.holder or found.holder == self.identity
        if not free and self._clock() < self._seen_at + found.seconds:
            return False
        self._saw(await self._leases.replace(found.held_by(self.identity, self._timing.duration, now)))
        return True

    def _saw(self, lease: Lease) -> None:
        if self._seen is None or lease.version != self._seen.version:
            self._seen, self._seen_at = lease, self._clock()


def _described(error: Exception) -> dict[str, object]:
    return {"error": type(error).__name__, "status": getattr(error, "status", None)}
