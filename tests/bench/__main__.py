"""``make bench``: how the operator does with many tenants; prints a table with what it was measured on.

The API server is a real one with one etcd, Azure an emulator whose containers are hollow. All of them and the operator
share this machine, so compare figures of one run rather than runs.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from nbhd_local.azure import Delays, Limits
from tests.bench import scenes
from tests.bench.figures import Row, machine

_FOREVER = "86400"  # seconds: no round of listing comes between
_FAST = Delays(app=0.0, role_propagation=0.0, container_start=0.0, ready_lag=0.0, secret_transition=0.0, answer=0.01)
_REALISTIC = Delays(app=13.0, role_propagation=60.0, ready_lag=1.0, answer=0.5)


async def main() -> None:
    """Runs what was asked for."""
    asked = _arguments()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="nbhd-bench-") as folder:
        for name in asked.only:
            here = Path(folder) / name
            here.mkdir()
            await {"converge": _converge, "settled": _settled, "link": _link}[name](asked, here)


async def _converge(asked: argparse.Namespace, folder: Path) -> None:
    size, profile = asked.tenants, asked.profile
    async with scenes.setting(folder, delays=_FAST, profile=profile, NBHD_DRIFT_SECONDS=_FOREVER) as scene:
        _show(f"{size} tenants, Azure answers after 10 ms", await scenes.converge(scene, range(size)))
        if asked.first_only:
            return
        label = f"{size} settled"
        _show("", await scenes.restart(scene, size, label))
        _show("", await scenes.change_during_restart(scene, range(size), label))


async def _settled(asked: argparse.Namespace, folder: Path) -> None:
    size, profile = asked.settled, asked.profile
    async with scenes.setting(folder, delays=_FAST, profile=profile, NBHD_DRIFT_SECONDS=_FOREVER) as scene:
        await scenes.settled(scene, range(size))
        label = f"{size} settled"
        _show(f"{size} tenants that were never converged here", await scenes.restart(scene, size, label))
        if not asked.first_only:
            _show("", await scenes.change_during_restart(scene, range(size), label))


async def _link(asked: argparse.Namespace, folder: Path) -> None:
    size, limits = asked.paying, Limits()
    async with scenes.setting(folder, delays=_REALISTIC, limits=limits) as scene:
        title = f"{size} tenants, Azure answers after {_REALISTIC.answer:g} s and throttles"
        _show(title, await scenes.way_to_the_link(scene, range(size), _REALISTIC, limits))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--tenants", type=int, default=10_000, help="to converge from nothing, and to restart with")
    parser.add_argument("--settled", type=int, default=100_000, help="to restart with, written as settled")
    parser.add_argument("--paying", type=int, default=100, help="who pay at the same moment")
    parser.add_argument("--first-only", action="store_true", help="of what is measured in one world, the first only")
    parser.add_argument("--profile", type=Path, help="file for cProfile's statistics of the operator; slows it down")
    scenarios = ["converge", "settled", "link"]
    parser.add_argument("--only", nargs="+", choices=scenarios, default=scenarios, help="default: all of them")
    return parser.parse_args()


def _show(title: str, rows: list[Row]) -> None:
    if title:
        print(f"\n{title}")
    for what, figure in rows:
        print(f"  {what:<44} {figure}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
