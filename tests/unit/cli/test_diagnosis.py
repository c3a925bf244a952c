"""What ``kubectl nbhd check`` calls wrong, and what it leaves alone."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from nbhd_cli import check
from nbhd_cli.diagnosis import Finding, of_cell, of_plan, of_tenant
from nbhd_crds.api import Tenant
from tests.unit.cli.make import NOW, ago, cell, condition, plan, raw_tenant, tenant


def at(**length: float) -> datetime.datetime:
    return NOW - datetime.timedelta(**length)


def found(one: Tenant, changed: datetime.datetime | None = None) -> Finding:
    finding = of_tenant(one, changed, NOW)
    assert finding is not None
    return finding


STALLED = condition("Stalled", "True", "NoCell", "Create a Cell in this namespace.")
MOVING = condition("Reconciling", "True", "Provisioning", "Being made.")
SLOW = condition("Reconciling", "True", "RoleSpreading", "Azure is spreading it.", since=ago(minutes=45))
READY = condition("Ready", "True", "Claimed")
TAKEN = condition("Linked", "False", "ChatTaken", "The chat belongs to tenants/bob.")


@pytest.mark.parametrize(
    "fine",
    [
        tenant(),
        tenant("a", condition("Stalled", "False", "NotStalled"), condition("Reconciling", "False", "Serving")),
        tenant("a", condition("Linked", "False", "AwaitingLink"), phase="AwaitingLink"),
        tenant("a", condition("BillingCurrent", "False", "PastDue"), phase="Suspended"),
        tenant("a", MOVING, phase="Provisioning"),
        tenant("a", condition("UpToDate", "False", "Planned")),
        tenant("a", condition("UpToDate", "False", "WaitingForTurn")),
        tenant("a", MOVING, metadata={"deletionTimestamp": ago(minutes=3)}),
        tenant("a", condition("UpToDate", "Unknown", "Skipped")),
        tenant("a", condition("UpToDate", "False", "RollingOut")),
    ],
    ids=lambda one: one.status.phase,
)
def test_what_goes_its_way_is_not_wrong(fine: Tenant) -> None:
    assert of_tenant(fine, at(days=1), NOW) is None


def test_what_waits_for_a_person_says_what_to_do() -> None:
    finding = found(tenant("ada", STALLED))
    assert (finding.title, finding.reason, finding.message) == (
        "tenant/ada",
        "NoCell",
        "Create a Cell in this namespace.",
    )
    assert finding.advice == "kubectl get cells -n tenants"
    assert finding.since == at(minutes=5)


def test_an_unknown_reason_leads_to_describe() -> None:
    finding = found(tenant("ada", condition("Stalled", "True", "AuthorizationFailed")))
    assert finding.advice == "kubectl describe tenant ada -n tenants"


@pytest.mark.parametrize(
    ("one", "reason", "advice"),
    [
        (tenant("ada", TAKEN), "ChatTaken", "kubectl nbhd link ada -n tenants"),
        (tenant("ada", condition("UpToDate", "False", "Drifted")), "Drifted", "kubectl nbhd plan ada -n tenants"),
        (tenant("ada", SLOW), "RoleSpreading", "kubectl describe tenant ada -n tenants"),
        (tenant("ada", TAKEN, STALLED), "NoCell", "kubectl get cells -n tenants"),
    ],
    ids=["chat", "drift", "slow", "the worst first"],
)
def test_what_else_is_wrong(one: Tenant, reason: str, advice: str) -> None:
    finding = found(one)
    assert (finding.reason, finding.advice) == (reason, advice)


def test_a_deletion_that_takes_long() -> None:
    finding = found(tenant("ada", MOVING, metadata={"deletionTimestamp": ago(hours=1)}))
    assert (finding.reason, finding.since) == ("DeletionSlow", at(hours=1))
    assert "Being made." in finding.message


def test_a_change_that_the_operator_does_not_see() -> None:
    changed = tenant("ada", metadata={"generation": 2})
    assert of_tenant(changed, at(seconds=30), NOW) is None
    assert of_tenant(changed, None, NOW) is None
    finding = found(changed, at(minutes=3))
    assert (finding.reason, finding.since) == ("NotObserved", at(minutes=3))
    assert "operator" in finding.advice


def test_when_a_tenant_was_changed_does_not_count_its_status() -> None:
    entries: list[dict[str, Any]] = [
        {"manager": "kubectl", "time": "2026-03-01T10:00:00Z"},
        {"manager": "nbhd-billing", "time": "2026-03-01T11:00:00Z"},
        {"manager": "nbhd-operator", "time": "2026-03-01T11:59:00Z", "subresource": "status"},
    ]
    assert check.changed(raw_tenant(metadata={"managedFields": entries})) == at(hours=1)
    assert check.changed(raw_tenant()) is None


def test_a_rollout_that_stopped() -> None:
    (finding,) = of_plan(plan("basic", condition("Stalled", "True", "RolloutStopped", "ada does not come up.")))
    assert (finding.title, finding.reason) == ("plan/basic", "RolloutStopped")
    assert finding.advice == "kubectl nbhd plan plan/basic -n tenants"


@pytest.mark.parametrize(
    ("conditions", "reasons"),
    [
        ([], []),
        ([READY, condition("Schedulable", "True", "Room")], []),
        ([READY, condition("Schedulable", "False", "CoresExhausted")], ["CoresExhausted"]),
        ([condition("Ready", "False", "Claiming"), condition("Schedulable", "False", "Claiming")], []),
        ([condition("Reconciling", "True", "Http503")], []),
        ([condition("Reconciling", "True", "Http503", since=ago(hours=1))], ["Http503"]),
        ([condition("Stalled", "True", "CellClaimed"), condition("Ready", "False", "CellClaimed")], ["CellClaimed"]),
    ],
)
def test_a_cell(conditions: list[dict[str, Any]], reasons: list[str]) -> None:
    assert [finding.reason for finding in of_cell(cell("east", *conditions, orphanCount=0), NOW)] == reasons


def test_a_cell_that_a_person_closed_is_not_full() -> None:
    closed = cell("east", READY, condition("Schedulable", "False", "Unschedulable"))
    closed = closed.model_copy(update={"spec": closed.spec.model_copy(update={"unschedulable": True})})
    assert of_cell(closed, NOW) == []


def test_orphans_cost_money() -> None:
    (finding,) = of_cell(cell(orphanCount=3), NOW)
    assert (finding.reason, finding.advice) == ("Orphans", "kubectl nbhd orphans east -n tenants")


def test_the_table() -> None:
    text = check.rows([found(tenant("ada", STALLED))], NOW, namespaces=True)
    header, line = text.splitlines()
    assert header.split() == ["NAMESPACE", "OBJECT", "REASON", "SINCE", "MESSAGE"]
    assert line.split()[:4] == ["tenants", "tenant/ada", "NoCell", "5m"]
    assert line.endswith("Create a Cell in this namespace. Try: kubectl get cells -n tenants")
