"""``kubectl nbhd plan``: what counts as due and how it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from nbhd_cli.plan import is_due, key, plan_rows, policy, tenant_rows
from tests.unit.cli.make import condition, plan, tenant

POLICY = "nbhd.united/reconcile-policy"
CHANGES = [
    {"resource": "secret", "action": "Create"},
    {"resource": "containerApp", "action": "Update", "paths": ["properties.template.containers[0].image", "tags"]},
]


def test_due_is_what_is_planned_or_not_up_to_date() -> None:
    assert not is_due(tenant())
    assert not is_due(tenant("a", condition("UpToDate", "True", "UpToDate")))
    assert not is_due(tenant("a", condition("UpToDate", "False", "RollingOut")))
    assert is_due(tenant("a", condition("UpToDate", "False", "WaitingForTurn")))
    assert is_due(tenant("a", status={"planned": CHANGES}))


@pytest.mark.parametrize(
    ("own", "of_plan", "counts"),
    [("", "", "manage"), ("", "plan", "plan"), ("skip", "plan", "skip"), ("manage", "plan", "manage")],
)
def test_a_tenants_own_policy_comes_first(own: str, of_plan: str, counts: str) -> None:
    supply = plan()
    if of_plan:
        supply = supply.model_copy(
            update={"metadata": supply.metadata.model_copy(update={"annotations": {POLICY: of_plan}})}
        )
    annotations: dict[str, Any] = {"annotations": {POLICY: own}} if own else {}
    assert policy(tenant(metadata=annotations), {key(supply): supply}) == counts


def test_one_line_for_each_thing_in_azure() -> None:
    one = tenant("ada", condition("UpToDate", "False", "Planned"), status={"planned": CHANGES})
    header, *lines = tenant_rows([one], {}, namespaces=False).splitlines()
    assert header.split() == ["TENANT", "PLAN", "POLICY", "REASON", "ACTION", "RESOURCE", "PATHS"]
    assert [line.split()[3:] for line in lines] == [
        ["Planned", "Create", "secret", "-"],
        ["Planned", "Update", "containerApp", "properties.template.containers[0].image,tags"],
    ]


def test_a_tenant_that_waits_for_its_turn_needs_no_changes_to_be_shown() -> None:
    line = tenant_rows([tenant("ada", condition("UpToDate", "False", "WaitingForTurn"))], {}, namespaces=True)
    assert line.splitlines()[1].split() == ["tenants", "ada", "basic", "manage", "WaitingForTurn", *["<none>"] * 3]


def test_the_rollout_of_a_plan() -> None:
    stopped = condition("Stalled", "True", "RolloutStopped")
    some = plan("basic", stopped, tenants=9, updated=4, updating=5, waiting=0)
    header, line, fresh = plan_rows([some, plan("plus")], namespaces=False).splitlines()
    assert header.split() == ["PLAN", "POLICY", "TENANTS", "UPDATED", "UPDATING", "WAITING", "REASON"]
    assert line.split() == ["basic", "manage", "9", "4", "5", "0", "RolloutStopped"]
    assert fresh.split() == ["plus", "manage", "-", "-", "-", "-", "<none>"]
