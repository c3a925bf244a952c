"""Azure is stuck, refuses, says what cannot be read, or somebody else was at it: what status tells and how it ends."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import pytest

from nbhd_crds.api import Tenant
from nbhd_operator.cache import Key
from nbhd_operator.resources import container_app
from tests.unit.operator import make
from tests.unit.operator.conftest import Stage
from tests.unit.operator.test_controller import ALL, NAME, NOTHING, SERVED

NOW = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)
KEY = Key("ns", "anna")


def says(kind: str, reason: str) -> Callable[[Tenant | None], object]:
    """Whether a condition of the Tenant is True for this reason."""

    def holds(tenant: Tenant | None) -> bool:
        found = tenant.condition(kind) if tenant else None
        return bool(found and (found.status, found.reason) == ("True", reason))

    return holds


async def test_an_app_that_azure_never_finishes_is_said_and_left_alone(stage: Stage) -> None:
    stuck = stage.world.stick(NAME)
    stage.store.put(make.tenant(**SERVED))
    operator = stage.operator()
    await stuck.reached()
    operator.clock.now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=61)
    await stage.until(says("Reconciling", "AzureStuck"))
    writes = stage.world.writes
    await operator.controller.look(KEY)
    assert stage.world.writes == writes
    stuck.release()
    await stage.phase("Ready")


@pytest.mark.parametrize(
    ("state", "modified", "expected"),
    [
        ("InProgress", "2026-11-25T10:59:00.1234560Z", True),
        ("Deleting", "2026-11-25T10:59:00Z", True),
        ("InProgress", "2026-11-25T11:01:00Z", False),
        ("Succeeded", "2026-11-25T10:00:00Z", False),
        ("InProgress", "2026-11-25T10:00:00", False),
        ("InProgress", "long ago", False),
        ("InProgress", None, False),
    ],
)
def test_stuck_counts_from_what_azure_recorded(state: str, modified: str | None, expected: bool) -> None:
    found = {"systemData": {"lastModifiedAt": modified}, "properties": {"provisioningState": state}}
    assert container_app.stuck(found, NOW) is expected


async def test_a_right_that_is_not_granted_for_minutes_needs_a_person(stage: Stage) -> None:
    stage.world.traffic.fail_next("PUT", "Identities", 403, "AuthorizationFailed", times=12)
    stage.store.put(make.tenant(**SERVED))
    stage.operator()
    stalled = await stage.until(says("Stalled", "AuthorizationFailed"))
    told = stalled.condition("Stalled")
    assert told
    assert told.message.startswith("Give the operator's identity the roles")
    await stage.phase("Ready")


async def test_a_secret_that_was_disabled_gets_a_new_version(stage: Stage) -> None:
    stage.store.put(make.tenant(**SERVED))
    operator = stage.operator()
    before = await stage.phase("Ready")
    store = stage.world.vault.store
    store.update(NAME, "", {"attributes": {"enabled": False}})
    operator.controller.suspect(KEY)
    await stage.until(lambda t: t and t.status.secret_id != before.status.secret_id)
    await stage.phase("Ready")
    assert store.get(NAME)[1].enabled


UNREADABLE = [b"<html>busy</html>", b'{"id": "/subscr', b"{}", b"[]", b"null", b""]


@pytest.mark.parametrize("body", UNREADABLE)
async def test_an_answer_that_cannot_be_read_is_neither_absence_nor_success(stage: Stage, body: bytes) -> None:
    """Every request of making and removing is answered so once."""
    kinds = ("userAssignedIdentities/", "^/secrets/", "roleAssignments", "containerApps/")
    for path in kinds:
        for method in ("GET", "PUT"):
            stage.world.traffic.garble_next(method, path, body)
    stage.store.put(make.tenant(**SERVED))
    stage.operator()
    await stage.phase("Ready")
    assert stage.owned == ALL
    for path in kinds:
        for method in ("GET", "DELETE"):
            stage.world.traffic.garble_next(method, path, body)
    stage.store.delete()
    await stage.until(lambda t: t is None)
    assert stage.owned == NOTHING
    assert list(stage.world.inventory()["deletedSecrets"]) == [NAME]
