"""The operator's metrics. No label ever holds a tenant, a chat or a secret; words of Azure's are kept few and short.

``runtime.py`` makes one object: the controller, the transport to Azure and the cells' keeper count in it, the queue and
the cache are read when somebody asks. What describes the tenants is told by the leader only, so that sums are right.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from prometheus_client import Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nbhd_crds import metrics
from nbhd_crds.api import Plan
from nbhd_operator.cache import Cache
from nbhd_operator.packed import parts
from nbhd_operator.reasons import ROLLOUT_STOPPED

_LOOK_SECONDS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_CALL_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Azure Container Apps, Consumption, pay as you go, region eastus2, 2026-11; the free monthly grant is not deducted.
# https://azure.microsoft.com/pricing/details/container-apps/
USD_PER_CPU_SECOND = 0.000024
USD_PER_GIB_SECOND = 0.000003


class Queue(Protocol):
    """The part of the work queue that is read here."""

    def __len__(self) -> int: ...

    @property
    def running(self) -> int: ...

    @property
    def planned(self) -> int: ...

    @property
    def longest_wait(self) -> float: ...

    @property
    def longest_run(self) -> float: ...


class Metrics:
    """All of them, in a registry of their own; ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = metrics.registry()
        self._clock = clock
        self._words = metrics.Words()
        self._operations = metrics.Words()
        self.succeeded_at = self.looked_at = clock()

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"nbhd_operator_{name}", meaning, labels, registry=self.registry)

        self.leader = Gauge(
            "nbhd_operator_leader", "1 while this process reconciles, 0 while it stands by.", registry=self.registry
        )
        self.reconciles = counter("reconciles", "Looks at a Tenant, by what they came to.", "outcome")
        self.reconcile_seconds = Histogram(
            "nbhd_operator_reconcile_seconds",
            "How long looks at a Tenant took, waiting for Azure included.",
            buckets=_LOOK_SECONDS,
            registry=self.registry,
        )
        self.errors = counter(
            "reconcile_errors", "Looks that failed, by Azure's error code or the API server's status.", "reason"
        )
        self.azure_calls = counter(
            "azure_calls",
            "Requests to Azure, by operation and HTTP status (Unreachable: no answer).",
            "operation",
            "code",
        )
        self.azure_seconds = Histogram(
            "nbhd_operator_azure_call_seconds",
            "How long requests to Azure took, by operation.",
            ("operation",),
            buckets=_CALL_SECONDS,
            registry=self.registry,
        )
        self.azure_waits = counter(
            "azure_throttle_wait_seconds", "Seconds that requests to Azure were held back to stay under its limits."
        )
        self.drifts = counter("drifts", "Changes by others in Azure: put back, or shown where that is not allowed.")
        self.events = counter("events", "Kubernetes Events, by what became of them.", "outcome")

    def looked(self, outcome: str, seconds: float) -> None:
        """A look is over."""
        self.looked_at = self._clock()
        self.reconciles.labels(outcome).inc()
        self.reconcile_seconds.observe(seconds)

    def failed(self, reason: str) -> None:
        """A look failed; ``reason`` is a word of ours or of Azure's."""
        self.errors.labels(self._words(reason)).inc()

    def succeeded(self) -> None:
        """A look or a scan did what it should."""
        self.succeeded_at = self._clock()

    def called_azure(self, operation: str, code: int | None, seconds: float) -> None:
        """A request to Azure is over; ``code`` is the HTTP status, None without an answer."""
        operation = self._operations(operation)
        self.azure_calls.labels(operation, str(code) if code else "Unreachable").inc()
        self.azure_seconds.labels(operation).observe(seconds)

    def read(self, queue: Queue, cache: Cache, leading: Callable[[], bool]) -> None:
        """Adds what is read anew at each scrape."""
        self.registry.register(_Reading(self, queue, cache, leading, self._clock))


