"""Each service is killed (SIGKILL) before and after each of its outside effects: the life ends the same.

The Tenant, Azure and the chat equal those of the undisturbed life, but for times and for sentences of the bot that are
said again. ``make test`` runs a covering subset, ``make faults`` all of it.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.conftest import StartWorld
from tests.faults.life import duplicates, lived
from tests.faults.points import EFFECTS, POINTS, QUICK, Point

_READS = {"GET", "HEAD"}
# Requests that are no effect of a service: tokens, questions that are asked by POST, and what the story itself asks of
# Stripe as the account's owner.
_NOT_EFFECTS = [
    ("azure", "POST", r"/oauth2/v2.0/token$"),
    ("azure", "PATCH", r"/tags/default$"),  # the claim of the cell, once and for all before anybody lives there
    ("telegram", "POST", r"/getMe$"),
    ("stripe", "POST", r"^/v1/(products|prices|subscriptions/.*)$"),
]


def _marked(point: Point) -> Any:
    marks = [] if point in QUICK else [pytest.mark.all_faults]
    return pytest.param(point, id=str(point), marks=marks)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("point", [_marked(point) for point in POINTS])
async def test_any_service_may_die_at_any_point(
    point: Point, start_world: StartWorld, undisturbed: dict[str, Any], table: Callable[[str], None]
) -> None:
    started = time.monotonic()
    async with start_world() as world:
        end, expected = await lived(world, point), undisturbed["end"]
    extra = duplicates(end.pop("chat"), expected["chat"])
    assert end == {name: value for name, value in expected.items() if name != "chat"}
    table(f"{point!s:60} same end, {len(extra)} said again, {time.monotonic() - started:.0f} s")


@pytest.mark.timeout(400)
async def test_the_list_is_complete(undisturbed: dict[str, Any]) -> None:
    effects = [
        (gate, method, path)
        for gate, method, path in undisturbed["requests"]
        if method not in _READS and not any((gate, method) == n[:2] and re.search(n[2], path) for n in _NOT_EFFECTS)
    ]
    missing = {e for e in effects if not any(effect.covers(*e) for effect in EFFECTS)}
    assert missing == set()
    assert effects, "a life without effects proves nothing"


def test_each_service_is_killed_at_eight_points_at_least() -> None:
    counted = Counter(point.effect.service for point in POINTS)
    assert set(counted) == {"operator", "router", "webhooks"}
    assert min(counted.values()) >= 8
    assert {point.effect.service for point in QUICK} == set(counted)
