"""The right to service: every row of the table, and the order of precedence."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from tests.unit.operator import make
from tests.unit.operator.make import NOW, at

from nbhd_crds.api import Entitlement
from nbhd_operator.entitlement import entitlement

ACTIVE = {"state": "Active", "reason": "Paid"}
HOLD = [{"id": "dp_1", "reason": "Dispute", "since": NOW}]


@pytest.mark.parametrize(
    ("billing", "state", "reason", "until"),
    [
        ({"status": "active"}, "Active", "Paid", None),
        ({"status": "active", "cancelAt": at(3)}, "Active", "Paid", None),
        ({"status": "trialing"}, "Active", "Trial", None),
        ({"status": "past_due", "graceSince": at(-6)}, "Grace", "PastDue", at(1)),
        ({"status": "past_due", "graceSince": at(-7)}, "Suspended", "PastDue", None),
        ({"status": "past_due", "currentPeriodEnd": at(-1)}, "Grace", "PastDue", at(6)),
        ({"status": "past_due"}, "Grace", "PastDue", None),
        ({"status": "unpaid"}, "Suspended", "Unpaid", None),
        ({"status": "paused"}, "Suspended", "Paused", None),
        ({"status": "canceled", "endedAt": at(-1)}, "Ended", "Canceled", at(29)),
        ({"status": "canceled"}, "Ended", "Canceled", None),
        ({"status": "incomplete_expired"}, "Ended", "CheckoutExpired", None),
        ({"status": "incomplete"}, "Pending", "PaymentIncomplete", None),
        ({"status": "none"}, "Pending", "AwaitingPayment", None),
        ({"status": "invented_tomorrow"}, "Pending", "AwaitingPayment", None),
    ],
)
def test_each_status_of_a_subscription_gives_its_right(
    billing: dict[str, Any], state: str, reason: str, until: datetime.datetime | None
) -> None:
    found = entitlement(make.tenant(billing=make.billing(**billing)), make.plan().spec, NOW)
    assert found == Entitlement.model_validate({"state": state, "reason": reason, "until": until})


@pytest.mark.parametrize("status", ["incomplete", "none", "invented_tomorrow"])
def test_what_we_do_not_understand_changes_nothing_for_who_is_served(status: str) -> None:
    tenant = make.tenant(billing=make.billing(status), status={"entitlement": ACTIVE})
    assert entitlement(tenant, make.plan().spec, NOW) == Entitlement.model_validate(ACTIVE)


def test_nobody_paid_yet() -> None:
    assert entitlement(make.tenant(), None, NOW) == Entitlement(state="Pending", reason="AwaitingPayment")


@pytest.mark.parametrize(
    ("spec", "state", "reason"),
    [
        ({"holds": HOLD, "suspended": True, "complimentary": True}, "Suspended", "Dispute"),
        ({"suspended": True, "complimentary": True}, "Suspended", "SuspendedByOperator"),
        ({"complimentary": True}, "Active", "Complimentary"),
    ],
)
def test_precedence_is_holds_then_suspended_then_complimentary_then_billing(
    spec: dict[str, Any], state: str, reason: str
) -> None:
    tenant = make.tenant(billing=make.billing("canceled", endedAt=at(-90)), **spec)
    assert entitlement(tenant, make.plan().spec, NOW) == Entitlement.model_validate({"state": state, "reason": reason})


def test_the_right_ends_exactly_at_until() -> None:
    tenant = make.tenant(billing=make.billing("past_due", graceSince=at(-6)))
    plan = make.plan().spec
    until = entitlement(tenant, plan, NOW).until
    assert until is not None
    assert entitlement(tenant, plan, until - datetime.timedelta(seconds=1)).state == "Grace"
    assert entitlement(tenant, plan, until).state == "Suspended"
