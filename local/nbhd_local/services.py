"""Our services as child processes of the local world, started as in production: by environment only.

Each can be killed and started again at any moment; a fresh process gets the same environment and ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from nbhd_local import child

_STOP_SECONDS = 10.0


class ServiceError(Exception):
    """A service ended or did not become ready; the message holds the end of its log."""


@dataclass
class Service:
    """One service; ``ready_url`` answers 200 when it can work."""

    name: str
    module: str
    environment: Mapping[str, str] = field(repr=False)
    ready_url: str
    log: Path
    arguments: tuple[str, ...] = ()
    ready_seconds: float = 30.0
    """How long it may take to become ready."""
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts the process and waits until it is ready. Raises ``ServiceError``."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *child.command(sys.executable, "-m", self.module, *self.arguments),
                env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **self.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await self.wait_ready()

    async def wait_ready(self) -> None:
        """Waits until ``ready_url`` answers 200. Raises ``ServiceError`` if that fails or takes too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.ready_seconds
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while True:
                if self.process is None or self.process.returncode is not None:
                    raise ServiceError(f"{self.name} ended at start:\n{self.tail()}")
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(self.ready_url) as response:
                        if response.status == 200:
                            return
                if loop.time() > deadline:
                    raise ServiceError(f"{self.name} was not ready within {self.ready_seconds:.0f} s:\n{self.tail()}")
                await asyncio.sleep(0.05)  # polling a start-up: the process has no other way to tell

    @property
    def ended(self) -> bool:
        """True if the process ended by itself."""
        return self.process is not None and self.process.returncode is not None

    async def kill(self) -> None:
        """SIGKILL: the process gets no chance to finish anything."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if it does not end within ten seconds."""
        await self._end(signal.SIGTERM)

    async def restart(self) -> None:
        """Kills the process and starts a fresh one."""
        await self.kill()
        await self.start()

    async def _end(self, how: signal.Signals) -> None:
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.send_signal(how)
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()

    def tail(self, lines: int = 30) -> str:
        """The end of the service's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""
