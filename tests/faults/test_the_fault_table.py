"""Each call to Azure fails in each way, and things happen in Azure that no call asked for: every case ends right.

The real operator on the real API server, all tenants side by side in one platform: each ends in the state that it
should, with one of everything, nothing left after its deletion, and its secret's first version kept through all of it.
``make test`` runs a covering subset, ``make faults`` all of it.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from nbhd_local.cluster import Cluster
from nbhd_operator.azure import Azure
from tests.e2e.operators import metric
from tests.faults.azure_calls import CALLS, CELL_CALLS, COVERING, FAULTS, LIVES, ROWS, Call, Fault, faults_of
from tests.faults.azure_cases import ALONE, CASES, SLOW, Case
from tests.faults.azure_cells import CELL_CASES, Home, claim_row, foreign_row, list_row
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


class Table:
    """Runs rows, so many at a time, and prints how each ended: all are to be seen, not only the first that fails."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show, self._turn = show, asyncio.Semaphore(_AT_ONCE)
        self.wrong: list[str] = []

    async def row(self, what: str, case: Awaitable[None]) -> None:
        """Takes what fails for a row that is wrong."""
        async with self._turn:
            begun = time.monotonic()
            try:
                await case
            except Exception as error:  # noqa: BLE001, RUF100 - see above
                self.wrong.append(f"{what}: {error!r}")
            else:
                self._show(f"{what:86} right after {time.monotonic() - begun:.1f} s")


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
    table = Table(azure_table)
    async with platform(tmp_path, cluster, namespace, gates=bool(alone)) as running:
        lives = running.lives()
        await asyncio.gather(
            *(table.row(f"{call}: {fault}", row(call, fault)(next(lives))) for call, fault in rows),
            *(table.row(_title(case), case(next(lives))) for case in cases),
        )
        for case in alone:
            await table.row(_title(case), case(next(lives)))
        await all_is_right(running, table)


@pytest.mark.all_faults
@pytest.mark.timeout(600)
async def test_every_case_of_a_cell_ends_right(
    cluster: Cluster, namespace: str, tmp_path: Path, azure_table: Callable[[str], None]
) -> None:
    table = Table(azure_table)
    async with platform(tmp_path, cluster, namespace, scan=3600) as running:
        lives = running.lives()

        def home() -> Home:
            return Home(next(lives))

        async def in_turn(call: Call) -> None:
            here = home()
            await here.settle()
            for fault in faults_of(call):
                await table.row(f"{call}: {fault}", list_row(call, fault)(here))
            await here.leave()

        claims, lists = ([call for call in CELL_CALLS if call.stage == stage] for stage in ("claim", "list"))
        own = [call for call in lists if "NAME" in call.path]
        reads, _ = claims
        await asyncio.gather(
            *(table.row(f"{c}: {fault}", claim_row(c, fault)(home())) for c in claims for fault in faults_of(c)),
            *(
                table.row(f"{reads}, another's: {fault}", foreign_row(reads, fault)(home()))
                for fault in faults_of(reads)
            ),
            *(table.row(_title(case), case(home())) for case in CELL_CASES),
            *(in_turn(call) for call in own),
        )
        for call in lists:
            if call not in own:  # the same request for every cell: nobody else may be listed meanwhile
                await in_turn(call)
        assert await metric(running.operator, "nbhd_operator_drifts_total") == 0
        await all_is_right(running, table)


async def all_is_right(running: Platform, table: Table) -> None:
    """No row failed, nothing is left, and the operator was never at a loss."""
    assert not table.wrong, "\n".join(table.wrong)
    await nothing_is_left(running)
    log = running.operator.log.read_text(errors="replace")
    assert "look failed" not in log, "every failure of Azure is one that we have a class for"
    assert "look at a cell failed" not in log
    assert "/nbhd_operator/" not in log, "no traceback leads through our code; kopf shows one when it exits"


async def nothing_is_left(running: Platform) -> None:
    """Beyond what was there before the first tenant."""
    found = running.world.azure.inventory()
    left = {kind: sorted(found[kind]) for kind in ("apps", "identities", "roleAssignments", "secrets")}
    assert (left["apps"], left["identities"], left["secrets"]) == ([], ["nbhd-pull"], [])
    assert len(left["roleAssignments"]) == len(running.world.azure.vaults)  # each cell's, to pull images


def _title(case: Callable[..., Awaitable[None]]) -> str:
    return (case.__doc__ or "").splitlines()[0].rstrip(".")


def test_no_call_is_missing() -> None:
    """Also the answer of an app is asked for by a call, but not of Azure."""
    calls = {
        name
        for name, method in vars(Azure).items()
        if not name.startswith("_") and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method))
    }
    assert calls - {"answers"} == {call.name for call in [*CALLS, *CELL_CALLS]}


def test_the_subset_covers_every_call_and_every_fault() -> None:
    assert {call for call, _ in COVERING} == set(CALLS)
    assert {fault for _, fault in COVERING} == set(FAULTS)
