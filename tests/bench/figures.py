"""What a process has used, what the operator says of itself, and how much was written to the API server."""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import aiohttp

_REQUESTS = re.compile(r"^apiserver_request_total\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_WRITES = frozenset({"APPLY", "DELETE", "PATCH", "POST", "PUT"})
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Used:
    """Of one process, since it began."""

    cpu: float
    """Seconds."""
    resident: float
    """Megabytes (2^20 bytes) now."""
    peak: float
    """The most that it ever was."""

    @classmethod
    def by(cls, pid: int) -> Used:
        """Linux only."""
        folder = Path("/proc") / str(pid)
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        memory = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        resident, peak = (int(memory[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
        return cls((int(fields[11]) + int(fields[12])) / _TICKS, resident, peak)


async def scrape(session: aiohttp.ClientSession, url: str) -> dict[str, float]:
    """Samples of a metrics page by their names with labels, as they are written there."""
    async with session.get(url) as answer:
        lines = (line for line in (await answer.text()).splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def writes(session: aiohttp.ClientSession) -> Counter[str]:
    """Writes to the API server so far by what was written, Leases aside: ``APPLY tenants/status``."""
    async with session.get("/metrics") as answer:
        text = await answer.text()
    found: Counter[str] = Counter()
    for labels, value in _REQUESTS.findall(text):
        label = dict(_LABEL.findall(labels))
        ours = label["group"] in ("nbhd.united", "events.k8s.io")
        if ours and label["verb"] in _WRITES and not label["dry_run"]:
            below = f"/{label['subresource']}" if label["subresource"] else ""
            found[f"{label['verb']} {label['resource']}{below}"] += int(float(value))
    return found


def machine() -> str:
    """What this was measured on."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cores = len(os.sched_getaffinity(0))
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{model[1] if model else platform.machine()}, {cores} cores, {memory:.0f} GiB; {system}"
