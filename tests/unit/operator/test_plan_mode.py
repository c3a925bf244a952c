"""The reconcile policies: what would change is said, and nothing changes; what is skipped is not even looked at."""

from __future__ import annotations

from typing import Any

import pytest

from nbhd_crds.api.meta import FINALIZER, PROBE_ANNOTATION, RECONCILE_POLICY_ANNOTATION
from nbhd_operator.cache import Key
from nbhd_operator.errors import Disabled
from nbhd_operator.resources.base import Body, Place
from nbhd_operator.rollout import canonical
from tests.unit.operator import make
from tests.unit.operator.conftest import Stage
from tests.unit.operator.memory import KINDS, Small, changed_image, said
from tests.unit.operator.test_controller import SERVED

NAME = "nbhd-anna00000000"
ALL = {kind: {NAME} for kind in KINDS}
NOTHING: dict[str, set[str]] = {kind: set() for kind in KINDS}


@pytest.fixture
async def small() -> Small:
    """One tenant, served."""
    small = Small()
    small.add("anna", 42)
    await small.settle()
    assert small.tenant("anna").status.phase == "Ready"
    return small


def planned(small: Small) -> list[tuple[str, str]]:
    return [(change.resource, change.action) for change in small.tenant("anna").status.planned]


async def unmoved(small: Small, before: object) -> None:
    """Nothing changed in Azure, and one more look costs nothing at all."""
    await small.settle()
    assert small.azure.state() == before
    assert await small.look_at_all() == (0, 0, 0)


async def test_a_tenant_under_plan_shows_what_would_change(small: Small) -> None:
    small.annotate("anna", "plan")
    before = small.azure.state()
    await unmoved(small, before)
    assert planned(small) == []
    assert said(small.tenant("anna"), "UpToDate") == ("True", "Applied")
    small.change_plan(image=changed_image("1"), cpu="2", memory="4Gi")
    await unmoved(small, before)
    (change,) = small.tenant("anna").status.planned
    assert (change.resource, change.action) == ("containerApp", "Update")
    assert change.paths == (
        "properties.template.containers.openclaw.image",
        "properties.template.containers.openclaw.resources.cpu",
        "properties.template.containers.openclaw.resources.memory",
    )
    anna = small.tenant("anna")
    assert said(anna, "UpToDate") == ("False", "Planned")
    assert said(anna, "Ready") == ("True", "Serving")
    assert said(anna, "Reconciling") == ("False", "Planned")
    assert said(anna, "Stalled") == ("False", "NotStalled")
    assert anna.status.observed_generation == anna.metadata.generation
    assert ("anna", "Planned") in [(name, change.reason) for name, change in small.recorded]


async def test_leave_given_what_was_planned_is_done(small: Small) -> None:
    small.annotate("anna", "plan")
    small.change_plan(image=changed_image("1"))
    await small.settle()
    small.annotate("anna", None)
    await small.settle()
    assert small.azure.apps[NAME]["properties"]["template"]["containers"][0]["image"] == changed_image("1")
    assert planned(small) == []
    assert said(small.tenant("anna"), "UpToDate") == ("True", "Applied")


async def test_a_whole_plan_is_held_back_and_one_tenant_is_let_go_on(small: Small) -> None:
    small.add("bert", 43)
    await small.settle()
    small.change_plan(policy="plan", image=changed_image("1"))
    await small.settle()
    assert [said(small.tenant(name), "UpToDate")[1] for name in ("anna", "bert")] == ["Planned", "Planned"]
    found = small.plan().status
    assert (found.tenants, found.updated, found.waiting) == (2, 0, 2)
    assert [(c.type, c.status, c.reason) for c in found.conditions] == [
        ("Reconciling", "False", "Planned"),
        ("Stalled", "False", "NotStalled"),
    ]
    small.annotate("bert", "manage")
    await small.settle()
    assert [said(small.tenant(name), "UpToDate")[1] for name in ("anna", "bert")] == ["Planned", "Applied"]


async def test_a_new_tenant_under_plan_is_only_planned() -> None:
    small = Small()
    small.change_plan(policy="plan")
    small.add("anna", 42)
    await unmoved(small, small.azure.state())
    assert small.azure.writes == []
    anna = small.tenant("anna")
    assert planned(small) == [(kind, "Create") for kind in ("identity", "secret", "roleAssignment", "containerApp")]
    assert anna.metadata.finalizers == ()
    assert anna.status.cell is None
    assert (anna.status.phase, said(anna, "Stalled")) == ("Stalled", ("True", "Planned"))  # paid, and not served
    small.change_plan()
    await small.settle()
    assert small.tenant("anna").status.phase == "Ready"


