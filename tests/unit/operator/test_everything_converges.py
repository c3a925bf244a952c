"""Any sequence of changes by people, by others in Azure and by restarts converges, and what is settled costs nothing.

The Azure of these tests notes whatever is written for a tenant whose reconcile policy forbids it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from nbhd_crds.api import Tenant
from nbhd_crds.api.meta import Reference
from nbhd_crds.identity import azure_name
from nbhd_operator.cache import Key
from nbhd_operator.policy import Policy, ruling
from nbhd_operator.reasons import PROVISIONING_FAILED, ROLLING_OUT
from nbhd_operator.rollout import canonical
from tests.unit.operator import make
from tests.unit.operator.memory import BAD_IMAGE, KINDS, Small, changed_image, said

NAMES = ("anna", "bert", "cleo")
POLICIES = (None, None, "manage", "plan", "skip", "detach-on-delete", "nonsense")
Act = Callable[[Small], None]
# Explaining a failure line by line takes longer than a test may.
QUICK = settings(deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink])


def _edit(name: str, spec: dict[str, Any]) -> Act:
    def act(small: Small) -> None:
        if name in _names(small):
            small.store.edit(name, **spec)

    return act


def _add(name: str) -> Act:
    def act(small: Small) -> None:
        if name not in _names(small):
            small.add(name, 40 + NAMES.index(name))

    return act


def _delete(name: str) -> Act:
    def act(small: Small) -> None:
        if name in _names(small) and not small.tenant(name).deleting:
            small.store.delete(name)

    return act


def _annotate(name: str, policy: str | None) -> Act:
    def act(small: Small) -> None:
        if name in _names(small):
            small.annotate(name, policy)

    return act


def _change_plan(name: str, policy: str | None, spec: dict[str, Any]) -> Act:
    return lambda small: small.change_plan(name, policy=policy, **spec)


def _in_azure(name: str, kind: str) -> Act:
    """Somebody else's doing, which a scan finds afterwards."""

    def act(small: Small) -> None:
        azure_id = azure_name(make.tenant(name).spec.id)
        app = small.azure.apps.get(azure_id)
        if kind == "edit" and app:
            app["properties"]["template"]["scale"]["maxReplicas"] = 9
        elif kind == "stop" and app:
            app["properties"]["runningStatus"] = "Stopped"
        elif kind == "app":
            small.azure.apps.pop(azure_id, None)
        elif kind == "identity":
            small.azure.identities.pop(azure_id, None)
        elif kind == "secret" and azure_id in small.azure.secrets:
            small.azure.deleted[azure_id] = small.azure.secrets.pop(azure_id)
        elif kind == "roles":
            small.azure.roles.clear()
        _suspect_all(small)

    return act


def _move_cell(*, unschedulable: bool) -> Act:
    def act(small: Small) -> None:
        for key, cell in small.cache.cells.items():
            spec = cell.spec.model_copy(update={"unschedulable": unschedulable})
            small.cache.cells[key] = cell.model_copy(update={"spec": spec})
        for key in small.cache.tenants:
            small.queue.add(key)

    return act


def _names(small: Small) -> set[str]:
    return {tenant.metadata.name for tenant in small.store.tenants.values()}


def _suspect_all(small: Small) -> None:
    for key in small.cache.tenants:
        small.controller.suspect(key)


names = st.sampled_from(NAMES)
specs = st.sampled_from(
    [
        {"suspended": True},
        {"suspended": False},
        {"complimentary": False},
        {"complimentary": True},
        {"planRef": {"name": "plus"}},
        {"planRef": {"name": "basic"}},
        {"planRef": {"name": "missing"}},
        {"credentials": {"version": 2}},
        {"preferences": {"timeZone": "Europe/Berlin"}},
        {"complimentary": False, "billing": make.billing("active")},
        {"complimentary": False, "billing": make.billing("canceled", endedAt="2026-11-20T00:00:00Z")},
        {"complimentary": False, "billing": make.billing("canceled", endedAt="2026-01-20T00:00:00Z")},
    ]
)
plan_specs = st.sampled_from(
    [
        {},
        {"image": changed_image("1")},
        {"image": changed_image("2"), "cooldown": "2m"},
        {"image": make.IMAGE},
        {"image": BAD_IMAGE},
        {"rollout": {"maxInFlight": 1}},
        {"rollout": {"maxInFlight": 1, "paused": True}},
    ]
)
plan_images = st.sampled_from([{"image": image} for image in (make.IMAGE, changed_image("1"), BAD_IMAGE)])
acts: st.SearchStrategy[Act] = st.one_of(
    st.builds(_edit, names, specs),
    st.builds(_add, names),
    st.builds(_delete, names),
    st.builds(_annotate, names, st.sampled_from(POLICIES)),
    st.builds(_change_plan, st.sampled_from(["basic", "plus"]), st.sampled_from(POLICIES), plan_specs),
    st.builds(_in_azure, names, st.sampled_from(["edit", "stop", "app", "identity", "secret", "roles"])),
    st.builds(_move_cell, unschedulable=st.booleans()),
    st.just(Small.restart),
)


