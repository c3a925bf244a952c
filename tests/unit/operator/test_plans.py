"""Which Plan a Tenant has."""

from __future__ import annotations

from typing import Any

import pytest

from nbhd_operator.plans import Unresolved, plan_of
from tests.unit.operator import make

BASIC, PLUS = make.plan("basic"), make.plan("plus")


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({"billing": make.billing("active")}, "basic"),
        ({"billing": make.billing("active"), "planRef": {"name": "plus"}}, "plus"),
        ({"complimentary": True, "planRef": {"name": "plus"}}, "plus"),
        ({"billing": make.billing("incomplete", lookupKey=None)}, None),
        ({}, None),
    ],
)
def test_plan_ref_goes_before_what_was_bought(spec: dict[str, Any], name: str | None) -> None:
    found = plan_of(make.tenant(**spec), [BASIC, PLUS])
    assert (found.metadata.name if found else None) == name


def test_a_complimentary_tenant_gets_the_only_plan() -> None:
    assert plan_of(make.tenant(complimentary=True), [BASIC]) is BASIC


@pytest.mark.parametrize(
    ("spec", "plans", "reason", "advice"),
    [
        ({"planRef": {"name": "gold"}}, [BASIC], "PlanNotFound", "gold"),
        ({"billing": make.billing("active", lookupKey="gold")}, [BASIC], "PlanNotFound", "lookup key gold"),
        ({"billing": make.billing("active", lookupKey=None)}, [BASIC], "PlanNotFound", "lookup key"),
        ({"billing": make.billing("active")}, [BASIC, make.plan("b2", lookupKeys=["basic"])], "PlanAmbiguous", "b2"),
        ({"complimentary": True}, [], "PlanNotFound", "Create a Plan"),
        ({"complimentary": True}, [BASIC, PLUS], "PlanAmbiguous", "basic, plus"),
    ],
)
def test_where_no_plan_can_be_told_the_message_says_what_to_do(
    spec: dict[str, Any], plans: list[Any], reason: str, advice: str
) -> None:
    with pytest.raises(Unresolved, match=advice) as found:
        plan_of(make.tenant(**spec), plans)
    assert found.value.reason == reason
