"""What somebody changes in Azure behind our back is found by listing and put back; a list that fails proves nothing."""

from __future__ import annotations

import pytest

from nbhd_operator.cache import Key
from nbhd_operator.drift import DriftScan
from nbhd_operator.errors import Fault
from nbhd_operator.events import Change, drifted
from nbhd_operator.resources.base import Place
from nbhd_operator.resources.container_app import body
from nbhd_operator.situation import assess
from tests.unit.operator import make
from tests.unit.operator.conftest import Operator, Stage
from tests.unit.operator.test_controller import NAME, SERVED


def scan(stage: Stage, operator: Operator, found: list[Key]) -> DriftScan:
    """A scan that also notes whom it suspects."""

    def suspect(key: Key) -> None:
        found.append(key)
        operator.controller.suspect(key)

    async def relist() -> None:
        """The cache is complete here."""

    return DriftScan(
        cache=operator.cache,
        azure=stage.azure,
        assess=lambda tenant: assess(tenant, operator.cache, stage.settings.platform, make.RINGS, make.NOW),
        suspect=suspect,
        relist=relist,
        interval=600,
        metrics=operator.metrics,
    )


@pytest.fixture
async def operator(stage: Stage) -> Operator:
    """An operator with one served tenant."""
    stage.store.put(make.tenant(**SERVED))
    operator = stage.operator()
    await stage.phase("Ready")
    return operator


def place(stage: Stage, operator: Operator) -> Place:
    """The cell of these tests."""
    return Place.of(next(iter(operator.cache.cells.values())), stage.settings.platform)


def told(operator: Operator) -> list[Change]:
    """The repairs that people were told of."""
    return [change for _, change in operator.recorded if change.reason == "Drifted"]


async def test_what_is_as_it_was_left_is_left_alone(stage: Stage, operator: Operator) -> None:
    found: list[Key] = []
    writes = stage.world.writes
    await scan(stage, operator, found).scan()
    assert found == []
    assert stage.world.writes == writes


async def test_a_changed_app_is_put_back(stage: Stage, operator: Operator) -> None:
    where = place(stage, operator)
    tenant = operator.cache.tenants[Key("ns", "anna")]
    task = assess(tenant, operator.cache, stage.settings.platform, make.RINGS, make.NOW).task
    assert task is not None
    assert tenant.status.identity is not None
    assert tenant.status.secret_id is not None
    app = body(task, identity_id=tenant.status.identity.resource_id, secret_url=tenant.status.secret_id)
    app["properties"]["template"]["scale"]["maxReplicas"] = 7
    await stage.azure.put_app(where, NAME, app)
    await stage.until(lambda _: stage.world.inventory()["apps"][NAME]["provisioningState"] == "Succeeded")
    found: list[Key] = []
    await scan(stage, operator, found).scan()
    assert found == [Key("ns", "anna")]
    await stage.until(lambda t: t and (c := t.condition("Reconciling")) and c.status == "True")
    await stage.phase("Ready")
    again = await stage.azure.get_app(where, NAME)
    assert again["properties"]["template"]["scale"]["maxReplicas"] == 1
    assert told(operator) == [drifted(("properties.template.scale.maxReplicas",))]


async def test_a_deleted_app_is_made_again(stage: Stage, operator: Operator) -> None:
    await stage.azure.delete_app(place(stage, operator), NAME)
    await stage.until(lambda _: not stage.owned["apps"])
    await scan(stage, operator, []).scan()
    await stage.until(lambda _: stage.owned["apps"])
    await stage.phase("Ready")
    assert told(operator) == [drifted(())]


async def test_a_list_that_fails_proves_nothing(stage: Stage, operator: Operator) -> None:
    stage.world.traffic.fail_next("GET", "containerApps$", 500, "InternalServerError")
    found: list[Key] = []
    with pytest.raises(Fault):
        await scan(stage, operator, found).scan()
    assert found == []