async def happen(history: list[tuple[Act, int]]) -> tuple[Small, set[str]]:
    """The acts, each followed by so many looks at most: the next one comes in the middle of things.

    Also returns the names of those who may have left something in Azure, as a person wanted.
    """
    small, detached = Small(), set[str]()
    for name in NAMES:
        small.add(name, 40 + NAMES.index(name))
    for act, looks in history:
        act(small)
        for key, tenant in small.store.tenants.items():
            if _policy(small, tenant) is Policy.DETACH:
                detached.add(key.name)
        await small.looks(looks)
    await small.settle()
    return small, detached


def _policy(small: Small, tenant: Tenant) -> Policy:
    plan = small.cache.plans.get(Key("ns", tenant.spec.plan_ref.name if tenant.spec.plan_ref else ""))
    return ruling(tenant, plan).policy


async def rests(small: Small) -> None:
    """One more look at whoever is settled neither reads nor writes anything."""
    for key, tenant in list(small.cache.tenants.items()):
        tries = said(tenant, "Stalled")[1] == PROVISIONING_FAILED  # now and then it is tried again
        if tenant.deleting or tries:
            continue
        before = (small.store.writes, len(small.azure.writes), small.azure.reads)
        await small.controller.look(key)
        assert (small.store.writes, len(small.azure.writes), small.azure.reads) == before, tenant.status
        assert tenant.status.observed_generation == tenant.metadata.generation
        assert said(tenant, "Reconciling")[0] == "False"


async def all_is_well(small: Small, detached: set[str]) -> None:
    """Once nothing holds back any more, everybody has what is due, and those who went left nothing."""
    _move_cell(unschedulable=False)(small)
    for plan in ("basic", "plus"):
        small.change_plan(plan, image=make.IMAGE, rollout={})
    for name in _names(small):
        small.annotate(name, None)
        if small.tenant(name).spec.plan_ref == Reference(name="missing"):
            small.store.edit(name, planRef={"name": "basic"})
    _suspect_all(small)
    await small.settle()
    found = small.azure.names()
    for name in NAMES:
        azure_id = azure_name(make.tenant(name).spec.id)
        has = {kind for kind in KINDS if azure_id in found[kind]}
        if name not in _names(small):
            assert not has or name in detached
            continue
        tenant = small.tenant(name)
        assert said(tenant, "UpToDate") == ("True", "Applied"), tenant.status
        assert tenant.status.planned == ()
        if tenant.status.entitlement and tenant.status.entitlement.serves:
            assert tenant.status.phase == "Ready"
            assert has == set(KINDS)
            properties = small.azure.apps[azure_id]["properties"]
            assert properties["template"]["containers"][0]["image"] == make.IMAGE
            assert properties["template"]["scale"]["maxReplicas"] == 1
            assert properties["runningStatus"] == "Running"
        elif "apps" in has:
            assert small.azure.apps[azure_id]["properties"]["runningStatus"] == "Stopped"
    await rests(small)


histories = st.lists(st.tuples(acts, st.integers(0, 12)), max_size=14)


@settings(QUICK, max_examples=60)
@given(histories)
def test_whatever_happens_all_comes_to_rest_and_is_as_wanted(history: list[tuple[Act, int]]) -> None:
    async def run() -> None:
        small, detached = await happen(history)
        await rests(small)
        await all_is_well(small, detached)

    asyncio.run(run())


async def test_from_nothing_to_served_it_takes_a_finalizer_and_two_statuses() -> None:
    small = Small()
    for number in range(10):
        small.add(f"t{number}", 100 + number)
    await small.settle()
    assert small.store.writes == 30
    assert small.plans.writes <= 3


own_changes: st.SearchStrategy[Act] = st.one_of(
    st.builds(_change_plan, st.just("basic"), st.none(), plan_images),
    st.builds(
        _edit, names, st.sampled_from([{"suspended": True}, {"suspended": False}, {"credentials": {"version": 3}}])
    ),
    st.builds(_in_azure, names, st.sampled_from(["edit", "stop", "app"])),
    st.just(Small.restart),
)


@settings(QUICK, max_examples=20)
@given(st.lists(st.tuples(own_changes, st.integers(0, 12)), max_size=14))
def test_never_are_more_containers_replaced_at_a_time_than_the_plan_allows(history: list[tuple[Act, int]]) -> None:
    async def run() -> None:
        small = Small()
        small.change_plan(rollout={"maxInFlight": 1})
        for name in NAMES:
            small.add(name, 40 + NAMES.index(name))
        await small.settle()
        for act, looks in history:
            act(small)
            for _ in range(looks):
                await small.looks(1)
                await small.turns.round()
                assert _replaced(small) <= 1
        await small.settle()
        assert _replaced(small) <= 1

    asyncio.run(run())


def _replaced(small: Small) -> int:
    own = canonical(small.plan().spec)
    tenants = small.store.tenants.values()
    return sum(t.status.runtime == own and said(t, "UpToDate")[1] == ROLLING_OUT for t in tenants)
