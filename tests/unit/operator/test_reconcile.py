"""The decisions, as a table: from what is wanted and what was seen to the next step. No I/O, no mocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nbhd_crds.api import Tenant
from nbhd_operator.reconcile import (
    Apply,
    Finalize,
    Observe,
    Outcome,
    Release,
    Remove,
    Rest,
    Step,
    Together,
    decide,
)
from nbhd_operator.resources import ORDER
from nbhd_operator.resources.base import State
from nbhd_operator.resources.container_app import body
from nbhd_operator.situation import Aim, settled
from tests.unit.operator import make
from tests.unit.operator.make import GROUP_ID, at

IDENTITY_ID = f"{GROUP_ID}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nbhd-anna00000000"
SECRET_URL = "https://vault.vault.azure.net/secrets/nbhd-anna00000000/v1"
FORCE = {"version": 1, "botKey": "k1", "webhookKey": "k1"}
ENTITLED = {"state": "Active", "reason": "Paid"}
PLACED = {"cell": "cell-1", "credentials": FORCE, "entitlement": ENTITLED}
SERVES = {"type": "AppReady", "status": "True", "reason": "Serving", "message": "", "observedGeneration": 1,
          "lastTransitionTime": at(-1)}  # fmt: skip
STOPPED = SERVES | {"status": "False", "reason": "PastDue"}
KINDS = [resource.kind for resource in ORDER]


def served(**more: Any) -> Tenant:
    """A finalized, entitled, linked and placed Tenant."""
    status = PLACED | more.pop("status", {})
    return make.tenant(**make.SERVED, telegram=make.telegram(), status=status, **more)


def states(tenant: Tenant, **app: Any) -> dict[str, State | None]:
    """Everything as it should be; ``app`` changes the app's properties."""
    task = make.situation(tenant).task
    assert task is not None
    assert task.bundle is not None
    found = body(task, identity_id=IDENTITY_ID, secret_url=SECRET_URL)
    properties = {
        **found["properties"],
        "provisioningState": "Succeeded",
        "runningStatus": "Running",
        "latestRevisionName": "rev-1",
        "latestReadyRevisionName": "rev-1",
        **app,
    }
    properties["configuration"] = {**properties["configuration"]}
    properties["configuration"]["ingress"] = {**properties["configuration"]["ingress"], "fqdn": "app.test"}
    role = "/subscriptions/sub/providers/Microsoft.Authorization/roleDefinitions/4633458b-17de-408a-b874-0445c86b69e6"
    return {
        "identity": State(
            {
                "id": IDENTITY_ID,
                "location": "East US 2",
                "tags": task.tags,
                "properties": {"principalId": "p", "clientId": "c"},
            }
        ),
        "secret": State({"id": SECRET_URL, "value": task.bundle.text, "tags": task.tags, "enabled": True}),
        "roleAssignment": State({"name": "r", "properties": {"principalId": "p", "roleDefinitionId": role}}),
        "containerApp": State(
            {**found, "properties": properties}, busy=properties["provisioningState"] in ("InProgress", "Deleting")
        ),
    }


def only(seen: dict[str, State | None], *kinds: str) -> dict[str, State | None]:
    """A part of what could be seen."""
    return {kind: seen[kind] for kind in kinds}


def shown(step: Step) -> str:
    """A step in a word or two."""
    match step:
        case Observe(resources):
            return f"Observe {' '.join(resource.kind for resource in resources)}"
        case Together(steps):
            return " and ".join(shown(one) for one in steps)
        case Apply(resource) | Remove(resource):
            return f"{type(step).__name__} {resource.kind}"
        case Rest(outcome=outcome):
            return f"Rest {outcome.value}"
        case _:
            return type(step).__name__


def test_each_kind_comes_after_what_it_depends_on() -> None:
    for place, resource in enumerate(ORDER):
        assert set(resource.depends_on) <= set(KINDS[:place])


def test_creating_looks_before_each_change_and_does_side_by_side_what_can_be() -> None:
    tenant = served()
    seen: dict[str, State | None] = {}
    whole = states(tenant)

    def step() -> str:
        return shown(decide(make.situation(tenant), seen))

    assert step() == "Observe identity secret containerApp"
    seen |= dict.fromkeys(("identity", "secret", "containerApp"))
    assert step() == "Apply identity and Apply secret"
    seen |= only(whole, "secret")
    assert step() == "Apply identity"
    seen |= only(whole, "identity")
    assert step() == "Observe roleAssignment"
    assert shown(decide(make.situation(tenant), seen | {"secret": None})) == "Observe roleAssignment"
    seen["roleAssignment"] = None
    assert step() == "Apply roleAssignment"
    assert shown(decide(make.situation(tenant), seen | {"secret": None})) == "Apply secret and Apply roleAssignment"
    seen |= only(whole, "roleAssignment")
    assert step() == "Apply containerApp"
    seen |= only(whole, "containerApp")
    assert step() == "Probe"


