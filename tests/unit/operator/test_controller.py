"""One tenant's life in Azure, with the real SDKs: provisioning, pause, return, removal, and dying in between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nbhd_crds.api import Tenant
from nbhd_crds.api.meta import FINALIZER
from nbhd_operator.cache import Key
from tests.unit.operator import make
from tests.unit.operator.conftest import Stage

NAME = "nbhd-anna00000000"
ALL = {kind: [NAME] for kind in ("apps", "identities", "roles", "secrets")}
NOTHING: dict[str, list[str]] = {kind: [] for kind in ALL}
SERVED: dict[str, Any] = {"complimentary": True, "planRef": {"name": "basic"}, "telegram": make.telegram()}


async def test_paid_then_linked_then_served(stage: Stage) -> None:
    stage.store.put(make.tenant(billing=make.billing("active")))
    stage.operator()
    waiting = await stage.phase("AwaitingLink")
    assert stage.owned == ALL | {"apps": []}
    assert waiting.status.cell == "cell-1"
    assert waiting.status.credentials is not None
    assert waiting.status.endpoint is None
    stage.store.edit(telegram=make.telegram())
    served = await stage.phase("Ready")
    assert stage.owned == ALL
    assert served.status.chat_id == 42
    assert served.status.endpoint
    assert served.status.endpoint.startswith("https://")
    assert {c.type: c.status for c in served.status.conditions} == {
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "BillingCurrent": "True",
        "Linked": "True",
        "SecretsReady": "True",
        "AppReady": "True",
        "UpToDate": "True",
    }


async def test_nothing_is_made_before_payment(stage: Stage) -> None:
    stage.store.put(make.tenant())
    stage.operator()
    pending = await stage.phase("Pending")
    assert pending.metadata.finalizers == ()
    assert stage.world.requests == []


async def test_a_settled_tenant_costs_nothing(stage: Stage) -> None:
    stage.store.put(make.tenant(**SERVED))
    operator = stage.operator()
    await stage.phase("Ready")
    await asyncio.sleep(0)
    writes, requests = stage.store.writes, len(stage.world.requests)
    for _ in range(3):
        await operator.controller.look(next(iter(stage.store.tenants)))
    await operator.kill()
    stage.operator()  # a restart looks at every tenant
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert (stage.store.writes, len(stage.world.requests)) == (writes, requests)


async def test_suspended_keeps_everything_and_stops_the_app(stage: Stage) -> None:
    stage.store.put(make.tenant(**SERVED))
    stage.operator()
    await stage.phase("Ready")
    stage.store.edit(suspended=True)
    await stage.phase("Suspended")
    assert stage.owned == ALL
    stage.store.edit(suspended=False)
    await stage.phase("Ready")


async def test_an_ended_subscription_keeps_its_data_until_retention_is_over(stage: Stage) -> None:
    stage.store.put(make.tenant(billing=make.billing("active"), telegram=make.telegram()))
    operator = stage.operator()
    await stage.phase("Ready")
    stage.store.edit(billing=make.billing("canceled", endedAt="2026-11-20T00:00:00Z"))
    ended = await stage.phase("Ended")
    assert stage.owned == ALL
    assert ended.status.entitlement is not None
    assert ended.status.entitlement.until is not None
    operator.clock.now = ended.status.entitlement.until
    gone = await stage.until(lambda t: t and t.status.identity is None)
    assert stage.owned == NOTHING
    assert (gone.status.phase, gone.status.endpoint, gone.status.credentials) == ("Ended", None, None)


async def test_a_subscriber_who_returns_gets_the_deleted_secret_back(stage: Stage) -> None:
    stage.store.put(make.tenant(**SERVED))
    stage.operator()
    await stage.phase("Ready")
    stage.store.delete()
    await stage.until(lambda t: t is None)
    assert stage.owned == NOTHING
    assert list(stage.world.inventory()["deletedSecrets"]) == [NAME]
    stage.store.put(make.tenant(**SERVED, meta={"uid": "uid-again"}))
    await stage.phase("Ready")
    assert stage.owned == ALL


async def test_deleting_succeeds_when_things_are_gone_already(stage: Stage) -> None:
    tenant = make.tenant(**SERVED, meta={"finalizers": [FINALIZER]}, status={"cell": "cell-1"})
    stage.store.put(tenant)
    stage.store.delete()
    stage.operator()
    await stage.until(lambda t: t is None)
    assert stage.owned == NOTHING


async def test_the_younger_of_two_with_one_id_stalls_and_its_deletion_harms_nobody(stage: Stage) -> None:
    stage.store.put(make.tenant(**SERVED))
    twin = make.tenant("twin", id="anna00000000", complimentary=True, planRef={"name": "basic"},
                       meta={"creationTimestamp": make.at(-1), "finalizers": [FINALIZER]})  # fmt: skip
    stage.store.put(twin)
    stage.operator()
    await stage.phase("Ready")
    stalled = await stage.phase("Stalled", "twin")
    condition = stalled.condition("Stalled")
    assert condition
    assert condition.reason == "IdInUse"
    stage.store.delete("twin")
    await stage.until(lambda t: t is None, "twin")
    assert stage.owned == ALL


async def test_a_chat_that_is_taken_gets_no_second_app(stage: Stage) -> None:
    stage.store.put(make.tenant(**SERVED))
    stage.store.put(make.tenant("bert", **SERVED, meta={"creationTimestamp": make.at(-1)}))
    stage.operator()
    await stage.phase("Ready")
    await stage.phase("AwaitingLink", "bert")
    assert stage.owned["apps"] == [NAME]
    stage.store.delete()
    await stage.until(lambda t: t is None)
    await stage.phase("Ready", "bert")
    assert stage.owned["apps"] == ["nbhd-bert00000000"]


async def test_rotation_announces_credentials_before_the_container_has_them(stage: Stage) -> None:
    stage.store.put(make.tenant(**SERVED))
    stage.operator()
    await stage.phase("Ready")
    held = stage.world.traffic.hold("PUT", "containerApps")
    stage.store.edit(credentials={"version": 2})
    await held.reached()
    status = stage.store.tenants[next(iter(stage.store.tenants))].status
    assert status.credentials is not None
    assert status.previous_credentials is not None
    assert (status.credentials.version, status.previous_credentials.version) == (2, 1)
    held.release()
    rotated = await stage.phase("Ready")
    assert rotated.status.previous_credentials is None
    assert len(stage.world.inventory()["secrets"][NAME]["versions"]) == 2


async def test_a_larger_plan_makes_one_new_revision(stage: Stage) -> None:
    stage.store.put(make.tenant(**SERVED))
    stage.operator()
    before = await stage.phase("Ready")
    stage.store.edit(planRef={"name": "plus"})
    after = await stage.phase("Ready")
    assert after.status.plan == "plus"
    assert after.status.revision != before.status.revision


@pytest.mark.parametrize("path", ["userAssignedIdentities", "secrets/", "roleAssignments", "containerApps"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_at_any_write_the_next_operator_ends_in_the_same_state(stage: Stage, path: str, when: str) -> None:
    stage.store.put(make.tenant(**SERVED))
    first = stage.operator()
    held = stage.world.traffic.hold("PUT", path, after_commit=when == "after")
    await held.reached()
    await first.kill()
    held.release()
    stage.operator()
    await stage.phase("Ready")
    assert stage.owned == ALL


@pytest.mark.parametrize("path", ["userAssignedIdentities", "secrets/", "roleAssignments", "containerApps"])
async def test_killed_at_any_delete_the_next_operator_finishes(stage: Stage, path: str) -> None:
    stage.store.put(make.tenant(**SERVED))
    first = stage.operator()
    await stage.phase("Ready")
    held = stage.world.traffic.hold("DELETE", path, after_commit=True)
    stage.store.delete()
    await held.reached()
    await first.kill()
    held.release()
    stage.operator()
    await stage.until(lambda t: t is None)
    assert stage.owned == NOTHING


async def test_two_operators_at_once_end_in_the_same_state(stage: Stage) -> None:
    stage.store.put(make.tenant(**SERVED))
    stage.operator()
    stage.operator()
    await stage.phase("Ready")
    assert stage.owned == ALL
    stage.store.delete()
    await stage.until(lambda t: t is None)
    assert stage.owned == NOTHING


async def test_trouble_with_one_tenant_does_not_stop_another(stage: Stage) -> None:
    stage.world.traffic.fail_next("PUT", f"userAssignedIdentities/{NAME}", 500, "InternalServerError", times=1000)
    stage.store.put(make.tenant(**SERVED))
    stage.store.put(make.tenant("bert", **(SERVED | {"telegram": make.telegram(43)})))
    stage.operator()
    await stage.phase("Ready", "bert")
    assert stage.owned["identities"] == ["nbhd-bert00000000"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "containerApps", 429, "TooManyRequests"),
        ("PUT", "containerApps", 409, "ContainerAppOperationInProgress"),
        ("PUT", "containerApps", 503, "ServiceUnavailable"),
        ("PUT", "roleAssignments", 400, "PrincipalNotFound"),
        ("PUT", "userAssignedIdentities", 500, "InternalServerError"),
        ("PUT", "secrets/", 429, "Throttled"),
    ],
)
async def test_a_passing_fault_passes(stage: Stage, method: str, path: str, status: int, code: str) -> None:
    stage.world.traffic.fail_next(method, path, status, code)
    stage.store.put(make.tenant(**SERVED))
    stage.operator()
    await stage.phase("Ready")


@pytest.mark.parametrize("path", ["userAssignedIdentities", "secrets/", "roleAssignments", "containerApps"])
async def test_the_api_server_may_be_away_for_a_while(stage: Stage, path: str) -> None:
    stage.store.put(make.tenant(**SERVED))
    operator = stage.operator()
    held = stage.world.traffic.hold("PUT", path)
    await held.reached()
    stage.store.down = True
    held.release()
    await stage.until(lambda _: operator.queue.attempts(Key("ns", "anna")) > 5)
    stage.store.down = False
    await stage.phase("Ready")
    assert stage.owned == ALL


async def test_a_tenant_that_was_made_anew_while_the_api_server_was_away(stage: Stage) -> None:
    stage.store.put(make.tenant(**SERVED))
    operator = stage.operator()
    held = stage.world.traffic.hold("PUT", "containerApps")
    await held.reached()
    stage.store.watchers.clear()  # nobody tells us
    anew = make.tenant(**SERVED, meta={"uid": "uid-anew"})
    stage.store.put(anew)
    held.release()
    await stage.until(lambda _: operator.cache.tenants[Key("ns", "anna")].metadata.uid == "uid-anew")
    await stage.phase("Ready")


@pytest.mark.parametrize("path", ["userAssignedIdentities", "secrets/", "roleAssignments", "containerApps"])
async def test_an_answer_that_got_lost_does_no_harm(stage: Stage, path: str) -> None:
    stage.world.traffic.reset_next("PUT", path, after_commit=True)
    stage.store.put(make.tenant(**SERVED))
    stage.operator()
    await stage.phase("Ready")
    assert stage.owned == ALL


async def test_a_full_subscription_stalls_the_tenant_with_azures_code(stage: Stage) -> None:
    stage.world.traffic.fail_next("PUT", "roleAssignments", 400, "RoleAssignmentLimitExceeded", times=1000)
    stage.store.put(make.tenant(**SERVED))
    stage.operator()
    stalled = await stage.phase("Stalled")
    condition = stalled.condition("Stalled")
    assert condition
    assert condition.reason == "RoleAssignmentLimitExceeded"
    assert "add a Cell" in condition.message


def test_the_tenant_of_these_tests_is_valid() -> None:
    assert isinstance(make.tenant(**SERVED), Tenant)


async def test_two_operators_that_rotate_at_once_agree_on_one_version(stage: Stage) -> None:
    def versions() -> int:
        return len(stage.world.inventory()["secrets"][NAME]["versions"])

    stage.store.put(make.tenant(**SERVED))
    stage.operator()
    stage.operator()
    await stage.phase("Ready")
    before = versions()
    held = stage.world.traffic.hold("PUT", "secrets/")
    stage.store.edit(credentials={"version": 2})
    await held.reached()  # by one of them; the other sets a version of its own and goes on
    await stage.until(lambda _: versions() == before + 1)
    held.release()
    await stage.until(lambda _: versions() == before + 2)
    rotated = await stage.phase("Ready")
    (app,) = stage.world.subscription.apps.values()
    (secret,) = app.body["properties"]["configuration"]["secrets"]
    assert secret["keyVaultUrl"] == rotated.status.secret_id
