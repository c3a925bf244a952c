"""Each call to Azure fails in each way, and things happen in Azure that no call asked for: every case ends right.

The real operator on the real API server, all tenants side by side in one platform: each ends in the state that it
should, with one of everything, nothing left after its deletion, and its secret's first version kept through all of it.
``make test`` runs a covering subset, ``make faults`` all of it.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nbhd_local.cluster import Cluster
from nbhd_operator.azure import Azure
from tests.faults.azure_calls import CALLS, COVERING, FAULTS, LIVES, OF_A_CELL, ROWS, Call, Fault
from tests.faults.azure_cases import ALONE, CASES, SLOW, Case
from tests.faults.azure_platform import Life, Platform, platform

_AT_ONCE = 48


def row(call: Call, fault: Fault) -> Case:
    """A life in which one call fails once, or as often as the fault says."""

    async def case(life: Life) -> None:
        for stage in LIVES[call.stage]:
            rule = None
            if stage == call.stage:
                path = call.path.replace("NAME", life.azure_name)
                rule = fault.arm(life.platform.world.azure.traffic, call.method, path)
            await life.pass_through(stage)
            if rule is not None and not rule.spent:
                raise AssertionError("the call did not come")
        await life.end()

    return case


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("rows", "cases", "alone"),
    [
        pytest.param(COVERING, CASES, [], id="covering"),
        pytest.param(ROWS, [*CASES, *SLOW], ALONE, id="all", marks=pytest.mark.all_faults),
    ],
)
async def test_every_case_ends_right(
    rows: Sequence[tuple[Call, Fault]],
    cases: Sequence[Case],
    alone: Sequence[Case],
    cluster: Cluster,
    namespace: str,
    tmp_path: Path,
    azure_table: Callable[[str], None],
) -> None:
    wrong: list[str] = []
    turn = asyncio.Semaphore(_AT_ONCE)

    async def noted(what: str, case: Case, life: Life) -> None:
        async with turn:
            begun = time.monotonic()
            try:
                await case(life)
            except Exception as error:  # every row is to be seen, not only the first that fails
                wrong.append(f"{what}: {error!r}")
            else:
                azure_table(f"{what:86} right after {time.monotonic() - begun:.1f} s")

    async with platform(tmp_path, cluster, namespace, gates=bool(alone)) as running:
        lives = running.lives()
        await asyncio.gather(
            *(noted(f"{call}: {fault}", row(call, fault), next(lives)) for call, fault in rows),
            *(noted(_title(case), case, next(lives)) for case in cases),
        )
        for case in alone:
            await noted(_title(case), case, next(lives))
        assert not wrong, "\n".join(wrong)
        await nothing_is_left(running)
        log = running.operator.log.read_text(errors="replace")
    assert "look failed" not in log, "every failure of Azure is one that we have a class for"
    assert "Traceback" not in log


async def nothing_is_left(running: Platform) -> None:
    """Beyond what was there before the first tenant."""
    found = running.world.azure.inventory()
    left = {kind: sorted(found[kind]) for kind in ("apps", "identities", "roleAssignments", "secrets")}
    assert (left["apps"], left["identities"], left["secrets"]) == ([], ["nbhd-pull"], [])
    assert len(left["roleAssignments"]) == 1


def _title(case: Case) -> str:
    return (case.__doc__ or "").splitlines()[0].rstrip(".")


def test_no_call_is_missing() -> None:
    """Also the answer of an app is asked for by a call, but not of Azure."""
    calls = {
        name
        for name, method in vars(Azure).items()
        if not name.startswith("_") and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method))
    }
    assert calls - {"answers"} == {call.name for call in CALLS} | OF_A_CELL


def test_the_subset_covers_every_call_and_every_fault() -> None:
    assert {call for call, _ in COVERING} == set(CALLS)
    assert {fault for _, fault in COVERING} == set(FAULTS)
