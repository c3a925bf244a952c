"""Who may take a Plan's new runtime: the decision as a table, then whole rollouts that come up, stop and recover."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from nbhd_crds.api import Plan, Runtime, Tenant
from nbhd_crds.api.meta import RECONCILE_POLICY_ANNOTATION
from nbhd_operator.cache import Key
from nbhd_operator.metrics import rollout_states, stopped_rollouts
from nbhd_operator.packed import Container
from nbhd_operator.resources.base import Body, Place
from nbhd_operator.rollout import Standing, canonical, report, rollout, short, standing
from tests.unit.operator import make
from tests.unit.operator.make import at
from tests.unit.operator.memory import BAD_IMAGE, Small, changed_image, said

OLD, NEW = changed_image("1"), changed_image("2")
PLAN = make.plan(image=NEW)
SERVED = {"AppReady": ("True", "Serving"), "UpToDate": ("True", "Applied")}
ROLLING = SERVED | {"UpToDate": ("False", "RollingOut")}
DOWN = {"AppReady": ("False", "Starting")}
FAILED = {"AppReady": ("False", "ProvisioningFailed"), "Stalled": ("True", "ProvisioningFailed")}


def runtime(image: str) -> Runtime:
    return canonical(make.plan(image=image).spec)


def one(
    name: str, image: str | None, conditions: dict[str, tuple[str, str]], state: str = "Active", policy: str = ""
) -> Tenant:
    """A Tenant of the plan with a container of that image."""
    listed = [
        {"type": kind, "status": status, "reason": reason, "message": "", "observedGeneration": 1,
         "lastTransitionTime": at(-1)}
        for kind, (status, reason) in ({"Linked": ("True", "ChatLinked")} | conditions).items()
    ]  # fmt: skip
    status: dict[str, Any] = {
        "plan": "basic",
        "entitlement": {"state": state, "reason": "Paid"},
        "conditions": listed,
        "runtime": runtime(image).wire() if image else None,
    }
    return make.tenant(
        name, status=status, meta={"annotations": {RECONCILE_POLICY_ANNOTATION: policy} if policy else {}}
    )


def together(*tenants: Tenant) -> Mapping[Container, Collection[Key]]:
    return make.cache(*tenants).of_plan(Key("ns", "basic"))


def keys(*names: str) -> set[Key]:
    return {Key("ns", name) for name in names}


@pytest.mark.parametrize(
    ("tenant", "expected"),
    [
        (one("a", None, DOWN), None),
        (one("a", NEW, SERVED), Standing.UPDATED),
        (one("a", NEW, ROLLING), Standing.COMING),
        (one("a", NEW, DOWN), Standing.COMING),
        (one("a", NEW, FAILED), Standing.FAILED),
        (one("a", NEW, ROLLING | {"AppReady": ("True", "Serving"), "Stalled": FAILED["Stalled"]}), Standing.FAILED),
        (one("a", NEW, DOWN | {"Reconciling": ("True", "NoAnswer")}), Standing.FAILED),
        (one("a", NEW, DOWN, state="Suspended"), Standing.UPDATED),
        (one("a", NEW, ROLLING, state="Suspended"), Standing.COMING),  # until its pause is complete
        (one("a", OLD, SERVED), Standing.WAITING),
        (one("a", OLD, DOWN), Standing.WAITING),
        (one("a", OLD, FAILED), Standing.WAITING),
        (one("a", OLD, DOWN | {"Stalled": ("True", "CellNotFound")}), Standing.ASIDE),
        (one("a", OLD, SERVED, state="Suspended"), Standing.ASIDE),
        (one("a", OLD, SERVED | {"Linked": ("False", "ChatTaken")}), Standing.ASIDE),
        (one("a", OLD, SERVED, policy="plan"), Standing.ASIDE),
        (one("a", OLD, SERVED, policy="detach-on-delete"), Standing.WAITING),
    ],
)
def test_how_far_it_has_come_with_one_tenant(tenant: Tenant, expected: Standing | None) -> None:
    (container,) = together(tenant)
    assert standing(container, PLAN) is expected


@pytest.mark.parametrize(
    ("tenants", "most", "before", "expected"),
    [
        ([one(n, OLD, SERVED) for n in "edcba"], 2, set(), keys("a", "b")),
        ([one(n, OLD, SERVED) for n in "abcde"], 2, keys("d"), keys("a", "d")),  # a turn once given is kept
        ([one("a", NEW, ROLLING), *(one(n, OLD, SERVED) for n in "bcd")], 2, set(), keys("b")),
        ([one("a", NEW, ROLLING), one("b", NEW, FAILED), one("c", OLD, SERVED)], 2, set(), set()),
        ([one("a", OLD, SERVED), one("b", OLD, DOWN)], 1, set(), keys("b")),  # it may be what mends it
        ([one("a", OLD, DOWN | {"Stalled": ("True", "CellNotFound")}), one("b", OLD, SERVED)], 1, set(), keys("b")),
        ([one("a", None, DOWN), one("b", OLD, SERVED)], 1, set(), keys("b")),
    ],
)
def test_whose_turn_it_is(tenants: list[Tenant], most: int, before: set[Key], expected: set[Key]) -> None:
    assert rollout(make.plan(image=NEW, rollout={"maxInFlight": most}), together(*tenants), before).turns == expected


def test_a_paused_rollout_gives_no_turn() -> None:
    assert not rollout(make.plan(image=NEW, rollout={"paused": True}), together(one("a", OLD, SERVED))).turns


@pytest.mark.parametrize(
    ("tenants", "spec", "expected"),
    [
        ([], {}, ("True", "RolledOut", "False")),
        ([one("a", NEW, SERVED)], {}, ("True", "RolledOut", "False")),
        ([one("a", NEW, DOWN)], {}, ("True", "RolledOut", "False")),  # a new tenant is no rollout
        ([one("a", NEW, ROLLING)], {}, ("False", "RollingOut", "False")),
        ([one("a", OLD, SERVED)], {}, ("False", "RollingOut", "False")),
        ([one("a", OLD, SERVED)], {"rollout": {"paused": True}}, ("", "RolloutPaused", "False")),
        ([one("a", OLD, SERVED, state="Ended")], {}, ("True", "RolledOut", "False")),
        ([one("a", NEW, FAILED), one("b", OLD, SERVED)], {"rollout": {"maxInFlight": 1}},
         ("False", "RolloutStopped", "True")),
        ([one("a", NEW, FAILED | {"UpToDate": ("False", "RollingOut")})], {}, ("False", "RolloutStopped", "True")),
        ([one("a", NEW, FAILED), one("b", OLD, SERVED)], {}, ("False", "RollingOut", "False")),  # there is room
    ],
)  # fmt: skip
def test_what_the_plan_says(tenants: list[Tenant], spec: dict[str, Any], expected: tuple[str, str, str]) -> None:
    plan = make.plan(image=NEW, **spec)
    found = {c.type: c for c in report(plan, rollout(plan, together(*tenants)), make.NOW).conditions}
    ready = found["Ready"].status if "Ready" in found else ""
    assert (ready, found["Reconciling"].reason, found["Stalled"].status) == expected
    assert (found["Reconciling"].status == "True") == (expected[1] == "RollingOut")


def test_the_plan_tells_who_runs_what_and_says_it_once() -> None:
    tenants = together(one("a", NEW, SERVED), one("b", OLD, SERVED), one("c", OLD, SERVED, state="Ended"))
    first = report(PLAN, rollout(PLAN, tenants), make.NOW)
    assert (first.tenants, first.updated, first.updating, first.waiting) == (3, 1, 0, 2)
    assert [(r.image, r.runtime, r.tenants) for r in first.runtimes] == [
        (NEW, short(runtime(NEW)), 1),
        (OLD, short(runtime(OLD)), 2),
    ]
    again = PLAN.model_copy(update={"status": first})
    assert report(again, rollout(again, tenants), at(3)) == first


def test_another_spelling_is_no_change() -> None:
    spelled = Plan.parse({"metadata": {}, "spec": {"image": NEW, "cpu": "1.0", "memory": "2.0Gi", "cooldown": "1m"}})
    assert canonical(spelled.spec) == runtime(NEW)


# -- whole rollouts -------------------------------------------------------------------------------------------------


async def fleet(size: int, most: int = 2) -> Small:
    """So many served tenants."""
    small = Small()
    small.change_plan(rollout={"maxInFlight": most})
    for number in range(size):
        small.add(f"t{number}", 100 + number)
    await small.settle()
    assert [c.reason for c in small.plan().status.conditions] == ["RolledOut", "RolledOut", "NotStalled"]
    return small


def images(small: Small) -> list[str]:
    """The last letter of each tenant's image in Azure, by name."""
    apps = (small.azure.apps[name] for name in sorted(small.azure.apps))
    return [app["properties"]["template"]["containers"][0]["image"][-1] for app in apps]


