"""Stripe's subscriptions to ``spec.billing``: a table, and the property that order does not matter."""

from __future__ import annotations

import datetime
import itertools
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nbhd_crds.api.tenant import Billing
from nbhd_webhooks.billing import billing

START, END, LATER = 1_790_000_000, 1_792_592_000, 1_795_000_000
KEYS = {"price_1": "basic", "price_2": "plus"}


def at(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def subscription(status: str = "active", **changes: Any) -> dict[str, Any]:
    item = {
        "id": "si_1",
        "current_period_start": START,
        "current_period_end": END,
        "price": {"id": "price_1", "lookup_key": "nbhd-basic"},
    }
    return {
        "id": "sub_1",
        "object": "subscription",
        "status": status,
        "created": START,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "ended_at": None,
        "items": {"object": "list", "data": [item]},
    } | changes


ACTIVE = Billing(
    customer_id="cus_1",
    status="active",
    subscription_id="sub_1",
    lookup_key="nbhd-basic",
    price_id="price_1",
    current_period_end=at(END),
)


@pytest.mark.parametrize(
    ("subscriptions", "expected"),
    [
        pytest.param([], Billing(customer_id="cus_1", status="none"), id="none"),
        pytest.param([subscription()], ACTIVE, id="active"),
        pytest.param([subscription("trialing")], ACTIVE.model_copy(update={"status": "trialing"}), id="trialing"),
        pytest.param(
            [subscription("past_due")],
            ACTIVE.model_copy(update={"status": "past_due", "grace_since": at(START)}),
            id="past due: grace counts from the start of the period that was not paid",
        ),
        pytest.param(
            [subscription("unpaid")], ACTIVE.model_copy(update={"status": "unpaid"}), id="unpaid has no grace"
        ),
        pytest.param(
            [subscription(cancel_at_period_end=True)],
            ACTIVE.model_copy(update={"cancel_at": at(END)}),
            id="ends with the period",
        ),
        pytest.param(
            [subscription(cancel_at=LATER, cancel_at_period_end=True)],
            ACTIVE.model_copy(update={"cancel_at": at(LATER)}),
            id="ends at a set time",
        ),
        pytest.param(
            [subscription("canceled", cancel_at=END, ended_at=END)],
            ACTIVE.model_copy(update={"status": "canceled", "ended_at": at(END)}),
            id="ended: the planned end is history",
        ),
        pytest.param(
            [subscription("hibernating")], ACTIVE.model_copy(update={"status": "hibernating"}), id="unknown, verbatim"
        ),
        pytest.param(
            [subscription(pause_collection={"behavior": "void"})], ACTIVE, id="paused collection leaves it active"
        ),
        pytest.param(
            [subscription(pending_update={"subscription_items": [{"price": "price_2"}]})],
            ACTIVE,
            id="an upgrade that is not paid does not count",
        ),
    ],
)
def test_one_subscription(subscriptions: list[dict[str, Any]], expected: Billing) -> None:
    assert billing("cus_1", subscriptions, KEYS) == expected


RANKING = ["active", "trialing", "past_due", "brand_new", "paused", "unpaid", "incomplete", "canceled"]
RANKING.append("incomplete_expired")


@pytest.mark.parametrize(("better", "worse"), [*itertools.pairwise(RANKING)])
def test_the_best_status_counts(better: str, worse: str) -> None:
    both = [subscription(worse, id="sub_new", created=LATER), subscription(better, id="sub_old")]
    assert billing("cus_1", both, {}).subscription_id == "sub_old"


def test_among_equals_the_newest_counts() -> None:
    both = [subscription(id="sub_old"), subscription(id="sub_new", created=LATER)]
    assert billing("cus_1", both, {}).subscription_id == "sub_new"


def test_among_ended_the_last_end_counts() -> None:
    both = [
        subscription("canceled", id="sub_long", ended_at=LATER),
        subscription("canceled", id="sub_short", created=START + 60, ended_at=START + 120),
    ]
    assert billing("cus_1", both, {}).ended_at == at(LATER)


def test_a_late_end_of_an_old_subscription_does_not_end_a_new_one() -> None:
    both = [subscription("canceled", id="sub_old", ended_at=LATER), subscription(id="sub_new")]
    assert billing("cus_1", both, {}).status == "active"


def test_the_shape_of_old_api_versions() -> None:
    old = {
        "id": "sub_1",
        "status": "past_due",
        "current_period_start": START,
        "current_period_end": END,
        "plan": {"id": "price_2"},
    }
    expected = Billing(
        customer_id="cus_1",
        status="past_due",
        subscription_id="sub_1",
        lookup_key="plus",
        price_id="price_2",
        current_period_end=at(END),
        grace_since=at(START),
    )
    assert billing("cus_1", [old], KEYS) == expected


def test_a_price_without_a_lookup_key_is_named_by_the_settings() -> None:
    item = {"price": {"id": "price_2", "lookup_key": None}, "current_period_end": END}
    found = billing("cus_1", [subscription(items={"data": [item]})], KEYS)
    assert (found.price_id, found.lookup_key) == ("price_2", "plus")
    unknown = {"price": {"id": "price_9", "lookup_key": None}}
    found = billing("cus_1", [subscription(items={"data": [unknown]})], KEYS)
    assert (found.price_id, found.lookup_key) == ("price_9", None)


def test_several_items() -> None:
    extra = {"price": {"id": "price_extra"}, "current_period_start": START + 5, "current_period_end": END - 5}
    named = subscription()["items"]["data"][0]
    found = billing("cus_1", [subscription("past_due", items={"data": [extra, named]})], {})
    assert (found.price_id, found.lookup_key) == ("price_1", "nbhd-basic")
    assert (found.current_period_end, found.grace_since) == (at(END - 5), at(START + 5))


BEFORE, MONTH = START - 2_592_000, 2_592_000


def invoice(status: str, start: int, **changes: Any) -> dict[str, Any]:
    """An invoice for the period that begins at ``start``, with a proration of the period before."""
    lines = [{"period": {"start": start, "end": start + MONTH}}, {"period": {"start": start - 9000, "end": start}}]
    return {
        "id": f"in_{start}",
        "status": status,
        "created": start + 60,
        "period_start": start - MONTH,
        "lines": {"data": lines},
        "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}},
    } | changes


@pytest.mark.parametrize(
    ("invoices", "since"),
    [
        pytest.param([], START, id="no invoices: the period that runs"),
        pytest.param([invoice("open", START)], START, id="one unpaid period"),
        pytest.param(
            [invoice("open", START), invoice("open", BEFORE), invoice("paid", BEFORE - MONTH)],
            BEFORE,
            id="the second unpaid period does not restart grace",
        ),
        pytest.param(
            [invoice("open", START), invoice("uncollectible", BEFORE), invoice("paid", 0)], BEFORE, id="written off"
        ),
        pytest.param(
            [invoice("open", START), invoice("paid", BEFORE), invoice("open", BEFORE - MONTH)],
            START,
            id="an old debt before a paid period is another story",
        ),
        pytest.param(
            [invoice("draft", START + 5), invoice("open", START), invoice("void", BEFORE)], START, id="draft, void"
        ),
        pytest.param(
            [invoice("open", START), invoice("paid", START, parent=None), invoice("open", BEFORE)],
            BEFORE,
            id="of another subscription",
        ),
        pytest.param(
            [invoice("open", BEFORE, parent=None, subscription="sub_1")], BEFORE, id="the shape of old API versions"
        ),
        pytest.param(
            [invoice("open", BEFORE, parent=None, subscription={"id": "sub_1"})], BEFORE, id="the same, expanded"
        ),
        pytest.param([invoice("open", BEFORE, lines={"data": [{}]})], BEFORE + 60, id="lines that say nothing"),
    ],
)
def test_grace_counts_from_the_first_unpaid_period(invoices: list[dict[str, Any]], since: int) -> None:
    found = billing("cus_1", [subscription("past_due")], KEYS, invoices)
    assert found.grace_since == at(since)
    assert billing("cus_1", [subscription("active")], KEYS, invoices).grace_since is None


@pytest.mark.parametrize("status", ["canceled", "incomplete_expired"])
@pytest.mark.parametrize(
    ("facts", "ended"),
    [
        ({"ended_at": LATER, "canceled_at": START}, LATER),
        ({"canceled_at": START}, END),
        ({"cancel_at": LATER}, LATER),
        ({"items": None, "canceled_at": LATER}, LATER),
        ({"items": None}, START),
    ],
)
def test_an_end_always_has_a_date_never_too_early(status: str, facts: dict[str, Any], ended: int) -> None:
    found = billing("cus_1", [subscription(status, **facts)], KEYS)
    assert found.ended_at == at(ended)
    assert found.cancel_at is None


times = st.none() | st.integers(START, LATER)
prices = st.sampled_from(["price_1", "price_2", "price_9"])
subscriptions_of_a_customer = st.lists(
    st.builds(
        lambda i, status, created, ended, cancel, price: subscription(
            status,
            id=f"sub_{i}",
            created=created,
            ended_at=ended,
            cancel_at=cancel,
            items={"data": [{"price": {"id": price}, "current_period_start": START, "current_period_end": END}]},
        ),
        st.integers(0, 10**6),
        st.sampled_from(RANKING),
        times,
        times,
        times,
        prices,
    ),
    max_size=6,
    unique_by=lambda s: s["id"],
)


@given(subscriptions_of_a_customer, st.randoms(use_true_random=False))
def test_any_order_gives_the_same(subscriptions: list[dict[str, Any]], chance: random.Random) -> None:
    shuffled = subscriptions[:]
    chance.shuffle(shuffled)
    assert billing("cus_1", shuffled, KEYS) == billing("cus_1", subscriptions, KEYS)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ["id", "status", "items", "plan", "created", "cancel_at", "cancel_at_period_end", "ended_at"]


INVOICE_FIELDS = ["status", "lines", "parent", "subscription", "created"]


@example({"cancel_at": -30610224001}, [])  # the year 999
@given(
    st.dictionaries(st.sampled_from(FIELDS), junk),
    st.lists(st.dictionaries(st.sampled_from(INVOICE_FIELDS), junk), max_size=3),
)
def test_no_shape_breaks_it_and_the_result_survives_the_wire(
    strange: dict[str, Any], invoices: list[dict[str, Any]]
) -> None:
    billing("cus_1", [strange | {"status": "past_due"}], KEYS, invoices)
    found = billing("cus_1", [strange], KEYS, invoices)
    assert Billing.model_validate(found.wire()) == found
