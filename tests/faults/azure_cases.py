"""What may happen in Azure besides a failing call: slow spreading, soft deletion, changes by hand, lists that lie."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from nbhd_local.azure.state import Age
from nbhd_local.traffic import Rule
from nbhd_local.waiting import eventually
from tests.faults.azure_platform import DELAYS, Life, settled, stalled

Case = Callable[[Life], Awaitable[None]]


async def _spreads(life: Life, seconds: float) -> None:
    world = life.platform.world.azure
    held = world.traffic.hold("PUT", f"/secrets/{life.azure_name}/providers/", after_commit=True)
    making = asyncio.create_task(life.pass_through("make"))
    await held.reached(timeout=60)
    (role,) = [r for r in world.subscription.assignments.values() if r.scope.endswith(f"/{life.azure_name}")]
    role.age = Age(older=DELAYS.role_propagation - seconds)
    held.release()
    await making
    await life.end()


async def the_role_takes_five_seconds(life: Life) -> None:
    """The role takes 5 s to spread."""
    await _spreads(life, 5)


async def the_role_takes_a_minute(life: Life) -> None:
    """The role takes 60 s to spread."""
    await _spreads(life, 60)


async def the_principal_is_not_known_yet(life: Life) -> None:
    """The principal is not found at first."""
    world = life.platform.world.azure
    held = world.traffic.hold("PUT", f"/userAssignedIdentities/{life.azure_name}$", after_commit=True)
    making = asyncio.create_task(life.pass_through("make"))
    await held.reached(timeout=60)
    (identity,) = [i for i in world.subscription.identities.values() if i.name == life.azure_name]
    identity.age = Age(older=DELAYS.principal_replication - 3)
    held.release()
    await making
    await life.end()


async def the_secret_is_deleted(life: Life) -> None:
    """The secret is soft-deleted by hand."""
    await life.pass_through("make")
    life.platform.world.azure.vault.store.delete(life.azure_name)
    await life.pass_through("change")
    await life.end()


async def the_secret_is_being_deleted(life: Life) -> None:
    """The secret is still being deleted when the subscriber returns."""
    await life.pass_through("make")
    await life.pass_through("remove")
    life.secret.moved = Age(older=DELAYS.secret_transition - 4)
    await life.pass_through("return")
    await life.end()


async def the_secret_is_disabled(life: Life) -> None:
    """The secret is disabled by hand."""
    await life.pass_through("make")
    life.platform.world.azure.vault.store.update(life.azure_name, "", {"attributes": {"enabled": False}})
    await life.pass_through("change")
    await life.end()


async def the_app_is_deleted(life: Life) -> None:
    """The app is deleted by hand."""
    await life.pass_through("make")
    apps = life.platform.world.azure.subscription.apps
    (place,) = [place for place, app in apps.items() if app.name == life.azure_name]
    del apps[place]
    await eventually(lambda: life.app is not None, "the app again", 60)
    await life.platform.until(life.id, settled("Ready"))
    await life.end()


async def the_app_is_edited(life: Life) -> None:
    """The app is edited by hand."""
    await life.pass_through("make")
    app = life.app
    if app is None:
        raise LookupError(life.azure_name)
    scale = app.body["properties"]["template"]["scale"]
    app.body = {**app.body, "tags": {}}
    scale["maxReplicas"] = 9
    await eventually(lambda: app.body["properties"]["template"]["scale"]["maxReplicas"] == 1, "the scale again", 60)
    await life.platform.until(life.id, settled("Ready"))
    if app.body["tags"]["nbhd-tenant"] != life.id:
        raise AssertionError("the tags are not back")
    await life.end()


async def the_app_is_stopped(life: Life) -> None:
    """The app is stopped by hand."""
    await life.pass_through("make")
    app = life.app
    if app is None:
        raise LookupError(life.azure_name)
    app.stopped = True
    await eventually(lambda: not app.stopped, "the app running", 60)
    await life.platform.until(life.id, settled("Ready"))
    await life.end()


async def the_app_is_stuck(life: Life) -> None:
    """The app is stuck in progress for a while, and nothing is written to it."""
    world = life.platform.world.azure
    await life.pass_through("make")
    stuck = world.stick(life.azure_name)
    changing = asyncio.create_task(life.pass_through("change"))
    await stuck.reached(60)
    before, reads = len(_writes(life)), len(_reads(life))
    await eventually(lambda: len(_reads(life)) >= reads + 3, "looks at the app", 60)
    if len(_writes(life)) != before:
        raise AssertionError("something was written to an app that Azure is working on")
    stuck.release()
    await changing
    await life.end()


async def a_list_is_incomplete(life: Life) -> None:
    """Lists of apps fail, break off, are empty or have no items: nothing is taken for gone."""
    await life.pass_through("make")
    traffic = life.platform.world.azure.traffic
    listing = "/providers/Microsoft.App/containerApps$"
    rules = [traffic.fail_next("GET", listing, 500, "InternalServerError")]
    for body in (b'{"value": [', b"{}", b'{"value": []}'):
        await eventually(lambda: rules[-1].spent, "a scan", 60)
        rules.append(traffic.garble_next("GET", listing, body))
    await eventually(lambda: rules[-1].spent, "a scan", 60)
    writes = len(_writes(life))
    await eventually(lambda: len(_reads(life)) > 0, "a look at the app", 60)
    await life.platform.until(life.id, settled("Ready"))
    if len(_writes(life)) != writes or life.app is None or len(life.app.revisions) != 1:
        raise AssertionError("a list that lied changed something")
    await life.end()


async def the_operator_is_killed(life: Life) -> None:
    """The operator is killed while a tenant is made, and everybody else with it."""
    held = life.platform.world.azure.traffic.hold("PUT", f"/containerApps/{life.azure_name}$", after_commit=True)
    making = asyncio.create_task(life.pass_through("make"))
    await held.reached(timeout=60)
    await life.platform.operator.kill()
    held.drop()
    await life.platform.operator.start()
    await making
    await life.end()


async def the_right_is_missing(life: Life) -> None:
    """Our own right is taken away for a while, and given again."""
    path = f"/userAssignedIdentities/{life.azure_name}$"
    rule = life.platform.world.azure.traffic.fail_next("PUT", path, 403, "AuthorizationFailed", times=3)
    await life.pass_through("make")
    if not rule.spent:
        raise AssertionError("the call did not come")
    await life.end()


async def the_group_is_missing(life: Life) -> None:
    """The resource group is missing: a person is told, and it goes on once it is there."""
    path = f"/userAssignedIdentities/{life.azure_name}$"
    missing = life.platform.world.azure.traffic.fail_next("GET", path, 404, "ResourceGroupNotFound", times=10_000)
    making = asyncio.create_task(life.pass_through("make"))
    await life.platform.until(life.id, stalled("ResourceGroupNotFound"))
    missing.times = 0
    await making
    await life.end()


async def the_watch_goes_silent(life: Life) -> None:
    """The watch is open and carries nothing: what is new is found by the next list."""
    gate = life.platform.world.gates["operator→kubernetes"]
    gate.silent = True
    await life.pass_through("make")
    await life.pass_through("remove")
    gate.silent = False
    await life.pass_through("return")
    await life.end()


async def the_api_server_fails(life: Life) -> None:
    """The API server refuses, cuts connections, and calls a failure what it did."""
    gate = life.platform.world.gates["operator→kubernetes"]
    making = asyncio.create_task(life.pass_through("make"))
    for status in (500, 503, 429):
        await _met(gate.fail_next("GET", ".", status, "ServiceUnavailable", times=2))
        await _met(gate.fail_next("PATCH", ".", status, "ServiceUnavailable"))
    await _met(gate.reset_next("PATCH", "."))
    await making
    removing = asyncio.create_task(life.pass_through("remove"))
    await _met(gate.reset_next("GET", ".", times=2))
    await _met(gate.fail_next("PATCH", ".", 500, "InternalError", after_commit=True))
    await removing
    await life.end()


async def the_api_server_restarts(life: Life) -> None:
    """The API server restarts: streams break, and for five seconds nobody answers."""
    gate = life.platform.world.gates["operator→kubernetes"]
    making = asyncio.create_task(life.pass_through("make"))
    away = [gate.reset_next(method, ".", times=10_000) for method in ("GET", "PATCH", "POST", "PUT")]
    gate.cut_streams()
    await asyncio.sleep(5)
    for rule in away:
        rule.times = 0
    await making
    await life.end()


async def kopf_exits(life: Life) -> None:
    """kopf exits, as it does when a watch reports a failure, and is started again."""
    gate, operator = life.platform.world.gates["operator→kubernetes"], life.platform.operator
    held = life.platform.world.azure.traffic.hold("PUT", f"/containerApps/{life.azure_name}$", after_commit=True)
    making = asyncio.create_task(life.pass_through("make"))
    await held.reached(timeout=60)
    failure = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "reason": "InternalError"}
    await gate.tell_streams(json.dumps({"type": "ERROR", "object": failure}).encode() + b"\n")
    held.drop()
    await eventually(lambda: operator.ended, "the end of the operator", 60)
    if operator.process is None or operator.process.returncode != 1:
        raise AssertionError("whoever supervises it takes the end for one that is wanted")
    await operator.start()
    await making
    await life.end()


async def _met(rule: Rule) -> None:
    await eventually(lambda: rule.spent, "the request that was to fail", 60)


def _requests(life: Life, *, writes: bool) -> list[str]:
    found = life.platform.world.azure.requests
    return [r.path for r in found if r.path.endswith(f"/containerApps/{life.azure_name}") and r.is_write is writes]


def _writes(life: Life) -> list[str]:
    return _requests(life, writes=True)


def _reads(life: Life) -> list[str]:
    return _requests(life, writes=False)


CASES: list[Case] = [
    the_role_takes_five_seconds,
    the_principal_is_not_known_yet,
    the_secret_is_deleted,
    the_secret_is_being_deleted,
    the_secret_is_disabled,
    the_app_is_deleted,
    the_app_is_edited,
    the_app_is_stopped,
    the_app_is_stuck,
    a_list_is_incomplete,
    the_operator_is_killed,
    the_right_is_missing,
]
SLOW: list[Case] = [the_role_takes_a_minute, the_group_is_missing]
ALONE: list[Case] = [the_watch_goes_silent, the_api_server_fails, the_api_server_restarts, kopf_exits]
"""These concern all tenants: one after the other, when the rest is over."""