@pytest.mark.parametrize("told", [{}, {"entitlement": {"state": "Suspended", "reason": "PastDue"}}])
def test_nothing_that_runs_is_woken_before_status_gives_it_the_right(told: dict[str, Any]) -> None:
    placed = make.tenant(
        **make.SERVED, telegram=make.telegram(), status={"cell": "cell-1", "credentials": FORCE} | told
    )
    step = decide(make.situation(placed), states(placed))
    assert isinstance(step, Rest)
    assert step.at_once


def test_removing_walks_it_back_and_is_done_when_absence_was_seen() -> None:
    fields: dict[str, Any] = {**make.SERVED, "meta": {**make.SERVED["meta"], "deletionTimestamp": at(0)}}
    tenant, steps = make.tenant(**fields, telegram=make.telegram(), status=PLACED), []
    seen: dict[str, State | None] = {}
    whole = states(served())
    for kind in reversed(KINDS):
        steps.append(shown(decide(make.situation(tenant), seen)))
        seen[kind] = whole[kind]
        steps.append(shown(decide(make.situation(tenant), seen)))
        seen[kind] = None
    assert steps == [f"{what} {kind}" for kind in reversed(KINDS) for what in ("Observe", "Remove")]
    assert isinstance(decide(make.situation(tenant), seen), Release)


def test_removal_waits_for_what_is_on_its_way_out() -> None:
    fields: dict[str, Any] = {**make.SERVED, "meta": {**make.SERVED["meta"], "deletionTimestamp": at(0)}}
    tenant = make.tenant(**fields, status=PLACED)
    app = states(served(), provisioningState="Deleting")["containerApp"]
    assert shown(decide(make.situation(tenant), {"containerApp": app})) == "Rest progress"


@pytest.mark.parametrize(
    ("meta", "status", "expected"),
    [
        ({"finalizers": []}, {}, "Finalize"),
        ({}, {"cell": None}, "Rest progress"),
    ],
)
def test_nothing_is_made_before_finalizer_and_cell_are_written(
    meta: dict[str, Any], status: dict[str, Any], expected: str
) -> None:
    fields: dict[str, Any] = {**make.SERVED, "meta": {**make.SERVED["meta"], **meta}}
    tenant = make.tenant(**fields, telegram=make.telegram(), status=PLACED | status)
    step = decide(make.situation(tenant), {})
    assert shown(step) == expected
    assert isinstance(step, Finalize) or (isinstance(step, Rest) and step.at_once)


def test_credentials_are_announced_before_the_app_gets_them() -> None:
    tenant = served(status={"credentials": FORCE | {"version": 9}})
    step = decide(make.situation(tenant), only(states(served()), *KINDS[:3]) | {"containerApp": None})
    assert isinstance(step, Rest)
    assert step.at_once


@pytest.mark.parametrize(
    ("app", "status", "answered", "expected"),
    [
        ({"provisioningState": "InProgress"}, {}, None, "Rest progress"),
        ({"provisioningState": "Deleting"}, {}, None, "Rest progress"),
        ({"runningStatus": "Stopped"}, {}, None, "Start"),
        ({"latestReadyRevisionName": "rev-0"}, {}, None, "Rest progress"),
        ({}, {}, None, "Probe"),
        ({}, {"revision": "rev-0"}, None, "Probe"),
        ({}, {}, False, "Rest progress"),
        ({}, {}, True, "Rest settled"),
        ({}, {"revision": "rev-1", "conditions": [SERVES]}, None, "Rest settled"),  # sleepers are not woken
        ({}, {"revision": "rev-1", "conditions": [STOPPED]}, None, "Probe"),  # it was stopped and started again
        ({"provisioningState": "Failed"}, {}, None, "Rest stalled"),
    ],
)
def test_an_app_is_ready_when_its_newest_revision_answered_once(
    app: dict[str, Any], status: dict[str, Any], answered: bool | None, expected: str
) -> None:
    tenant = served(status=status)
    assert shown(decide(make.situation(tenant), states(tenant, **app), answered)) == expected


def test_nothing_is_changed_while_azure_works_on_it() -> None:
    tenant = served()
    seen = states(tenant, provisioningState="InProgress", template={})
    assert shown(decide(make.situation(tenant), seen)) == "Rest progress"


@pytest.mark.parametrize(
    ("app", "told", "said"),
    [
        ({"provisioningState": "InProgress", "latestRevisionName": "rev-2"}, SERVES, None),  # as before
        ({"latestRevisionName": "rev-2"}, SERVES, None),
        ({"provisioningState": "InProgress", "latestReadyRevisionName": ""}, SERVES, "Starting"),  # made again
        ({"provisioningState": "InProgress", "runningStatus": "Stopped"}, STOPPED, "Starting"),
        ({"provisioningState": "InProgress"}, STOPPED, "Starting"),
    ],
)
def test_an_update_does_not_say_that_the_app_is_down(
    app: dict[str, Any], told: dict[str, Any], said: str | None
) -> None:
    tenant = served(status={"revision": "rev-1", "conditions": [told]})
    step = decide(make.situation(tenant), states(tenant, **app))
    assert isinstance(step, Rest)
    assert (step.app.reason if step.app else None) == said


