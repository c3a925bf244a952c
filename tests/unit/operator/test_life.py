"""One subscription from payment to the end of retention and back, on a clock that jumps, with the real SDKs.

What ``kubectl get tenants -w`` would show is compared word for word: phases that a person understands, no flapping.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from nbhd_crds.api import Tenant, TenantStatus
from nbhd_operator.cache import Key
from tests.unit.operator import make
from tests.unit.operator.conftest import Operator, Stage
from tests.unit.operator.make import at
from tests.unit.operator.test_controller import ALL, NAME, NOTHING

KEY = Key("ns", "anna")


class Watching:
    """Every status that was ever written, as a watcher sees them."""

    def __init__(self, stage: Stage) -> None:
        self.seen: list[TenantStatus] = []
        stage.store.watchers.append(self._note)

    def _note(self, tenant: Tenant | None, _: Key) -> None:
        if tenant is not None and tenant.status.phase:
            assert {c.observed_generation for c in tenant.status.conditions} == {tenant.status.observed_generation}
            self.seen.append(tenant.status)

    def lines(self) -> list[str]:
        """Phase and reason, each change once; starts anew."""
        shown = [f"{status.phase} {reason(status)}" for status in self.seen]
        self.seen.clear()
        return [line for line, _ in itertools.groupby(shown)]


def reason(status: TenantStatus) -> str:
    (said,) = (c.reason for c in status.conditions if c.type == "Reconciling")
    return said


def conditions(tenant: Tenant) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in tenant.status.conditions}


def app_runs(stage: Stage) -> bool:
    (app,) = stage.world.subscription.apps.values()
    return not app.stopped


@pytest.fixture
def watching(stage: Stage) -> Watching:
    return Watching(stage)


@pytest.fixture
async def operator(stage: Stage, watching: Watching) -> Operator:
    """An operator with one subscriber who paid, linked and is served."""
    stage.store.put(make.tenant(billing=make.billing("active"), telegram=make.telegram()))
    operator = stage.operator()
    await stage.phase("Ready")
    watching.lines()
    return operator


async def until_state(stage: Stage, state: str, reason: str) -> Tenant:
    """Waits for a settled right."""

    def holds(tenant: Tenant | None) -> bool:
        right = tenant.status.entitlement if tenant else None
        moving = tenant.condition("Reconciling") if tenant else None
        return bool(right and moving and (right.state, right.reason, moving.status) == (state, reason, "False"))

    return await stage.until(holds)


async def test_from_payment_to_the_first_answer(stage: Stage, watching: Watching) -> None:
    stage.store.put(make.tenant())
    stage.operator()
    await stage.phase("Pending")
    stage.store.edit(billing=make.billing("active"))
    await until_state(stage, "Active", "Paid")
    stage.store.edit(telegram=make.telegram())
    await stage.phase("Ready")
    assert watching.lines() == [
        "Pending AwaitingPayment",
        "AwaitingLink Provisioning",
        "AwaitingLink AwaitingLink",
        "Provisioning Provisioning",
        "Ready Serving",
    ]


async def test_lapse_and_return(stage: Stage, operator: Operator, watching: Watching) -> None:
    before = stage.tenant()
    assert before is not None
    stage.store.edit(billing=make.billing("past_due", graceSince=at(0)))
    grace = await until_state(stage, "Grace", "PastDue")
    assert grace.status.entitlement is not None
    assert grace.status.entitlement.until == at(7)
    assert conditions(grace)["Ready"] == ("True", "Grace")
    assert conditions(grace)["BillingCurrent"] == ("False", "PastDue")
    assert app_runs(stage)

    operator.clock.now = at(7)  # nothing else happens
    lapsed = await until_state(stage, "Suspended", "PastDue")
    assert not app_runs(stage)
    assert stage.owned == ALL
    assert lapsed.status.endpoint == before.status.endpoint
    assert conditions(lapsed) == {
        "Reconciling": ("False", "PastDue"),
        "Stalled": ("False", "NotStalled"),
        "BillingCurrent": ("False", "PastDue"),
        "Linked": ("True", "ChatLinked"),
        "SecretsReady": ("True", "SecretsReady"),
        "AppReady": ("False", "PastDue"),
        "UpToDate": ("True", "Applied"),
    }
    moved = {c.type: c.last_transition_time for c in lapsed.status.conditions}
    assert (moved["BillingCurrent"], moved["AppReady"], moved["SecretsReady"]) == (at(0), at(7), at(0))

    operator.clock.now = at(9)
    asked: list[str] = []

    async def answers(endpoint: str) -> bool:
        asked.append(endpoint)
        assert app_runs(stage)
        return len(asked) > 1

    stage.azure.answers = answers  # type: ignore[method-assign]
    stage.store.edit(billing=make.billing("active"))
    back = await until_state(stage, "Active", "Paid")
    assert asked == [before.status.endpoint] * 2  # Ready was said only after an answer
    for fact in ("endpoint", "identity", "secret_id", "credentials", "revision", "chat_id"):
        assert getattr(back.status, fact) == getattr(before.status, fact)
    assert watching.lines() == [
        "Ready Serving",
        "Ready Grace",
        "Suspended PastDue",
        "Provisioning Starting",
        "Ready Serving",
    ]


async def test_a_clock_set_back_gives_the_grace_back(stage: Stage, operator: Operator) -> None:
    stage.store.edit(billing=make.billing("past_due", graceSince=at(0)))
    operator.clock.now = at(7)
    await until_state(stage, "Suspended", "PastDue")
    operator.clock.now = at(6)
    await until_state(stage, "Grace", "PastDue")
    await stage.phase("Ready")


async def test_a_deadline_passed_while_the_operator_was_down(stage: Stage, operator: Operator) -> None:
    stage.store.edit(billing=make.billing("past_due", graceSince=at(0)))
    await until_state(stage, "Grace", "PastDue")
    await operator.kill()
    later = stage.operator()
    later.clock.now = at(8)
    await until_state(stage, "Suspended", "PastDue")


@pytest.mark.parametrize(
    ("stop", "resume", "said", "billing"),
    [
        ({"suspended": True}, {"suspended": False}, "SuspendedByOperator", ("True", "Paid")),
        ({"holds": [{"id": "dp_1", "reason": "Dispute", "since": at(0)}]}, {"holds": []}, "Dispute",
         ("False", "Dispute")),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("operator")
async def test_a_person_or_a_dispute_stops_service_and_it_resumes(
    stage: Stage,
    watching: Watching,
    stop: dict[str, Any],
    resume: dict[str, Any],
    said: str,
    billing: tuple[str, str],
) -> None:
    stage.store.edit(**stop)
    stopped = await until_state(stage, "Suspended", said)
    assert conditions(stopped)["BillingCurrent"] == billing
    assert not app_runs(stage)
    stage.store.edit(**resume)
    await stage.phase("Ready")
    assert watching.lines() == ["Ready Serving", f"Suspended {said}", "Provisioning Starting", "Ready Serving"]


async def test_cancel_end_retention_and_two_returns(stage: Stage, operator: Operator, watching: Watching) -> None:
    first = stage.tenant()
    assert first is not None
    assert first.status.identity is not None
    stage.store.edit(billing=make.billing("active", cancelAt=at(5)))
    canceling = await until_state(stage, "Active", "Canceling")
    assert canceling.status.entitlement is not None
    assert canceling.status.entitlement.until == at(5)
    assert app_runs(stage)

    operator.clock.now = at(5)
    await until_state(stage, "Ended", "Canceled")  # as agreed, before Stripe's event
    stage.store.edit(billing=make.billing("canceled", endedAt=at(5)))
    kept = await stage.until(lambda t: t and (r := t.status.entitlement) and r.until == at(35))
    assert stage.owned == ALL
    assert not app_runs(stage)
    assert kept.status.endpoint

    operator.clock.now = at(20)
    stage.store.edit(billing=make.billing("active"))
    within = await stage.phase("Ready")
    assert within.status.identity == first.status.identity
    assert within.status.secret_id == first.status.secret_id

    stage.store.edit(billing=make.billing("canceled", endedAt=at(20)))
    await until_state(stage, "Ended", "Canceled")
    operator.clock.now = at(50)
    gone = await until_state(stage, "Ended", "RetentionOver")
    assert stage.owned == NOTHING
    assert list(stage.world.inventory()["deletedSecrets"]) == [NAME]
    assert (gone.status.identity, gone.status.endpoint, gone.status.credentials) == (None, None, None)

    operator.clock.now = at(60)
    stage.store.edit(billing=make.billing("active"))
    again = await stage.phase("Ready")
    assert again.status.identity is not None
    assert again.status.identity.principal_id != first.status.identity.principal_id
    assert again.status.secret_id == first.status.secret_id  # recovered
    assert stage.owned == ALL
    assert watching.lines() == [
        "Ready Serving",
        "Ready Canceling",
        "Ended Canceled",
        "Provisioning Starting",
        "Ready Serving",
        "Ended Canceled",
        "Ended RetentionOver",
        "Provisioning Provisioning",
        "Ready Serving",
    ]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["stop", "start"])
async def test_killed_while_it_stops_or_starts_the_app(
    stage: Stage, operator: Operator, watching: Watching, method: str, when: str
) -> None:
    after = when == "after"
    held = stage.world.traffic.hold("POST", f"/{method}$", after_commit=after)
    stage.store.edit(billing=make.billing("unpaid"))
    if method == "start":
        await until_state(stage, "Suspended", "Unpaid")
        stage.store.edit(billing=make.billing("active"))
    await held.reached()
    await operator.kill()
    held.release()
    stage.operator()
    if method == "stop":
        await until_state(stage, "Suspended", "Unpaid")
        assert not app_runs(stage)
        stage.store.edit(billing=make.billing("active"))
    await stage.phase("Ready")
    assert app_runs(stage)
    # The next operator may find the app running already, and then never says that it starts.
    lines = [line for line in watching.lines() if line != "Provisioning Starting"]
    assert lines == ["Ready Serving", "Suspended Unpaid", "Ready Serving"]


@pytest.mark.usefixtures("operator")
async def test_a_larger_plan_is_applied_in_place(stage: Stage, watching: Watching) -> None:
    before = stage.tenant()
    assert before is not None
    stage.store.edit(billing=make.billing("active", lookupKey="plus"))
    await stage.until(lambda t: t and t.status.plan == "plus" and t.status.revision != before.status.revision)
    after = await stage.phase("Ready")
    for fact in ("endpoint", "identity", "secret_id", "credentials", "chat_id"):
        assert getattr(after.status, fact) == getattr(before.status, fact)
    assert after.status.previous_credentials is None
    assert all(status.endpoint == before.status.endpoint for status in watching.seen)
    readiness = [(c.status, c.last_transition_time) for status in watching.seen for c in status.conditions[:1]]
    assert set(readiness) == {("True", make.NOW)}
    assert ("True", "Updating") in [(c.status, c.reason) for status in watching.seen for c in status.conditions]
    assert watching.lines() == ["Ready Serving", "Ready Updating", "Ready Serving"]


@pytest.mark.usefixtures("operator")
async def test_the_right_is_told_although_azure_refuses(stage: Stage) -> None:
    stage.world.traffic.fail_next("GET", "containerApps", 503, "ServiceUnavailable", times=4)
    stage.store.edit(suspended=True)
    told = await stage.until(lambda t: t and (r := t.status.entitlement) and r.state == "Suspended")
    assert conditions(told)["AppReady"] == ("True", "Serving")
    assert "Ready" not in conditions(told)
    await until_state(stage, "Suspended", "SuspendedByOperator")
    assert not app_runs(stage)


async def test_a_tenant_is_stopped_though_its_plan_is_gone(stage: Stage, operator: Operator) -> None:
    del operator.cache.plans[Key("ns", "basic")]
    stage.store.edit(suspended=True)
    await until_state(stage, "Suspended", "SuspendedByOperator")
    assert not app_runs(stage)


@pytest.mark.usefixtures("operator")
async def test_the_chat_of_an_ended_tenant_passes_to_their_next_one(stage: Stage) -> None:
    stage.store.edit(billing=make.billing("canceled", endedAt=at(0)))
    await until_state(stage, "Ended", "Canceled")
    stage.store.put(
        make.tenant(
            "bert", billing=make.billing("active"), telegram=make.telegram(), meta={"creationTimestamp": at(-1)}
        )
    )
    await stage.phase("Ready", "bert")
    ended = await stage.until(lambda t: t and t.status.chat_id is None)
    assert conditions(ended)["Linked"] == ("False", "ChatTaken")
    stage.store.edit(billing=make.billing("active"))  # the old one is paid again as well
    await stage.phase("AwaitingLink")
    served = stage.tenant("bert")
    assert served is not None
    assert served.status.phase == "Ready"
