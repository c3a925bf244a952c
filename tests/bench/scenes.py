"""What is measured: the first convergence, a restart with everything settled, changes during a restart, the way to
the link. Each returns rows of a table; ``__main__.py`` prints them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp

from nbhd_crds.api import Cell, Tenant
from nbhd_crds.api.meta import GROUP, VERSION
from nbhd_crds.identity import azure_name
from nbhd_local import cluster as clusters
from nbhd_local import world as worlds
from nbhd_local.azure import Delays, Limits
from nbhd_local.ports import free_port
from nbhd_local.services import Service
from nbhd_local.waiting import eventually
from nbhd_local.world import World
from tests.bench.crowd import Crowd, break_glass, name_of
from tests.bench.figures import Row, Used, scrape, share, soonest, waits, writes

_LOOK = 0.25  # seconds between two looks at the operator's metrics, which cost it a few milliseconds each
_IDLE = 0.05  # CPU seconds a second below which a process has nothing to do
_PATIENCE = 3600.0


@dataclasses.dataclass
class Scene:
    """A world with nothing in it but an operator, which is not running yet."""

    world: World
    session: aiohttp.ClientSession
    crowd: Crowd
    operator: Service

    @property
    def metrics_url(self) -> str:
        """Where the operator tells its metrics."""
        return self.operator.ready_url.replace("/readyz", "/metrics")

    @property
    def used(self) -> Used:
        """By the operator's process."""
        if self.operator.process is None:
            raise AssertionError("the operator was not started")
        return Used.by(self.operator.process.pid)

    async def until(self, holds: Callable[[dict[str, float]], bool], what: str) -> dict[str, float]:
        """Waits for something that the operator's metrics show; returns them."""
        seen: dict[str, float] = {}

        async def look() -> bool:
            if self.operator.ended:
                raise AssertionError(f"the operator ended:\n{self.operator.tail()}")
            with contextlib.suppress(aiohttp.ClientError):
                seen.clear()
                seen.update(await scrape(scraper, self.metrics_url))
            return bool(seen) and holds(seen)

        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as scraper:
            await eventually(look, lambda: f"{what}; there is: {_gauges(seen)}", _PATIENCE, every=_LOOK)
        return seen

    async def cell_is_ready(self) -> bool:
        """True once the operator has seen whose the cell is, and listed what is in it: new tenants may come."""
        url = f"/apis/{GROUP}/{VERSION}/namespaces/{self.world.namespace}/cells"
        async with self.session.get(url) as answer:
            cells = [Cell.parse(one) for one in (await answer.json())["items"]]
        return all(
            any(one.type == "Ready" and one.status == "True" for one in cell.status.conditions) for cell in cells
        )

    async def idle(self) -> float:
        """Waits until the operator does nothing any more; returns the moment since when."""
        while True:
            before, since = self.used.cpu, time.monotonic()
            await asyncio.sleep(1)  # a share of a second is what is measured
            if self.used.cpu - before < _IDLE:
                return since


@contextlib.asynccontextmanager
async def setting(
    folder: Path, *, delays: Delays, limits: Limits | None = None, profile: Path | None = None, **environment: str
) -> AsyncIterator[Scene]:
    """A cluster of its own, an Azure in which nothing runs, and the operator, not started; ``folder`` must exist.

    Each of the operator's processes writes ``profile`` when it ends, over what the one before wrote.
    """
    async with contextlib.AsyncExitStack() as stack:
        cluster = await asyncio.to_thread(stack.enter_context, clusters.running(folder / "cluster", audit=False))
        options = {"run_containers": False, "healthy": True, "limits": limits}
        world = await stack.enter_async_context(
            worlds.running(folder, cluster=cluster, delays=delays, only=(), azure_options=options)
        )
        world.azure.subscription.assignment_limit = 10**9  # more tenants than Azure gives one subscription
        session = await stack.enter_async_context(break_glass(cluster.kubeconfig))
        port = free_port()
        own = {"NBHD_LOG_LEVEL": "WARNING", "NBHD_HEALTH_LISTEN": f"127.0.0.1:{port}", **environment}
        own["PYTHONDONTWRITEBYTECODE"] = ""  # its first start compiles it, as the image's build does
        operator = dataclasses.replace(
            world.operator,
            environment={**world.operator.environment, **own},
            ready_url=f"http://127.0.0.1:{port}/readyz",
            ready_seconds=600,
        )
        if profile is not None:
            program = ("-o", str(profile), "-m", operator.module)
            operator = dataclasses.replace(operator, module="cProfile", arguments=program)
        stack.push_async_callback(operator.stop)
        yield Scene(world, session, Crowd(world, session), operator)


