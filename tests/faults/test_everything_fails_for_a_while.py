"""All services around us answer with errors for a while, and the clock is put back: the life ends the same."""

from __future__ import annotations

import contextlib
import datetime
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from nbhd_local.life import live
from nbhd_local.people import Subscriber
from nbhd_local.traffic import Rule
from nbhd_local.world import World
from tests.faults.conftest import StartWorld
from tests.faults.life import duplicates, end_state
from tests.faults.points import gate

# Gate → methods. What the story itself asks of Stripe as the account's owner is left alone.
_FAILING = {
    "azure": ("GET", "PUT", "POST", "DELETE"),
    "stripe": ("GET",),
    "telegram": ("POST",),
    "container": ("POST",),
    "stripe→webhooks": ("POST",),
    "telegram→router": ("POST",),
    "operator→kubernetes": ("GET", "PATCH"),
    "router→kubernetes": ("GET", "PATCH"),
    "webhooks→kubernetes": ("GET", "POST", "PATCH"),
}
_STATUSES = (500, 503, 429)


def fail_everywhere(world: World, status: int) -> list[Rule]:
    """The next request of each kind fails."""
    return [
        gate(world, name).fail_next(method, ".", status, "ServiceUnavailable")
        for name, methods in _FAILING.items()
        for method in methods
    ]


@pytest.mark.timeout(400)
async def test_everything_fails_for_a_while(start_world: StartWorld, undisturbed: dict[str, Any]) -> None:
    async with start_world() as world:
        alice = Subscriber.meet(world, "alice", 1001)
        failed: list[int] = []
        statuses = itertools.cycle(_STATUSES)

        @contextlib.contextmanager
        def chapter(_: str) -> Iterator[None]:
            rules = fail_everywhere(world, next(statuses))
            yield
            failed.append(sum(rule.spent for rule in rules))
            for rule in rules:
                rule.times = 0  # what did not come in this chapter must not add up

        await live(world, alice, chapter)
        end = await end_state(world, alice)
    assert sum(failed) > 3 * len(failed), f"requests that failed, by chapter: {failed}"
    duplicates(end.pop("chat"), undisturbed["end"]["chat"])
    assert end == {name: value for name, value in undisturbed["end"].items() if name != "chat"}


@pytest.mark.timeout(400)
async def test_the_clock_is_put_back(start_world: StartWorld, undisturbed: dict[str, Any]) -> None:
    async with start_world() as world:
        alice = Subscriber.meet(world, "alice", 1001)

        @contextlib.contextmanager
        def chapter(title: str) -> Iterator[None]:
            if title.startswith(("pays again", "plans the end")):
                world.clock.jump(-datetime.timedelta(hours=5))
            yield

        await live(world, alice, chapter)
        end = await end_state(world, alice)
    duplicates(end.pop("chat"), undisturbed["end"]["chat"])
    assert end == {name: value for name, value in undisturbed["end"].items() if name != "chat"}
