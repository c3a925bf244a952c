"""A thousand settled tenants, ten rounds of looking: nothing is written anywhere, and Azure is read by listing only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from nbhd_local.traffic import Request
from nbhd_local.waiting import eventually
from nbhd_local.world import World
from nbhd_operator.throttle import operation_of
from tests.bench.crowd import Crowd, break_glass, name_of
from tests.e2e.conftest import StartWorld
from tests.e2e.operators import metric, replica

TENANTS = 1000
ROUNDS = 10
SECONDS = 1.0  # between rounds
DEFAULT_SECONDS = 600
DAY = 86_400


@pytest.mark.timeout(240)
async def test_a_thousand_settled_tenants_cost_nothing(
    start_world: StartWorld, measured: Callable[[str], None]
) -> None:
    options = {"run_containers": False, "healthy": True}
    async with start_world(only=("operator",), azure_options=options) as world:
        audit = world.cluster.audit_log
        if audit is None:
            pytest.skip("NBHD_TEST_KUBECONFIG gives a cluster whose audit log is not ours to read")
        world.azure.subscription.page_size = 100
        async with break_glass(world.cluster.kubeconfig) as session:
            crowd = Crowd(world, session)
            await crowd.create([0])
            await world.until(name_of(0), lambda one: one is not None and one.status.phase == "Ready", "Ready")
            await world.operator.stop()
            await crowd.settle(await crowd.get(0), range(1, TENANTS))

        operator = replica(world, "settled", NBHD_DRIFT_SECONDS=str(SECONDS))
        begun = len(world.azure.requests)
        await operator.start()
        try:
            await eventually(lambda: rounds(world, begun) >= 2, "what Plan and Cell say of so many", 60)
            kubernetes, azure = audit.stat().st_size, len(world.azure.requests)
            await eventually(lambda: rounds(world, azure) >= ROUNDS, "ten rounds", 120)
            assert await metric(operator, "nbhd_operator_tenants", phase="Ready") == TENANTS
            assert await metric(operator, "nbhd_operator_reconciles_total", outcome="settled") == TENANTS
            assert await metric(operator, "nbhd_operator_drifts_total") == 0
        finally:
            await operator.stop()

        assert writes(audit, kubernetes, world.namespace) == []
        asked = Counter(operation(request) for request in world.azure.requests[azure:] if request.service != "entra")
        assert not any(request.is_write for request in world.azure.requests[azure:])
        single = {what: count for what, count in asked.items() if not what.startswith("LIST ")}
        assert all(count <= 2 * rounds(world, azure) for count in single.values()), asked  # of the cell, never a tenant
        of_arm = sum(request.service == "arm" for request in world.azure.requests[azure:])
        daily = of_arm / rounds(world, azure) * DAY / DEFAULT_SECONDS / TENANTS
        measured(
            f"ARM calls a settled tenant and day, at {TENANTS} tenants and rounds of {DEFAULT_SECONDS} s: {daily:.2f}"
        )


def rounds(world: World, since: int) -> int:
    """How often all apps were listed: the page that begins a list has no token in its query, which is not logged."""
    pages = sum(request.path.endswith("/containerApps") for request in world.azure.requests[since:])
    return pages // -(-TENANTS // world.azure.subscription.page_size)


def operation(request: Request) -> str:
    """``LIST containerApps``."""
    return operation_of(request.method, f"https://azure{request.path}")


def writes(audit_log: Path, since: int, namespace: str) -> list[str]:
    """What was written in the namespace after the log's first ``since`` bytes, Leases aside."""
    with audit_log.open("rb") as log:
        log.seek(since)
        events = [json.loads(line) for line in log if f'"namespace":"{namespace}"'.encode() in line]
    return [
        f"{event['verb']} {event['objectRef']['resource']} by {event['user']['username']}"
        for event in events
        if event["objectRef"]["resource"] != "leases"
    ]
