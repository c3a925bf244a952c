"""What ``provision`` and ``deprovision`` decide before they do anything, and what they say in the end."""

from __future__ import annotations

from typing import Any

import pytest

from nbhd_cli.new import manifest
from nbhd_cli.provision import differs, is_paid, tell
from tests.unit.cli.make import condition, tenant


@pytest.mark.parametrize(
    ("wanted", "spec", "field"),
    [
        ({}, {}, ""),
        ({}, {"complimentary": True, "planRef": {"name": "plus"}}, ""),
        ({"plan": "basic"}, {"planRef": {"name": "basic"}}, ""),
        ({"plan": "basic"}, {"planRef": {"name": "plus"}}, "planRef"),
        ({"plan": "basic"}, {}, "planRef"),
        ({"complimentary": True}, {}, "complimentary"),
        ({"cell": "east"}, {"cellRef": {"name": "west"}}, "cellRef"),
    ],
)
def test_a_tenant_that_exists_must_be_what_is_wanted(wanted: dict[str, Any], spec: dict[str, Any], field: str) -> None:
    assert differs(tenant(spec=spec), manifest("ada", **wanted)) == field


@pytest.mark.parametrize(
    ("status", "allowed", "paid"),
    [
        ("active", "", True),
        ("past_due", "", True),
        ("active", "true", False),
        ("active", "yes", True),
        ("canceled", "", False),
    ],
)
def test_who_pays_is_not_deleted(status: str, allowed: str, paid: bool) -> None:
    annotations = {"annotations": {"nbhd.united/allow-delete": allowed}} if allowed else {}
    assert is_paid(tenant(spec={"billing": {"customerId": "cus_1", "status": status}}, metadata=annotations)) is paid


def test_who_never_paid_may_be_deleted() -> None:
    assert not is_paid(tenant())


@pytest.mark.parametrize(
    ("conditions", "phase", "status", "hint"),
    [
        ([], "AwaitingLink", 0, "Next: kubectl nbhd link ada -n tenants"),
        ([], "Pending", 0, "It waits for a payment."),
        ([], "Ready", 0, ""),
        (
            [condition("Stalled", "True", "NoCell", "Create a Cell.")],
            "Stalled",
            1,
            "NoCell: Create a Cell. Try: kubectl",
        ),
    ],
)
def test_what_comes_next(
    conditions: list[dict[str, Any]], phase: str, status: int, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tell(tenant("ada", *conditions, phase=phase)) == status
    out, err = capsys.readouterr()
    assert out == f"tenant.nbhd.united/ada is {phase}\n"
    assert err.startswith(hint)