class _Reading(Collector):
    """Gauges from the queue and the cache as they are."""

    def __init__(
        self, counted: Metrics, queue: Queue, cache: Cache, leading: Callable[[], bool], clock: Callable[[], float]
    ) -> None:
        self._counted, self._queue, self._cache, self._leading, self._clock = counted, queue, cache, leading, clock

    def describe(self) -> Iterable[Metric]:
        """Nothing: collecting at registration would read what is not there yet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """One family after the other."""
        queue = self._queue
        gauges: Mapping[str, tuple[str, float]] = {
            "queue_depth": ("Tenants that wait for a worker.", len(queue)),
            "queue_oldest_seconds": ("How long the oldest of them waits.", queue.longest_wait),
            "queue_planned": ("Tenants that will be looked at again at a planned moment.", queue.planned),
            "workers_busy": ("Tenants that a worker is at.", queue.running),
            "workers_longest_seconds": ("How long the slowest worker is at its Tenant.", queue.longest_run),
        }
        for name, (meaning, value) in gauges.items():
            yield GaugeMetricFamily(f"nbhd_operator_{name}", meaning, value=value)
        if not self._leading():
            return
        yield GaugeMetricFamily(
            "nbhd_operator_last_success_age_seconds",
            "Seconds since a look or a scan of Azure last succeeded; where nothing is to do, a scan does it "
            "every NBHD_DRIFT_SECONDS. Leader only.",
            value=self._clock() - self._counted.succeeded_at,
        )
        phases = GaugeMetricFamily(
            "nbhd_operator_tenants", "Tenants by phase (New: not looked at yet). Leader only.", labels=["phase"]
        )
        tenants = self._cache.packed.values()
        for phase, number in sorted(Tally(packed.phase or "New" for packed in tenants).items()):
            phases.add_metric([phase], number)
        yield phases
        orphans = GaugeMetricFamily(
            "nbhd_operator_orphans",
            "Resources in Azure that belong to no Tenant, by the Cell that they are in. Leader only.",
            labels=["cell"],
        )
        for key, cell in sorted(self._cache.cells.items()):
            if cell.status.orphan_count is not None:
                orphans.add_metric([key.name], cell.status.orphan_count)
        yield orphans
        rollouts = GaugeMetricFamily(
            "nbhd_operator_plan_tenants",
            "Tenants of each plan by how far its runtime has come: updated, updating (or not coming up), waiting. "
            "Leader only.",
            labels=["plan", "state"],
        )
        for (plan, state), number in sorted(rollout_states(self._cache.plans.values()).items()):
            rollouts.add_metric([plan, state], number)
        yield rollouts
        stopped = GaugeMetricFamily(
            "nbhd_operator_rollout_stopped",
            "1 while a plan's runtime goes to no further Tenant for those that have it do not come up. Leader only.",
            labels=["plan"],
        )
        for plan, stops in sorted(stopped_rollouts(self._cache.plans.values()).items()):
            stopped.add_metric([plan], stops)
        yield stopped
        ceiling = GaugeMetricFamily(
            "nbhd_operator_cost_ceiling_usd_per_hour",
            "US dollars an hour if the containers of all served Tenants ran without a pause, by plan, at the list "
            f"price of Azure Container Apps in eastus2 (${USD_PER_CPU_SECOND:f} a vCPU second, "
            f"${USD_PER_GIB_SECOND:f} a GiB second). An upper bound: a sleeping container costs nothing, and none is "
            "woken to be counted. Leader only.",
            labels=["plan"],
        )
        for plan, dollars in sorted(ceiling_by_plan(self._cache).items()):
            ceiling.add_metric([plan], dollars)
        yield ceiling


def rollout_states(plans: Iterable[Plan]) -> Tally[tuple[str, str]]:
    """Tenants by plan and state, as the Plans' statuses say."""
    found: Tally[tuple[str, str]] = Tally()
    for plan in plans:
        status = plan.status
        for state, number in (("updated", status.updated), ("updating", status.updating), ("waiting", status.waiting)):
            found[plan.metadata.name, state] += number or 0
    return found


def stopped_rollouts(plans: Iterable[Plan]) -> dict[str, int]:
    """1 for each plan whose status says that its rollout has stopped, 0 for the others."""
    found: dict[str, int] = {}
    for plan in plans:
        stops = any(said.reason == ROLLOUT_STOPPED for said in plan.status.conditions)
        found[plan.metadata.name] = max(found.get(plan.metadata.name, 0), int(stops))
    return found


def ceiling_by_plan(cache: Cache) -> dict[str, float]:
    """US dollars an hour, by plan, while every container that may run does."""
    found: dict[str, float] = {}
    for key, plan in cache.plans.items():
        for container, tenants in cache.of_plan(key).items():
            if container.up:
                _, cpu, memory, *_ = container.runtime or parts(plan.spec)
                second = float(cpu) * USD_PER_CPU_SECOND + float(memory.removesuffix("Gi")) * USD_PER_GIB_SECOND
                found[key.name] = found.get(key.name, 0.0) + 3600 * len(tenants) * second
    return found
