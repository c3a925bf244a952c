"""Which changes become Events, how many, and what of a failure to post them."""

from __future__ import annotations

import asyncio
from typing import Any

from nbhd_crds.api import Condition, TenantStatus
from nbhd_local.waiting import eventually
from nbhd_operator.events import Change, Recorder, changes
from nbhd_operator.metrics import Metrics
from tests.unit.operator import make
from tests.unit.operator.conftest import Stage
from tests.unit.operator.test_controller import SERVED


def status(phase: str | None, stalled: str = "", message: str = "why") -> TenantStatus:
    def condition(kind: str, value: str, reason: str) -> Condition:
        return Condition(
            type=kind,
            status=value,
            observed_generation=1,
            last_transition_time=make.NOW,
            reason=reason,
            message=message,
        )

    found = (
        condition("Stalled", "True" if stalled else "False", stalled or "NotStalled"),
        condition("Reconciling", "False", "Serving"),
    )
    return TenantStatus.model_validate({"phase": phase, "conditions": found})


def test_only_changes_that_people_care_about() -> None:
    assert changes(TenantStatus(), status("Pending")) == [Change("Normal", "Pending", "why")]
    assert changes(status("Provisioning"), status("Ready")) == [Change("Normal", "Ready", "why")]
    assert changes(status("Ready"), status("Ready", message="another")) == []
    assert changes(status("Ready"), status("Stalled", "NoCell")) == [Change("Warning", "NoCell", "why")]
    assert changes(status("Stalled", "NoCell"), status("Stalled", "NoCell", "again")) == []
    assert changes(status("Stalled", "NoCell"), status("Stalled", "PlanNotFound")) == [
        Change("Warning", "PlanNotFound", "why")
    ]
    assert changes(status("Stalled", "NoCell"), status("Provisioning")) == [Change("Normal", "Provisioning", "why")]


class Posted:
    """What was posted; fails while ``error`` is set."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.error: Exception | None = None

    async def __call__(self, namespace: str, body: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        assert namespace == body["metadata"]["namespace"]
        self.bodies.append(body)


def count(metrics: Metrics, outcome: str) -> float:
    return metrics.registry.get_sample_value("nbhd_operator_events_total", {"outcome": outcome}) or 0


async def test_what_is_posted() -> None:
    posted, metrics = Posted(), Metrics()
    recorder = Recorder(posted, "pod-1_abc", metrics)
    running = asyncio.create_task(recorder.run())
    recorder.record(make.tenant(), Change("Normal", "Ready", "ä" * 1000))
    await recorder.drain()
    (body,) = posted.bodies
    assert body["note"] == "ä" * 512  # 1024 bytes
    assert body["regarding"]["uid"] == "uid-anna"
    assert (body["reason"], body["type"], body["reportingInstance"]) == ("Ready", "Normal", "pod-1_abc")
    posted.error = OSError("no way")
    recorder.record(make.tenant(), Change("Normal", "Ready", ""))
    await recorder.drain()
    posted.error = None
    recorder.record(make.tenant(), Change("Normal", "Ended", ""))
    await recorder.drain()
    assert [one["reason"] for one in posted.bodies] == ["Ready", "Ended"]
    assert (count(metrics, "posted"), count(metrics, "failed")) == (2, 1)
    running.cancel()


async def test_one_tenant_cannot_flood_and_neither_can_all() -> None:
    posted, metrics, now = Posted(), Metrics(), [0.0]
    recorder = Recorder(posted, "pod", metrics, lambda: now[0])
    for _ in range(50):
        recorder.record(make.tenant(), Change("Normal", "Ready", ""))
    assert count(metrics, "suppressed") == 40
    for number in range(500):
        recorder.record(make.tenant(f"t{number}"), Change("Normal", "Ready", ""))
    assert count(metrics, "suppressed") == 40 + 310  # nobody posts, and 200 may wait
    now[0] = 600
    running = asyncio.create_task(recorder.run())
    await eventually(lambda: len(posted.bodies) >= 100, "the burst", every=0.001)
    recorder.record(make.tenant(), Change("Normal", "Ready", ""))
    assert count(metrics, "suppressed") == 350  # two more every ten minutes
    running.cancel()


async def test_a_life_in_events(stage: Stage) -> None:
    stage.store.put(make.tenant(billing=make.billing("active")))
    operator = stage.operator()
    await stage.phase("AwaitingLink")
    stage.store.edit(telegram=make.telegram())
    await stage.phase("Ready")
    stage.store.edit(suspended=True)
    await stage.phase("Suspended")
    told = [change.reason for _, change in operator.recorded]
    assert told == ["AwaitingLink", "Provisioning", "Ready", "Suspended"]


async def test_a_settled_tenant_says_nothing(stage: Stage) -> None:
    stage.store.put(make.tenant(**SERVED))
    operator = stage.operator()
    await stage.phase("Ready")
    before = len(operator.recorded)
    for _ in range(3):
        await operator.controller.look(next(iter(stage.store.tenants)))
    assert len(operator.recorded) == before
