"""What a process has used, what the operator says of itself, how much was written to the API server, and what Azure
itself takes for it.
"""

from __future__ import annotations

import datetime
import math
import os
import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from nbhd_local.azure import Delays, Limits
from nbhd_local.azure.limits import Rate
from nbhd_local.traffic import Request
from nbhd_operator.throttle import operation_of

Row = tuple[str, str]
"""What, and its figure."""

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


def soonest(limits: Limits, delays: Delays, tenants: int) -> list[float]:
    """When the first, the second… of ``tenants`` can be ready for linking: Azure's own times alone, in seconds.

    All pay at the same moment, and whoever asks Azure for them loses no time and asks nothing needless. For one tenant
    the chain is two answers: the identity, then the role assignment for the principal that Azure gave it; the secret is
    made beside the identity. For many, Azure's token buckets are part of the chain: it takes a change only when a token
    is there. Of identities there are 40 at once and two a second after that, so 100 need 30 seconds whoever asks; of
    ARM's writes each tenant needs two, of the vault's new versions one. The answer to a change comes ``delays.answer``
    after it was asked for, and a role is refused until its principal has spread.
    """

    def taken(rate: Rate, number: int) -> float:
        return max(number - rate.burst, 0) / rate.per_second

    role = max(delays.answer, delays.principal_replication)
    return [
        delays.answer
        + max(
            taken(limits.identities, number) + role,
            taken(limits.writes, 2 * number),
            taken(limits.vault_sets, number),
        )
        for number in range(1, tenants + 1)
    ]


def waits(begun: datetime.datetime, asked: Iterable[Request], ends: Mapping[str, float]) -> list[Row]:
    """Where the time of those went who were ready ``ends`` seconds after ``begun``: by what each wait ended with.

    ``ends`` is by the name that a tenant's resources have in Azure. A wait is what lies between two answers of Azure
    for one tenant, so it holds the answer's own time, the operator's and Kubernetes', and any waiting in line.
    """
    answers: dict[str, list[tuple[float, str]]] = {name: [] for name in ends}
    for request in asked:
        name = next((part for part in request.path.split("/") if part in ends), None)
        if name is not None:
            what = f"{operation_of(request.method, request.path)}: {request.status}"
            answers[name].append(((request.at - begun).total_seconds(), what))
    found: dict[str, list[float]] = {}
    for name, end in ends.items():
        before = 0.0
        for at, what in [*sorted(one for one in answers[name] if one[0] < end), (end, "status written")]:
            found.setdefault(what, []).append(at - before)
            before = at
    return [
        (f"  {what}", f"{sum(each) / len(ends):6.2f} s, the longest {max(each):6.2f} s, {len(each)} times")
        for what, each in found.items()
    ]


def share(sorted_times: Sequence[float], part: float) -> float:
    """The time within which ``part`` of all were ready."""
    return sorted_times[max(math.ceil(part * len(sorted_times)), 1) - 1]


def machine() -> str:
    """What this was measured on."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cores = len(os.sched_getaffinity(0))
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{model[1] if model else platform.machine()}, {cores} cores, {memory:.0f} GiB; {system}"
