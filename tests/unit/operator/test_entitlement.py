"""The right to service: every row of the table, and the order of precedence."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbhd_crds.api import Entitlement
from nbhd_operator.entitlement import entitlement
from tests.unit.operator import make
from tests.unit.operator.make import NOW, at

ACTIVE = {"state": "Active", "reason": "Paid"}
HOLD = [{"id": "dp_1", "reason": "Dispute", "since": NOW}]


@pytest.mark.parametrize(
    ("billing", "state", "reason", "until"),
    [
        ({"status": "active"}, "Active", "Paid", None),
        ({"status": "active", "cancelAt": at(3)}, "Active", "Canceling", at(3)),
        ({"status": "active", "cancelAt": at(0)}, "Ended", "Canceled", None),  # Stripe has not said so: data stays
        ({"status": "trialing", "cancelAt": at(3)}, "Active", "Canceling", at(3)),
        ({"status": "trialing"}, "Active", "Trial", None),
        ({"status": "past_due", "graceSince": at(-6)}, "Grace", "PastDue", at(1)),
        ({"status": "past_due", "graceSince": at(-7)}, "Suspended", "PastDue", None),
        ({"status": "past_due", "currentPeriodEnd": at(20)}, "Grace", "PastDue", at(7)),  # that one is not paid
        ({"status": "past_due"}, "Grace", "PastDue", at(7)),
        ({"status": "past_due", "graceSince": at(-6), "cancelAt": at(0.5)}, "Grace", "PastDue", at(0.5)),
        ({"status": "past_due", "graceSince": at(-8), "cancelAt": at(2)}, "Suspended", "PastDue", at(2)),
        ({"status": "unpaid"}, "Suspended", "Unpaid", None),
        ({"status": "paused"}, "Suspended", "Paused", None),
        ({"status": "canceled", "endedAt": at(-1)}, "Ended", "Canceled", at(29)),
        ({"status": "canceled", "endedAt": at(-30)}, "Ended", "RetentionOver", None),
        ({"status": "canceled", "currentPeriodEnd": at(2)}, "Ended", "Canceled", at(32)),
        ({"status": "canceled"}, "Ended", "Canceled", at(30)),
        ({"status": "incomplete_expired"}, "Ended", "CheckoutExpired", at(30)),
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


@pytest.mark.parametrize(
    ("status", "states"),
    [
        ("past_due", [("Grace", "PastDue")] * 7 + [("Suspended", "PastDue")] * 5),
        ("canceled", [("Ended", "Canceled")] * 30 + [("Ended", "RetentionOver")] * 5),
    ],
)
def test_where_stripe_gave_no_date_the_first_sight_counts_and_status_remembers_it(
    status: str, states: list[tuple[str, str]]
) -> None:
    before: Entitlement | None = Entitlement.model_validate(ACTIVE)
    for day, expected in enumerate(states):
        known = {"entitlement": before.wire()} if before else {}
        before = entitlement(make.tenant(billing=make.billing(status), status=known), make.plan().spec, at(day))
        assert (before.state, before.reason) == expected


_DATES = st.none() | st.integers(-2000, 2000).map(lambda hours: at(hours / 24))


@given(
    status=st.sampled_from([*("active", "trialing", "past_due", "unpaid", "canceled", "none"), "incomplete_expired"]),
    dates=st.fixed_dictionaries(dict.fromkeys(("graceSince", "currentPeriodEnd", "cancelAt", "endedAt"), _DATES)),
    before=st.none() | st.tuples(st.sampled_from(["Active", "Grace", "Suspended", "Ended"]), _DATES),
)
def test_until_is_never_over_and_nothing_changes_before_it(
    status: str, dates: dict[str, Any], before: tuple[str, datetime.datetime | None] | None
) -> None:
    known = {"entitlement": {"state": before[0], "reason": "Before", "until": before[1]}} if before else {}
    billing = make.billing(status, **{name: date for name, date in dates.items() if date})
    first = entitlement(make.tenant(billing=billing, status=known), make.plan().spec, NOW)
    assert first.until is None or first.until > NOW
    told = make.tenant(billing=billing, status={"entitlement": first.wire()})
    just_before = first.until - datetime.timedelta(seconds=1) if first.until else at(100_000)
    assert entitlement(told, make.plan().spec, just_before) == first
    if first.until:
        assert entitlement(told, make.plan().spec, first.until) != first
