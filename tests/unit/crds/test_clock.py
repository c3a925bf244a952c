"""The clock that stories move, as a service reads it."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from nbhd_crds.clock import Clock, ClockFile
from nbhd_crds.settings import Settings, read
from nbhd_local.clock import WorldClock

HOUR = datetime.timedelta(hours=1)


def test_the_machines_clock() -> None:
    clock = Clock()
    assert abs(clock() - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(seconds=1)
    assert clock.pause_before(clock() + HOUR) == 60.0
    assert clock.pause_before(clock() - HOUR) == 0.0
    assert 0.5 < clock.pause_before(clock() + datetime.timedelta(seconds=1)) <= 1.0


def test_a_service_sees_the_worlds_clock_jump_and_run(tmp_path: Path) -> None:
    world = WorldClock(tmp_path / "clock")
    service = ClockFile(tmp_path / "clock")
    before = service()
    world.jump(HOUR)
    assert HOUR <= service() - before < HOUR + datetime.timedelta(minutes=1)
    world.run(1000.0)
    assert service.pause_before(service() + HOUR) == 0.2
    service()
    assert service.rate == 1000.0
    assert abs(service() - world()) < datetime.timedelta(minutes=1)


def test_only_the_local_world_may_move_a_services_clock(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NBHD_CLOCK_FILE: needs AZURE_MOCK=true"):
        read(Settings, {"NBHD_CLOCK_FILE": str(tmp_path)})
    assert read(Settings, {"NBHD_CLOCK_FILE": str(tmp_path), "AZURE_MOCK": "true"}).clock_file == tmp_path
