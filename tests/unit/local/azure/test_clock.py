"""The world's clock decides what takes minutes to months (cooldown, soft delete); delays are the machine's seconds."""

from __future__ import annotations

import asyncio
import datetime
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError

from nbhd_local.azure import AzureWorld, Delays
from nbhd_local.azure.role_assignments import SECRETS_USER
from nbhd_local.ca import Authority
from nbhd_local.clock import WorldClock
from tests.unit.local.azure.test_runtime import DELAYS, IMAGE, SERVER, create, get

DAY = datetime.timedelta(days=1)


@pytest.fixture
def clock(tmp_path: Path) -> WorldClock:
    return WorldClock(tmp_path / "clock.json")


@pytest.fixture
async def azure(authority: Authority, connect: Any, clock: WorldClock, tmp_path: Path) -> AsyncIterator[Any]:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    images = {IMAGE: (sys.executable, "-I", "-S", str(script))}
    world = AzureWorld(authority, clock=clock, delays=DELAYS, images=images, log_dir=tmp_path / "logs")
    async with world, connect(world) as clients:
        yield clients


async def test_an_app_sleeps_after_its_cooldown_on_a_fast_clock_and_a_request_wakes_it(
    azure: Any, clock: WorldClock
) -> None:
    fqdn = await create(azure, cooldown=60)
    clock.run(120)
    asleep = await azure.world.runtime.wait_for("nbhd-abc", "stopped", timeout=5)
    assert asleep.at <= clock()
    clock.run(1)
    before = len(azure.world.runtime.events)
    answers = await asyncio.gather(*(get(azure, fqdn) for _ in range(2)))
    assert [status for status, _ in answers] == [200, 200]
    assert azure.world.runtime.replica_state("nbhd-abc").state == "Running"
    assert not [event for event in azure.world.runtime.events[before:] if event.kind == "stopping"]


async def test_a_jump_over_the_cooldown_puts_an_idle_app_to_sleep(azure: Any, clock: WorldClock) -> None:
    await create(azure, cooldown=3600)
    clock.jump(DAY)
    await azure.world.runtime.wait_for("nbhd-abc", "stopped", timeout=5)


async def test_a_jump_back_does_not_keep_an_app_awake(azure: Any, clock: WorldClock) -> None:
    await create(azure, cooldown=60)
    clock.jump(-DAY)
    clock.run(120)
    await azure.world.runtime.wait_for("nbhd-abc", "stopped", timeout=5)


async def test_a_deleted_secret_is_kept_for_ninety_days_of_the_clock(azure: Any, clock: WorldClock) -> None:
    await azure.secrets.set_secret("nbhd-abc", "old")
    deleted = await azure.secrets.delete_secret("nbhd-abc")
    assert deleted.scheduled_purge_date - deleted.deleted_date == 90 * DAY
    clock.jump(89 * DAY)
    assert (await azure.secrets.get_deleted_secret("nbhd-abc")).name == "nbhd-abc"
    clock.jump(2 * DAY)
    with pytest.raises(ResourceNotFoundError):
        await azure.secrets.get_deleted_secret("nbhd-abc")
    again = await azure.secrets.set_secret("nbhd-abc", "new")
    assert again.properties.created_on.date() == clock().date()


async def test_a_role_takes_its_time_to_spread_whatever_the_clock_does(
    authority: Authority, connect: Any, clock: WorldClock
) -> None:
    delays = Delays(role_propagation=60)
    world = AzureWorld(authority, clock=clock, delays=delays, run_containers=False)
    async with world, connect(world) as azure:
        identity, scope = await azure.identity("nbhd-abc"), azure.secret_scope("nbhd-abc")
        granted = await azure.grant(scope, identity.principal_id)
        assert abs(granted.created_on - clock()) < DAY
        clock.jump(DAY)
        assert not world._access.allows(identity.principal_id, {SECRETS_USER}, scope)
