"""When ``provision`` stops waiting, and what it says until then."""

from __future__ import annotations

import pytest

from nbhd_cli.follow import progress, rested
from nbhd_crds.api import Tenant
from tests.unit.cli.make import condition, tenant

MOVING = condition("Reconciling", "True", "Provisioning", "Identity, secret and role are being made.")
STILL = condition("Reconciling", "False", "AwaitingLink", "No chat yet.")
STALLED = condition("Stalled", "True", "NoCell", "Create a Cell.")


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (None, True),
        (tenant("ada", STILL), True),
        (tenant("ada", MOVING), False),
        (tenant("ada", MOVING, STALLED), True),
        (tenant("ada", STILL, metadata={"generation": 2}), False),
        (tenant("ada", phase=None, status={"observedGeneration": -1}), False),
        (tenant("ada"), False),
    ],
    ids=["gone", "still", "moving", "stalled", "changed", "unseen", "no conditions"],
)
def test_a_tenant_rests(one: Tenant | None, expected: bool) -> None:
    assert rested(one) is expected


def test_progress_is_one_line() -> None:
    assert progress(tenant("ada", MOVING, phase="Provisioning")) == (
        "ada: Provisioning: Identity, secret and role are being made."
    )
    assert progress(tenant("ada", MOVING, STALLED, phase="Stalled")) == "ada: Stalled: Create a Cell."
    assert progress(tenant("ada", phase=None)) == "ada: Unknown"