def in_flight(small: Small, image: str) -> int:
    """Apps that were made from the image and are not up yet."""
    found = 0
    for app in small.azure.apps.values():
        properties = app["properties"]
        up = properties["latestReadyRevisionName"] == properties["latestRevisionName"]
        found += properties["template"]["containers"][0]["image"] == image and not up
    return found


async def test_a_change_reaches_everybody_a_few_at_a_time() -> None:
    small, most = await fleet(7), 0
    put = small.azure.put_app

    async def counting(place: Place, name: str, body: Body) -> Body:
        nonlocal most
        answer = await put(place, name, body)
        most = max(most, in_flight(small, NEW))
        return answer

    small.azure.put_app = counting  # type: ignore[method-assign]
    small.change_plan(image=NEW)
    await small.settle()
    assert images(small) == ["2"] * 7
    assert most == 2
    assert [said(small.tenant(f"t{n}"), "UpToDate") for n in range(7)] == [("True", "Applied")] * 7
    assert await small.look_at_all() == (0, 0, 0)
    reasons = [change.reason for name, change in small.recorded if name == "basic"]
    assert reasons == ["RollingOut", "RolledOut"]


async def test_a_bad_image_stops_at_the_first_ones_and_a_good_one_goes_on() -> None:
    small = await fleet(6)
    small.change_plan(image=BAD_IMAGE)
    await small.settle()
    assert images(small) == ["b", "b", "0", "0", "0", "0"]
    found = small.plan().status
    assert (found.tenants, found.updated, found.updating, found.waiting) == (6, 0, 2, 4)
    assert rollout_states([small.plan()]) == {
        ("basic", "updating"): 2,
        ("basic", "waiting"): 4,
        ("basic", "updated"): 0,
    }
    assert stopped_rollouts([small.plan()]) == {"basic": 1}
    stalled = next(c for c in found.conditions if c.type == "Stalled")
    assert (stalled.status, stalled.reason) == ("True", "RolloutStopped")
    assert "t0, t1" in stalled.message
    first = small.tenant("t0")
    assert (said(first, "Stalled"), first.status.phase) == (("True", "ProvisioningFailed"), "Stalled")
    assert said(first, "AppReady") == ("True", "Serving"), "Azure keeps the container that was there before"
    waits = small.tenant("t5")
    assert (said(waits, "UpToDate"), said(waits, "Ready")) == (("False", "WaitingForTurn"), ("True", "Serving"))
    assert waits.status.planned[0].paths == ("properties.template.containers.openclaw.image",)
    assert small.azure.apps["nbhd-t500000000"]["properties"]["template"]["containers"][0]["image"] == make.IMAGE
    small.restart()
    await small.settle()
    assert images(small) == ["b", "b", "0", "0", "0", "0"]
    small.change_plan(image=NEW)
    await small.settle()
    assert images(small) == ["2"] * 6
    assert [c.reason for c in small.plan().status.conditions] == ["RolledOut", "RolledOut", "NotStalled"]