async def converge(scene: Scene, numbers: range) -> list[Row]:
    """From nothing to Ready for everybody at once."""
    size = len(numbers)
    await scene.crowd.create(numbers)
    before, begun = await writes(scene.session), time.monotonic()
    await scene.operator.start()
    seen = await scene.until(lambda seen: _ready(seen) >= size and _at_rest(seen), f"{size} tenants Ready")
    took, used = time.monotonic() - begun, scene.used
    await scene.idle()
    written = await writes(scene.session) - before
    calls = {name: count for name, count in seen.items() if name.startswith("nbhd_operator_azure_calls_total")}
    await scene.operator.stop()
    return [
        ("first convergence", f"{took:.1f} s, {size / took:.0f} tenants/s, {1000 * took / size:.1f} ms each"),
        ("operator", f"{used.cpu:.1f} s CPU, {1000 * used.cpu / size:.1f} ms each; peak {used.peak:.0f} MB"),
        *((f"written a tenant: {what}", f"{count / size:.2f}") for what, count in sorted(written.items())),
        ("asked of Azure a tenant", f"{sum(calls.values()) / size:.2f}"),
        *(
            (f"  {_labels(name)}", f"{count / size:.2f}")
            for name, count in sorted(calls.items())
            if count >= size / 100
        ),
    ]


async def restart(scene: Scene, size: int, label: str) -> list[Row]:
    """Everything is settled, the operator starts: until it has nothing to do."""
    await scene.operator.start()
    await scene.until(lambda seen: _looked(seen) >= size and _at_rest(seen), "an empty queue")
    await scene.idle()  # the counts of Plan and Cell are written a moment after the last Tenant
    await scene.operator.stop()
    before, asked, begun = await writes(scene.session), len(scene.world.azure.requests), time.monotonic()
    await scene.operator.start()
    ready = time.monotonic() - begun
    await scene.until(lambda seen: _looked(seen) >= size and _at_rest(seen), "an empty queue")
    empty, at_empty = time.monotonic() - begun, scene.used
    idle = await scene.idle() - begun
    used, written = scene.used, await writes(scene.session) - before
    reads = len(scene.world.azure.requests) - asked
    return [
        (f"restart, {label}", f"ready {ready:.1f} s, queue empty {empty:.1f} s, idle {idle:.1f} s"),
        ("operator", f"{at_empty.cpu:.1f} s CPU until empty, {used.cpu:.1f} until idle"),
        ("memory", f"peak {used.peak:.0f} MB, then {used.resident:.0f} MB; {_per_tenant(used, size)}"),
        ("written to Kubernetes", _list(written)),
        ("asked of Azure", f"{reads} requests, {scene.world.azure.writes} writes so far"),
    ]


async def change_during_restart(scene: Scene, numbers: range, label: str) -> list[Row]:
    """People change something from the moment that the operator is ready, until it is idle."""
    await scene.operator.stop()
    await scene.operator.start()
    waits: list[float] = []
    changing = asyncio.create_task(_keep_changing(scene, numbers, waits))
    try:
        await scene.until(lambda seen: _looked(seen) >= len(numbers) and _at_rest(seen), "an empty queue")
        await scene.idle()
    finally:
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
    if not waits:
        return [(f"a change during a restart, {label}", "none was acted on before all was over")]
    shown = ", ".join(f"{wait:.2f}" for wait in waits[:6])
    return [(f"a change during a restart, {label}", f"in status after at most {max(waits):.2f} s (in order: {shown})")]


