"""When the operator counts as stuck."""

from __future__ import annotations

import pytest

from nbhd_operator.progress import PATIENCE, stuck


@pytest.mark.parametrize(
    ("run", "wait", "since", "verdict"),
    [
        (0, 0, 10 * PATIENCE, None),  # nothing to do
        (PATIENCE, PATIENCE, PATIENCE, None),
        (PATIENCE + 1, 0, 0, "a worker is at one Tenant for 601 s"),
        (0, 10 * PATIENCE, 1, None),  # a long backlog that gets shorter
        (0, PATIENCE + 1, PATIENCE + 1, "Tenants wait for 601 s and no look was finished for 601 s"),
    ],
)
def test_stuck(run: float, wait: float, since: float, verdict: str | None) -> None:
    assert stuck(longest_run=run, longest_wait=wait, since_look=since) == verdict