async def test_set_back_only_those_that_had_it_are_changed_again() -> None:
    small = await fleet(6)
    small.change_plan(image=BAD_IMAGE)
    await small.settle()
    writes = len(small.azure.writes)
    small.change_plan(image=make.IMAGE)
    await small.settle()
    assert images(small) == ["0"] * 6
    assert {name for _, name in small.azure.writes[writes:]} == {"nbhd-t000000000", "nbhd-t100000000"}


async def test_a_pause_holds_and_its_end_goes_on() -> None:
    small = await fleet(3)
    small.change_plan(image=NEW, rollout={"maxInFlight": 2, "paused": True})
    await small.settle()
    assert images(small) == ["0"] * 3
    assert said(small.tenant("t0"), "UpToDate") == ("False", "WaitingForTurn")
    small.change_plan(rollout={"maxInFlight": 2})
    await small.settle()
    assert images(small) == ["2"] * 3


async def test_new_tenants_and_those_of_another_plan_do_not_wait() -> None:
    small = await fleet(2)
    small.change_plan(image=NEW, rollout={"maxInFlight": 1, "paused": True})
    small.add("new", 200)
    small.add("other", 201, plan="plus")
    await small.settle()
    assert images(small) == ["2", "0", "0", "0"]
    small.store.edit("other", planRef={"name": "basic"})
    await small.settle()
    assert images(small) == ["2", "2", "0", "0"]