async def _keep_changing(scene: Scene, numbers: range, waits: list[float]) -> None:
    for number in numbers[:: max(len(numbers) // 100, 1)]:
        begun = time.monotonic()
        generation = await scene.crowd.change(number, preferences={"language": "de"})

        async def acted_on(number: int = number, generation: int = generation) -> bool:
            return (await scene.crowd.get(number)).status.observed_generation == generation

        await eventually(acted_on, f"a change of {name_of(number)} to be acted on", _PATIENCE, every=0.01)
        waits.append(time.monotonic() - begun)
        await asyncio.sleep(0.2)


async def settled(scene: Scene, numbers: range) -> Tenant:
    """Brings the first tenant to Ready with the operator, and makes the others like it without."""
    first, rest = numbers[0], numbers[1:]
    await scene.crowd.create([first])
    await scene.operator.start()
    await scene.until(lambda seen: _ready(seen) >= 1 and _at_rest(seen), f"{name_of(first)} to be Ready")
    await scene.operator.stop()
    template = await scene.crowd.get(first)
    await scene.crowd.settle(template, rest)
    return template


async def way_to_the_link(scene: Scene, numbers: range, delays: Delays, limits: Limits) -> list[Row]:
    """All of ``numbers`` pay at once: until everything is there that linking needs."""
    await scene.operator.start()
    await eventually(scene.cell_is_ready, "the cell to be listed", 60)
    size, azure = len(numbers), scene.world.azure
    asked, paid, begun = len(azure.requests), time.monotonic(), azure.traffic.clock()
    ends: dict[str, float] = {}
    await scene.crowd.create(numbers, linked=False)
    created = time.monotonic() - paid

    async def look() -> bool:
        ready, now = await scene.crowd.with_secrets(), time.monotonic() - paid
        for spec_id in ready:
            ends.setdefault(azure_name(spec_id), now)
        return len(ends) == size

    await eventually(look, lambda: f"secrets of {size} tenants; {len(ends)} have them", 600, every=0.1)
    times, bound = sorted(ends.values()), soonest(limits, delays, size)
    return [
        (
            f"{size} pay at once",
            f"within {created:.1f} s; the operator has used {scene.used.cpu:.1f} s CPU since its start",
        ),
        *(
            (f"ready for linking: {what}", _against(share(times, part), share(bound, part)))
            for what, part in (("first", 0.0), ("median", 0.5), ("95 %", 0.95), ("all", 1.0))
        ),
        ("the mean of them waited until", ""),
        *waits(begun, azure.requests[asked:], ends),
    ]


def _against(took: float, chain: float) -> str:
    return f"{took:5.1f} s, {100 * (took / chain - 1):3.0f} % more than the {chain:.1f} s of Azure's own longest chain"


def _ready(seen: dict[str, float]) -> float:
    return seen.get('nbhd_operator_tenants{phase="Ready"}', 0)


def _looked(seen: dict[str, float]) -> float:
    return sum(count for name, count in seen.items() if name.startswith("nbhd_operator_reconciles_total"))


def _at_rest(seen: dict[str, float]) -> bool:
    return not any(seen[f"nbhd_operator_{name}"] for name in ("queue_depth", "queue_planned", "workers_busy"))


def _gauges(seen: dict[str, float]) -> str:
    wanted = ("nbhd_operator_tenants", "nbhd_operator_queue", "nbhd_operator_workers", "nbhd_operator_reconcile_errors")
    return ", ".join(f"{name} {count:g}" for name, count in seen.items() if name.startswith(wanted))


def _labels(name: str) -> str:
    return name.partition("{")[2].rstrip("}").replace("code=", "").replace("operation=", "").replace('"', "")


def _list(written: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(written.items())) or "0"


def _per_tenant(used: Used, size: int) -> str:
    return f"{1024 * used.resident / size:.1f} kB a tenant"
