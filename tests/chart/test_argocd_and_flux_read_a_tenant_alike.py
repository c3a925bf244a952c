"""The health script for Argo CD, in a Lua interpreter, agrees with the reference implementation of kstatus."""

from __future__ import annotations

from typing import Any

import lupa.lua51 as lua  # the version that Argo CD embeds
import pytest

from nbhd_local import tools
from nbhd_local.chart.manifests import MANIFESTS
from nbhd_local.cluster import Cluster
from tests.unit.operator.conftest import Stage

AGREED = {
    "Healthy": "Current",
    "Suspended": "Current",
    "Progressing": "InProgress",
    "Degraded": "Failed",
}
EXCEPT = {"Terminating": "Progressing"}


def health(tenant: dict[str, Any]) -> tuple[str, str]:
    """What Argo CD shows: it gives the object to the script as ``obj``."""
    runtime = lua.LuaRuntime(unpack_returned_tuples=True)
    runtime.globals()["obj"] = runtime.table_from(tenant, recursive=True)
    found: Any = runtime.execute((MANIFESTS / "argocd" / "health.lua").read_text())
    return found["status"], found["message"]


async def test_in_every_phase(
    story: tuple[Stage, list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    _, versions = story
    looked_at = [one for one in versions if one["status"].get("conditions")]
    cluster = Cluster(tmp_path_factory.mktemp("none") / "kubeconfig", tools.kubectl())
    verdicts = cluster.kstatus(*looked_at)
    shown: dict[str, set[str]] = {}
    for tenant, verdict in zip(looked_at, verdicts, strict=True):
        status, message = health(tenant)
        assert message
        shown.setdefault(tenant["status"]["phase"], set()).add(status)
        assert AGREED[status] == verdict or EXCEPT.get(verdict) == status, tenant
    settled = {
        "Pending": "Healthy",
        "AwaitingLink": "Healthy",
        "Ready": "Healthy",
        "Suspended": "Suspended",
        "Ended": "Suspended",
        "Stalled": "Degraded",
        "Provisioning": "Progressing",
        "Deleting": "Progressing",
    }
    assert set(shown) == set(settled)
    for phase, status in settled.items():
        assert status in shown[phase], f"{phase}: {shown[phase]}"
        assert shown[phase] <= {status, "Progressing"}, f"{phase}: {shown[phase]}"


def test_a_tenant_that_nobody_looked_at_yet() -> None:
    """Where kstatus, which knows nothing of us, says Current."""
    assert health({"metadata": {"generation": 1}, "spec": {"id": "adalovelace1"}})[0] == "Progressing"
