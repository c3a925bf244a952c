"""One replica: a container as a local process with an address of its own, restarted with back-off when it ends.

``runtime.py`` decides when replicas exist. A replica ends with the emulator, even when that is killed
(``nbhd_local.child``), and gets nothing of the emulator's environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nbhd_local import child
from nbhd_local.azure.errors import AzureError

State = Literal["Starting", "Running", "Backoff", "Stopping", "Stopped"]
EventKind = Literal["scheduled", "started", "ready", "crashed", "stopping", "stopped"]
_PROBE_SECONDS = 0.03
_FIRST_BACKOFF, _MAX_BACKOFF = 0.5, 60.0
_LOG_BYTES = 1024 * 1024


class ReplicaDown(Exception):  # noqa: N818 - a state, not a fault of ours
    """The replica's container ended, could not start, or does not listen."""


@dataclass(frozen=True)
class Launch:
    """What a container runs. Its environment holds secrets and is therefore resolved as late as possible."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)


class ReplicaLog:
    """An app's output in one file, up to a size; what is beyond it is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._left = _LOG_BYTES - (path.stat().st_size if path.exists() else 0)

    def write(self, data: bytes) -> None:
        """Appends as much as fits."""
        if self._left > 0:
            with self.path.open("ab") as handle:
                handle.write(data[: self._left])
            self._left -= len(data)


class Replica:
    """Runs one container until ``stop``. ``port`` None means that it listens on nothing and is ready when it runs."""

    def __init__(
        self,
        name: str,
        address: str,
        port: int | None,
        launch: Callable[[], Launch],
        log: ReplicaLog,
        *,
        start_delay: float,
        notify: Callable[[EventKind, str], None],
    ) -> None:
        self.name, self.address, self.port = name, address, port
        self.state: State = "Starting"
        self.restarts = 0
        self._launch, self._log, self._start_delay, self._notify = launch, log, start_delay, notify
        self._process: asyncio.subprocess.Process | None = None
        self._outcome: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._runner = asyncio.create_task(self._run())

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._process.pid if self._process else None

    async def wait_ready(self, limit: float) -> None:
        """Returns when the container listens. Raises ``ReplicaDown`` once it ended, or after ``limit`` seconds."""
        try:
            failure = await asyncio.wait_for(asyncio.shield(self._outcome), limit)
        except TimeoutError:
            raise ReplicaDown(f"The container did not listen on port {self.port} within {limit:g} s.") from None
        if failure is not None:
            raise ReplicaDown(failure)

    async def stop(self, grace: float) -> None:
        """SIGTERM, SIGKILL after ``grace`` seconds; returns when nothing of the replica is left."""
        if self.state != "Stopped":
            self.state = "Stopping"
            self._notify("stopping", "")
            process = self._process
            if process is None:
                self._runner.cancel()
            else:
                _signal(process, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(self._runner), grace)
                _signal(process, signal.SIGKILL)
            await asyncio.gather(self._runner, return_exceptions=True)
            self._settle("The replica was stopped.")
            self.state = "Stopped"
            self._notify("stopped", "")

    async def _run(self) -> None:
        self._notify("scheduled", self.address)
        await asyncio.sleep(self._start_delay)
        while True:
            failure = await self._run_container()
            if self.state == "Stopping":
                return
            self.state = "Backoff"
            self._settle(failure)
            self._notify("crashed", failure)
            await asyncio.sleep(min(_MAX_BACKOFF, _FIRST_BACKOFF * 2**self.restarts))
            self.restarts += 1
            self.state, self._outcome = "Starting", asyncio.get_running_loop().create_future()

    async def _run_container(self) -> str:
        """Runs the container once, in a home of its own that goes with it; returns how it ended."""
        home = Path(tempfile.mkdtemp(prefix="home-", dir=self._log.path.parent))
        try:
            launch = self._launch()
            self._process = await asyncio.create_subprocess_exec(
                *child.command(*launch.command),
                env={"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **launch.environment},
                cwd=home,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
            self._notify("started", str(self._process.pid))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy_output(self._process))
                probe = group.create_task(self._probe())
                code = await self._process.wait()
                _signal(self._process, signal.SIGKILL)  # whatever it left behind holds its output open
                probe.cancel()
        except AzureError as refused:
            return f"A secret could not be read: {refused.code}."
        finally:
            self._process = None
            shutil.rmtree(home, ignore_errors=True)
        return f"The container ended with exit code {code}."

    async def _probe(self) -> None:
        while self.port is not None:
            try:
                _, writer = await asyncio.open_connection(self.address, self.port)
            except OSError:
                await asyncio.sleep(_PROBE_SECONDS)
            else:
                writer.close()
                break
        if self.state == "Starting":
            self.state = "Running"
            self._settle(None)
            self._notify("ready", "")

    async def _copy_output(self, process: asyncio.subprocess.Process) -> None:
        while process.stdout is not None and (data := await process.stdout.read(65536)):
            self._log.write(data)

    def _settle(self, failure: str | None) -> None:
        """Tells those who wait. After readiness a failure opens a new chapter."""
        if self._outcome.done() and failure is not None:
            self._outcome = asyncio.get_running_loop().create_future()
        if not self._outcome.done():
            self._outcome.set_result(failure)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signals the container's whole process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
