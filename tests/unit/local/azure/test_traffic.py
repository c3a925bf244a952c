from __future__ import annotations

import asyncio
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError


async def test_faults_hit_before_or_after_the_change(azure: Any) -> None:
    world = azure.world
    world.traffic.fail_next(
        "PUT", "/userAssignedIdentities/nbhd-a", 429, "TooManyRequests", headers={"Retry-After": "7"}
    )
    with pytest.raises(HttpResponseError) as refused:
        await azure.identity("nbhd-a")
    assert refused.value.error is not None
    assert (refused.value.status_code, refused.value.error.code) == (429, "TooManyRequests")
    response: Any = refused.value.response
    assert response.headers["Retry-After"] == "7"
    assert "nbhd-a" not in world.inventory()["identities"]
    world.traffic.fail_next("PUT", "/useraSSignedidentities/nbhd-a", 500, "InternalServerError", after_commit=True)
    with pytest.raises(HttpResponseError):
        await azure.identity("nbhd-a")
    assert "nbhd-a" in world.inventory()["identities"]
    await azure.identity("nbhd-a")


async def test_a_connection_can_break_before_or_after_the_change(azure: Any) -> None:
    world = azure.world
    for name, after_commit in (("nbhd-a", False), ("nbhd-b", True)):
        world.traffic.reset_next("PUT", f"/{name}$", after_commit=after_commit)
        with pytest.raises((ServiceRequestError, ServiceResponseError)):
            await azure.identity(name)
        assert (name in world.inventory()["identities"]) is after_commit


async def test_a_held_request_waits_and_can_be_dropped(azure: Any) -> None:
    world = azure.world
    second = world.traffic.hold("PUT", "/userAssignedIdentities/", nth=2)
    await azure.identity("nbhd-a")
    waiting = asyncio.create_task(azure.identity("nbhd-b"))
    await second.reached()
    assert "nbhd-b" not in world.inventory()["identities"]
    second.release()
    assert (await waiting).name == "nbhd-b"
    committed = world.traffic.hold("PUT", "/nbhd-c$", after_commit=True)
    dropped = world.traffic.hold("PUT", "/nbhd-d$")
    waiting_c, waiting_d = asyncio.create_task(azure.identity("nbhd-c")), asyncio.create_task(azure.identity("nbhd-d"))
    await asyncio.gather(committed.reached(), dropped.reached())
    assert "nbhd-c" in world.inventory()["identities"]
    dropped.drop()
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        await waiting_d
    assert "nbhd-d" not in world.inventory()["identities"]
    committed.release()
    await waiting_c


async def test_one_request_meets_one_rule_and_those_that_count_count_it(azure: Any) -> None:
    traffic = azure.world.traffic
    rules = [traffic.fail_next("PUT", "/nbhd-a$", status, "Failed") for status in (500, 503)]
    third = traffic.hold("PUT", "/nbhd-a$", nth=3)
    for number, status in enumerate((500, 503), start=1):
        with pytest.raises(HttpResponseError) as refused:
            await azure.identity("nbhd-a")
        assert refused.value.status_code == status
        assert [rule.spent for rule in rules] == [number >= 1, number >= 2]
    waiting = asyncio.create_task(azure.identity("nbhd-a"))
    await third.reached()
    third.release()
    assert (await waiting).name == "nbhd-a"


async def test_only_changes_count_as_writes(azure: Any) -> None:
    world = azure.world
    await azure.tenant("nbhd-abc")  # identity, secret (after a challenge), role assignment
    assert world.writes == 3
    await azure.secrets.get_secret("nbhd-abc")
    assert world.writes == 3
    assert {request.service for request in world.requests} == {"entra", "arm", "vault"}


@pytest.mark.parametrize("body", [b"<html>", b'{"id": "/subscr', b"{}"])
async def test_an_answer_can_be_garbled(azure: Any, body: bytes) -> None:
    world = azure.world
    rule = world.traffic.garble_next("PUT", "/userAssignedIdentities/nbhd-a", body)
    path = f"/subscriptions/{world.subscription_id}/resourceGroups/{world.resource_group}/providers"
    url = f"{world.arm_url}{path}/Microsoft.ManagedIdentity/userAssignedIdentities/nbhd-a?api-version=2024-11-30"
    headers = {"Authorization": f"Bearer {await azure.token()}"}
    assert not rule.spent
    async with azure.session.put(url, headers=headers, json={"location": world.location}) as answer:
        assert (answer.status, await answer.read()) == (200, body)
    assert rule.spent
    assert "nbhd-a" in world.inventory()["identities"]
