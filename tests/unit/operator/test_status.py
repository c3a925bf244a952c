"""The status: conditions that move only when something moved, a phase for people, facts for the other services."""

from __future__ import annotations

from typing import Any

import pytest

from nbhd_crds.api import Tenant, TenantStatus
from nbhd_operator.finding import Finding
from nbhd_operator.reconcile import Outcome, Rest, decide
from nbhd_operator.status import report
from tests.unit.operator import make
from tests.unit.operator.make import at
from tests.unit.operator.test_reconcile import FORCE, PLACED, served, states

GOOD = Finding("True", "Fine", "Fine.")


def reported(tenant: Tenant, rest: Rest, days: float = 0, **app: Any) -> TenantStatus:
    """Status after a look that saw everything."""
    return report(make.situation(tenant, now=at(days)), rest, states(served(), **app), at(days))


def holding(tenant: Tenant, status: TenantStatus) -> Tenant:
    """The Tenant with that status."""
    return tenant.model_copy(update={"status": status})


def settled(tenant: Tenant) -> Rest:
    """What a look at a healthy tenant comes to."""
    step = decide(make.situation(tenant), states(served()), True)
    assert isinstance(step, Rest)
    return step


def test_a_served_tenant_is_ready_and_says_all_that_others_need() -> None:
    status = reported(served(), settled(served()))
    assert status.phase == "Ready"
    assert (status.endpoint, status.chat_id, status.revision) == ("https://app.test", 42, "rev-1")
    assert status.observed_generation == 1
    assert {c.observed_generation for c in status.conditions} == {1}
    assert status.inputs_hash


def test_the_same_look_again_changes_nothing() -> None:
    first = reported(served(), settled(served()))
    again = reported(holding(served(), first), settled(served()), days=5)
    assert again == first


def test_a_transition_time_moves_only_with_the_status() -> None:
    first = reported(served(), settled(served()))
    moving = Rest(Outcome.PROGRESS, secrets=GOOD, app=Finding("False", "Provisioning", "Azure works."))
    later = reported(holding(served(), first), moving, days=1)
    before, after = ({c.type: c.last_transition_time for c in s.conditions} for s in (first, later))
    moved = {kind for kind in before if before[kind] != after[kind]}
    assert moved == {"Ready", "Reconciling", "AppReady", "UpToDate"}
    assert later.inputs_hash is None


@pytest.mark.parametrize(
    ("rest", "ready", "reconciling", "stalled"),
    [
        (Rest(Outcome.SETTLED, secrets=GOOD, app=GOOD), "True", "False", "False"),
        (Rest(Outcome.PROGRESS, secrets=GOOD, app=Finding("False", "X", "")), "False", "True", "False"),
        (Rest(Outcome.STALLED, problem=Finding("True", "CellFull", "")), "False", "False", "True"),
    ],
)
def test_the_three_conditions_that_other_tools_read(rest: Rest, ready: str, reconciling: str, stalled: str) -> None:
    found = {c.type: c.status for c in reported(served(), rest).conditions}
    assert (found["Ready"], found["Reconciling"], found["Stalled"]) == (ready, reconciling, stalled)


@pytest.mark.parametrize(
    "tenant",
    [
        make.tenant(),
        make.tenant(**make.SERVED, status=PLACED),
        served(suspended=True),
        make.tenant(billing=make.billing("canceled", endedAt=at(-1))),
    ],
)
def test_where_no_service_is_due_nothing_is_called_unfinished(tenant: Tenant) -> None:
    status = reported(tenant, Rest(Outcome.SETTLED, secrets=GOOD, app=Finding("False", "X", "")))
    assert "Ready" not in {c.type for c in status.conditions}
    (said,) = (c for c in status.conditions if c.type == "Reconciling")
    assert said.status == "False"
    assert said.reason not in ("Serving", "X")


def test_trouble_that_passes_does_not_say_that_a_served_tenant_is_down() -> None:
    first = reported(served(), settled(served()))
    rest = Rest(Outcome.PROGRESS, trouble=Finding("True", "Http503", "Azure keeps refusing."))
    found = {c.type: (c.status, c.reason) for c in reported(holding(served(), first), rest).conditions}
    assert found["Ready"] == ("True", "Serving")
    assert found["Reconciling"] == ("True", "Http503")


@pytest.mark.parametrize(
    ("tenant", "rest", "phase"),
    [
        (make.tenant(), Rest(Outcome.SETTLED), "Pending"),
        (make.tenant(**make.SERVED, status=PLACED), Rest(Outcome.SETTLED, secrets=GOOD), "AwaitingLink"),
        (served(), Rest(Outcome.PROGRESS, secrets=GOOD), "Provisioning"),
        (served(suspended=True), Rest(Outcome.SETTLED), "Suspended"),
        (make.tenant(billing=make.billing("canceled", endedAt=at(-1))), Rest(Outcome.SETTLED), "Ended"),
        (served(), Rest(Outcome.STALLED, problem=Finding("True", "X", "")), "Stalled"),
        (make.tenant(meta={"deletionTimestamp": at(0), "finalizers": ["nbhd.united/finalizer"]}),
         Rest(Outcome.PROGRESS), "Deleting"),
    ],
)  # fmt: skip
def test_the_phase_is_one_word_for_people(tenant: Tenant, rest: Rest, phase: str) -> None:
    assert reported(tenant, rest).phase == phase


def test_a_served_revisions_credentials_count_until_the_next_one_serves() -> None:
    ready = Finding("True", "SecretsReady", "")
    old, older = FORCE | {"botKey": "k0"}, FORCE | {"botKey": "k00"}
    tenant = served(status={"credentials": old, "revision": "rev-1"})
    announced = reported(tenant, Rest(Outcome.PROGRESS, secrets=ready))
    assert announced.credentials is not None
    assert announced.previous_credentials is not None
    assert (announced.credentials.bot_key, announced.previous_credentials.bot_key) == ("k1", "k0")
    twice = served(status={"credentials": old, "previousCredentials": older, "revision": "rev-1"})
    assert (found := reported(twice, Rest(Outcome.PROGRESS, secrets=ready)).previous_credentials)
    assert found.bot_key == "k00"  # what the serving revision really holds
    done = reported(holding(tenant, announced), Rest(Outcome.SETTLED, secrets=ready, app=GOOD, serving="rev-2"))
    assert done.previous_credentials is None


def test_nothing_is_left_in_status_of_what_is_gone_from_azure() -> None:
    served_status = reported(served(), settled(served()))
    status = reported(holding(served(), served_status), Rest(Outcome.SETTLED, gone=True))
    wire = status.wire()
    assert not wire.keys() & {"endpoint", "chatId", "identity", "secretId", "credentials", "revision"}
    assert status.cell == "cell-1"  # where the deleted secret waits, should they return