async def test_drift_is_reported_and_stays(small: Small) -> None:
    small.annotate("anna", "plan")
    await small.settle()
    scale = small.azure.apps[NAME]["properties"]["template"]["scale"]
    scale["maxReplicas"] = 7
    before = small.azure.state()
    small.controller.suspect(next(iter(small.cache.tenants)))
    await unmoved(small, before)
    anna = small.tenant("anna")
    assert said(anna, "UpToDate") == ("False", "Drifted")
    assert anna.status.planned[0].paths == ("properties.template.scale.maxReplicas",)
    told = [change for _, change in small.recorded if change.reason == "Drifted"]
    assert len(told) == 1
    assert "maxReplicas" in told[0].note
    small.controller.suspect(next(iter(small.cache.tenants)))
    writes = small.store.writes
    await unmoved(small, before)
    assert small.store.writes == writes
    assert [change for _, change in small.recorded if change.reason == "Drifted"] == told
    assert small.metrics.drifts._value.get() == 1


async def test_a_disabled_secret_is_reported(small: Small) -> None:
    async def get_secret(place: Place, name: str) -> Body:  # noqa: ARG001
        raise Disabled("SecretDisabled", "")

    small.azure.get_secret = get_secret  # type: ignore[method-assign]
    small.annotate("anna", "plan")
    await unmoved(small, small.azure.state())
    assert planned(small) == [("secret", "Update"), ("containerApp", "Update")]


async def test_who_is_down_and_may_not_be_mended_waits_for_a_person(small: Small) -> None:
    small.annotate("anna", "plan")
    await small.settle()
    del small.azure.apps[NAME]
    small.controller.suspect(next(iter(small.cache.tenants)))
    await unmoved(small, small.azure.state())
    anna = small.tenant("anna")
    assert planned(small) == [("containerApp", "Create")]
    assert (anna.status.phase, said(anna, "Stalled")) == ("Stalled", ("True", "Drifted"))
    assert said(anna, "Ready") == ("False", "Drifted")


@pytest.mark.parametrize(
    ("spec", "changes"),
    [
        ({"suspended": True}, [("containerApp", "Stop")]),
        ({"credentials": {"version": 2}}, [("secret", "Update"), ("containerApp", "Update")]),
        ({"preferences": {"timeZone": "Europe/Berlin"}}, [("containerApp", "Update")]),
    ],
)
async def test_a_tenants_own_change_is_planned(
    small: Small, spec: dict[str, Any], changes: list[tuple[str, str]]
) -> None:
    small.annotate("anna", "plan")
    before = small.azure.state()
    small.store.edit(**spec)
    await unmoved(small, before)
    assert planned(small) == changes
    held = small.tenant("anna").status.credentials
    assert held is not None
    assert held.version == 1  # what the container really has


async def test_a_stopped_app_would_be_started_and_changed(small: Small) -> None:
    small.store.edit(suspended=True)
    await small.settle()
    small.annotate("anna", "plan")
    small.store.edit(suspended=False, preferences={"timeZone": "Europe/Berlin"})
    await unmoved(small, small.azure.state())
    assert planned(small) == [("containerApp", "Start"), ("containerApp", "Update")]


@pytest.mark.parametrize("policy", ["plan", "skip"])
async def test_deletion_waits_and_says_so(small: Small, policy: str) -> None:
    small.annotate("anna", policy)
    small.store.delete()
    await small.settle()
    assert small.azure.names() == ALL
    anna = small.tenant("anna")
    assert anna.metadata.finalizers == (FINALIZER,)
    moving = anna.condition("Reconciling")
    assert moving is not None
    assert moving.status == "True"
    assert moving.message.startswith("Deletion waits")
    if policy == "plan":
        kinds = ("containerApp", "roleAssignment", "secret", "identity")
        assert planned(small) == [(kind, "Remove") for kind in kinds]
    small.annotate("anna", None)
    await small.settle()
    assert small.azure.names() == NOTHING
    assert not small.store.tenants


async def test_what_has_nothing_in_azure_may_go_under_plan(small: Small) -> None:
    small.annotate("anna", "plan")
    small.azure.apps.clear()
    small.azure.identities.clear()
    small.azure.secrets.clear()
    small.azure.roles.clear()
    small.store.delete()
    await small.settle()
    assert not small.store.tenants


async def test_detached_it_goes_and_azure_keeps_everything(small: Small) -> None:
    small.annotate("anna", "detach-on-delete")
    await small.settle()
    before, reads = small.azure.state(), small.azure.reads
    small.store.delete()
    await small.settle()
    assert not small.store.tenants
    assert small.azure.state() == before
    assert small.azure.reads == reads
    small.add("anna", 42)  # adopted again
    await small.settle()
    assert small.tenant("anna").status.phase == "Ready"
    assert small.azure.state() == before