async def test_a_price_that_moves_to_another_plan_moves_its_tenants_a_few_at_a_time() -> None:
    small = Small()
    for number in range(3):
        billing = make.billing("active", lookupKey="basic")
        small.add(f"t{number}", 100 + number, planRef=None, complimentary=False, billing=billing)
    await small.settle()
    small.change_plan("basic", lookupKeys=["old"])
    small.change_plan("plus", lookupKeys=["basic"], image=NEW, rollout={"paused": True})
    await small.settle()
    assert images(small) == ["0"] * 3
    assert (small.plan("plus").status.waiting, small.plan("basic").status.tenants) == (3, 0)
    small.change_plan("plus", rollout={})
    await small.settle()
    assert images(small) == ["2"] * 3


async def test_who_is_paused_takes_its_turn_when_it_comes_back() -> None:
    small = await fleet(2)
    small.store.edit("t0", suspended=True)
    await small.settle()
    small.change_plan(image=NEW)
    await small.settle()
    assert images(small) == ["0", "2"]
    assert [c.reason for c in small.plan().status.conditions] == ["RolledOut", "RolledOut", "NotStalled"]
    small.store.edit("t0", suspended=False)
    await small.settle()
    assert images(small) == ["2", "2"]


async def test_a_cluster_made_anew_adopts_containers_and_changes_them_a_few_at_a_time() -> None:
    small = await fleet(4)
    for key, tenant in list(small.store.tenants.items()):  # only what is in Git came back
        small.store.tenants[key] = make.tenant(tenant.metadata.name, **tenant.spec.wire())
    small.change_plan(image=NEW, rollout={"maxInFlight": 1, "paused": True})
    small.restart()
    writes = len(small.azure.writes)
    await small.settle()
    assert len(small.azure.writes) == writes
    assert images(small) == ["0"] * 4
    assert small.plan().status.waiting == 4
    assert {small.tenant(f"t{n}").status.phase for n in range(4)} == {"Ready"}
    small.change_plan(rollout={"maxInFlight": 1})
    await small.settle()
    assert images(small) == ["2"] * 4


async def test_counts_and_limits_wake_nobody() -> None:
    small = await fleet(3)
    small.change_plan(lookupKeys=["basic", "more"], rollout={"maxInFlight": 7}, grace="24h")
    reads = small.azure.reads
    await small.settle()
    assert small.azure.reads == reads