def test_what_fails_again_and_again_stays_stalled_in_between() -> None:
    tenant = served()
    first = decide(make.situation(tenant), states(tenant, provisioningState="Failed"))
    assert isinstance(first, Rest)
    assert first.problem
    told = {"type": "Stalled", "status": "True", "reason": first.problem.reason, "message": first.problem.message}
    tenant = served(status={"conditions": [SERVES | told]})
    assert shown(decide(make.situation(tenant), states(tenant, provisioningState="Failed"))) == "Apply containerApp"
    trying = decide(make.situation(tenant), states(tenant, provisioningState="InProgress"))
    assert isinstance(trying, Rest)
    assert (trying.outcome, trying.problem) == (Outcome.PROGRESS, first.problem)


@pytest.mark.parametrize(
    ("ready", "told", "app"),
    [
        ("rev-1", [SERVES], None),  # as before: it serves on
        ("", [SERVES], "ProvisioningFailed"),
        ("rev-1", [STOPPED], "ProvisioningFailed"),
        ("rev-1", [], "ProvisioningFailed"),
    ],
)
def test_a_revision_that_fails_takes_nothing_from_the_one_before(
    ready: str, told: list[dict[str, Any]], app: str | None
) -> None:
    tenant = served(status={"revision": "rev-1", "conditions": told})
    failed = {"provisioningState": "Failed", "latestRevisionName": "rev-2", "latestReadyRevisionName": ready}
    step = decide(make.situation(tenant), states(tenant, **failed))
    assert isinstance(step, Rest)
    assert step.problem
    assert (step.outcome, step.problem.reason) == (Outcome.STALLED, "ProvisioningFailed")
    assert (step.app.reason if step.app else None) == app


@pytest.mark.parametrize(
    ("left", "reason"), [(None, "ProvisioningFailed"), (1, "ProvisioningFailed"), (0, "CoresExhausted")]
)
def test_what_did_not_start_where_too_little_was_left_lacked_room(left: int | None, reason: str) -> None:
    tenant = served()
    first = decide(replace(make.situation(tenant), cores=left), states(tenant, provisioningState="Failed"))
    assert isinstance(first, Rest)
    assert first.problem
    assert first.app
    assert (first.problem.reason, first.app.reason) == (reason, reason)
    told = {"type": "Stalled", "status": "True", "reason": reason, "message": first.problem.message}
    tenant = served(status={"conditions": [SERVES | told]})
    later = replace(make.situation(tenant), cores=5)
    assert shown(decide(later, states(tenant, provisioningState="Failed"))) == "Apply containerApp"


def test_what_somebody_else_changed_is_put_back_and_named() -> None:
    tenant = served(status={"revision": "rev-1", "conditions": [SERVES]})
    seen = states(tenant)
    app = seen["containerApp"]
    assert app is not None
    template = {**app.body["properties"]["template"], "scale": {"minReplicas": 1, "maxReplicas": 1}}
    step = decide(make.situation(tenant), states(tenant, template=template))
    assert isinstance(step, Apply)
    assert step.paths == ("properties.template.scale.cooldownPeriod", "properties.template.scale.minReplicas")


@pytest.mark.parametrize(
    ("spec", "running", "expected"),
    [
        ({"suspended": True}, True, "Stop"),
        ({"suspended": True}, False, "Rest settled"),
        ({"suspended": True}, None, "Rest settled"),
    ],
)
def test_a_pause_stops_the_app_and_touches_nothing_else(
    spec: dict[str, Any], running: bool | None, expected: str
) -> None:
    tenant = served(**spec)
    app = None if running is None else states(tenant, runningStatus="Running" if running else "Stopped")["containerApp"]
    assert make.situation(tenant).aim is Aim.PAUSE
    assert shown(decide(make.situation(tenant), {})) == "Observe containerApp"
    assert shown(decide(make.situation(tenant), {"containerApp": app})) == expected


def test_before_payment_azure_is_not_even_asked() -> None:
    step = decide(make.situation(make.tenant()), {})
    assert isinstance(step, Rest)
    assert step.outcome is Outcome.SETTLED


def test_a_tenant_without_a_plan_waits_for_a_person() -> None:
    found = make.situation(make.tenant(complimentary=True, planRef={"name": "gold"}))
    step = decide(found, {})
    assert isinstance(step, Rest)
    assert step.problem
    assert (step.outcome, step.problem.reason) == (Outcome.STALLED, "PlanNotFound")
    assert not settled(found)