async def test_a_skipped_tenant_is_not_looked_at(small: Small) -> None:
    small.annotate("anna", "skip")
    await small.settle()
    reads = small.azure.reads
    small.store.edit(suspended=True)
    small.controller.suspect(next(iter(small.cache.tenants)))
    await small.settle()
    assert small.azure.reads == reads
    anna = small.tenant("anna")
    assert said(anna, "UpToDate") == ("Unknown", "Skipped")
    assert anna.status.entitlement is not None
    assert anna.status.entitlement.state == "Suspended"  # others act on the right, whatever Azure has
    assert anna.status.observed_generation == anna.metadata.generation
    assert await small.look_at_all() == (0, 0, 0)


async def test_an_unknown_policy_acts_as_plan_and_says_so(small: Small) -> None:
    small.annotate("anna", "Manage")
    before = small.azure.state()
    small.store.edit(suspended=True)
    await unmoved(small, before)
    current = small.tenant("anna").condition("UpToDate")
    assert current is not None
    assert "'Manage'" in current.message
    assert "detach-on-delete" in current.message


async def test_a_policy_set_in_the_middle_of_a_look_stops_it(small: Small) -> None:
    async def get_app(place: Any, name: str) -> Any:
        if not small.tenant("anna").metadata.annotations:
            small.annotate("anna", "plan")  # after the look began, before the change
        return await type(small.azure).get_app(small.azure, place, name)

    small.azure.get_app = get_app  # type: ignore[method-assign]
    before = small.azure.state()
    small.store.edit(preferences={"timeZone": "Europe/Berlin"})
    await small.settle()
    assert small.azure.state() == before


async def test_who_is_asked_to_answer_is_asked_once(small: Small) -> None:
    asked: list[str] = []
    silent = [True, True, False]

    async def answers(endpoint: str) -> bool:
        asked.append(endpoint)
        return not silent.pop(0)

    small.azure.answers = answers  # type: ignore[method-assign]
    writes = len(small.azure.writes)
    old = small.tenant("anna")
    annotations = {PROBE_ANNOTATION: "2026-11-25T12:00:00Z"}
    small.store.put(old.model_copy(update={"metadata": old.metadata.model_copy(update={"annotations": annotations})}))
    await small.looks(1)
    waits = small.tenant("anna")
    assert waits.status.probed is None
    assert waits.status.phase == "Ready"  # it serves on, as far as Azure knows
    await small.settle()
    assert len(asked) == 3
    assert small.tenant("anna").status.probed == "2026-11-25T12:00:00Z"
    assert len(small.azure.writes) == writes
    assert await small.look_at_all() == (0, 0, 0)
    small.restart()
    await small.settle()
    assert len(asked) == 3


async def test_what_azure_really_answers_is_no_difference(stage: Stage) -> None:
    """The same on the real SDKs, with a status that was lost: what is there is recognised for what it was made from."""
    stage.store.put(make.tenant(**SERVED))
    first = stage.operator()
    await stage.phase("Ready")
    await first.kill()
    stage.store.put(
        make.tenant(**SERVED, meta={"annotations": {RECONCILE_POLICY_ANNOTATION: "plan"}})
    )  # status is lost
    writes = stage.world.writes
    planning = stage.operator()
    found = await stage.phase("Ready")
    assert said(found, "UpToDate") == ("True", "Applied")
    assert found.status.runtime == canonical(make.plan().spec)
    await planning.kill()

    stage.store.put(make.tenant(**SERVED))
    later = stage.operator()
    key = Key("ns", "basic")
    later.cache.plans[key] = make.plan(cpu="2", memory="4Gi", cooldown="2m", model="openai/gpt-5")
    adopted = await stage.until(lambda t: t and said(t, "UpToDate") == ("False", "WaitingForTurn"))
    assert adopted.status.runtime == found.status.runtime
    assert adopted.status.planned[0].paths == (
        "properties.template.containers.openclaw.env.OPENCLAW_CONFIG_JSON.value",
        "properties.template.containers.openclaw.resources.cpu",
        "properties.template.containers.openclaw.resources.memory",
        "properties.template.scale.cooldownPeriod",
    )
    assert stage.world.writes == writes

    later.cache.turns[key] = frozenset({Key("ns", "anna")})
    later.queue.add(Key("ns", "anna"))
    changed = await stage.until(lambda t: t and said(t, "UpToDate") == ("True", "Applied"))
    assert changed.status.runtime == canonical(later.cache.plans[key].spec)
    assert stage.world.writes == writes + 1
