"""The chart's life on a real API server, without Pods: install, upgrade, roll back, uninstall, and come back."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nbhd_crds import selftest
from nbhd_crds.api.policies import SERVICES
from nbhd_local.chart import CHART
from nbhd_local.chart.helm import NAMESPACE, values
from nbhd_local.cluster import Cluster
from tests.chart.conftest import Helm

TENANTS = "nbhd-tenants"
CHART_ARGS = ["nbhd", str(CHART)]
TENANT = {
    "apiVersion": "nbhd.united/v1alpha1",
    "kind": "Tenant",
    "metadata": {"name": "ada", "namespace": TENANTS},
    "spec": {"id": "adaadaada", "complimentary": True},
}


@pytest.fixture(scope="module")
def helm(empty: Cluster) -> Helm:
    return Helm(empty.kubeconfig)


@pytest.fixture(scope="module", autouse=True)
def installed(helm: Helm) -> str:
    return helm("install", *CHART_ARGS, "--create-namespace", *values())


def versions(cluster: Cluster) -> dict[tuple[str, str], tuple[int | None, str]]:
    """(generation, resourceVersion) of everything that the release made."""
    kinds = (
        "deployments,services,serviceaccounts,configmaps,networkpolicies,ingresses,persistentvolumeclaims,"
        "roles,rolebindings,plans,cells,namespaces,validatingadmissionpolicies,validatingadmissionpolicybindings,crds"
    )
    found: dict[tuple[str, str], tuple[int | None, str]] = {}
    for one in cluster.get(kinds, "--all-namespaces")["items"]:
        metadata = one["metadata"]
        ours = metadata.get("labels", {}).get("app.kubernetes.io/instance") == "nbhd"
        if ours or metadata["name"].endswith(".nbhd.united"):
            found[one["kind"], metadata["name"]] = (metadata.get("generation"), metadata["resourceVersion"])
    return found


def test_the_notes_say_what_to_do_next(installed: str) -> None:
    assert "nbhd-secrets and nbhd-link-keys exist in nbhd-system" in installed
    assert "https://example.com/stripe/webhook" in installed


def test_the_api_comes_with_it(empty: Cluster) -> None:
    assert {one["metadata"]["name"] for one in empty.get("-n", TENANTS, "plans")["items"]} == {"basic", "plus"}
    assert empty.get("-n", TENANTS, "cell", "eastus2-1")["spec"]["resourceGroup"] == "nbhd-eastus2-1"


def test_a_second_apply_changes_nothing(empty: Cluster, helm: Helm) -> None:
    helm("upgrade", *CHART_ARGS, *values())
    before = versions(empty)
    helm("upgrade", *CHART_ARGS, *values())
    assert versions(empty) == before
    assert len(before) > 30


def test_the_namespace_of_the_tenants_cannot_be_deleted_by_mistake(empty: Cluster) -> None:
    deadline = time.monotonic() + 30
    while (
        "delete the Tenants first" not in empty.try_kubectl("delete", "namespace", TENANTS, "--dry-run=server").stderr
    ):
        assert time.monotonic() < deadline, "the guard is not enforced"  # a new policy is compiled every second or so


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_exactly_the_rights_that_it_needs(empty: Cluster, service: str, tmp_path: Path) -> None:
    report = selftest.Report()
    asyncio.run(selftest.check_api(service, TENANTS, NAMESPACE, report, empty.service_kubeconfig(service, tmp_path)))
    assert report.failed == []
    assert len(report.passed) > 30


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("view", ["get tenants", "watch plans", "list cells"], ["patch tenants", "delete plans"]),
        (
            "edit",
            ["get cells", "create tenants", "delete tenants"],
            ["patch plans", "create cells", "patch tenants --subresource=status"],
        ),
        (
            "admin",
            ["patch tenants", "create plans", "delete cells"],
            ["deletecollection tenants", "patch cells --subresource=status"],
        ),
    ],
)
def test_people_get_their_rights_by_the_clusters_own_roles(
    empty: Cluster, role: str, may: list[str], may_not: list[str]
) -> None:
    empty.kubectl("-n", TENANTS, "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}")

    def can(what: str) -> bool:
        return empty.try_kubectl("auth", "can-i", *what.split(), f"--as={role}", "-n", TENANTS).stdout.strip() == "yes"

    deadline = time.monotonic() + 30
    while not can(may[-1]):  # the controller manager adds up the roles in its own time
        assert time.monotonic() < deadline
    assert [what for what in may if not can(what)] == []
    assert [what for what in may_not if can(what)] == []


def test_upgrade_and_rollback_keep_the_tenants(empty: Cluster, helm: Helm) -> None:
    empty.apply(TENANT)
    before = empty.get("-n", TENANTS, "tenant", "ada")["metadata"]
    helm("upgrade", *CHART_ARGS, *values("ha"))
    assert empty.get("-n", NAMESPACE, "deployment", "webhooks")["spec"]["replicas"] == 3
    assert empty.get("-n", NAMESPACE, "pdb", "operator")
    helm("rollback", "nbhd", "1")
    assert empty.get("-n", NAMESPACE, "deployment", "webhooks")["spec"]["replicas"] == 1
    after = empty.get("-n", TENANTS, "tenant", "ada")["metadata"]
    assert (after["uid"], after["resourceVersion"]) == (before["uid"], before["resourceVersion"])


def test_an_older_crd_is_upgraded_in_place(empty: Cluster, helm: Helm) -> None:
    empty.apply(TENANT)
    old = empty.get("crd", "plans.nbhd.united")
    (version,) = old["spec"]["versions"]
    fields: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del fields["retention"]
    older = {**old, "metadata": {"name": old["metadata"]["name"]}, "status": None}
    as_helm = ["--server-side", "--field-manager=helm", "--force-conflicts"]
    empty.kubectl("apply", *as_helm, "-f", "-", stdin=json.dumps(older))
    helm("upgrade", *CHART_ARGS, *values())
    new = empty.get("crd", "plans.nbhd.united")
    (version,) = new["spec"]["versions"]
    assert "retention" in version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert new["metadata"]["uid"] == old["metadata"]["uid"]


def guard(cluster: Cluster, folder: Path) -> subprocess.CompletedProcess[str]:
    """What the chart runs before an uninstall, with the rights that it has there."""
    kubeconfig = cluster.service_kubeconfig("operator", folder)
    command = [sys.executable, "-m", "nbhd_crds.uninstall", TENANTS]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_uninstalling_is_refused_while_there_are_tenants(empty: Cluster, tmp_path: Path) -> None:
    empty.apply(TENANT)
    refused = guard(empty, tmp_path)
    assert refused.returncode == 1
    assert "There is 1 Tenant in namespace nbhd-tenants (ada)" in refused.stderr
    empty.kubectl("-n", TENANTS, "delete", "tenant", "ada")
    assert guard(empty, tmp_path).returncode == 0


def test_uninstalling_can_keep_the_tenants(empty: Cluster, helm: Helm) -> None:
    helm("upgrade", *CHART_ARGS, *values("ha"))
    empty.apply(TENANT)
    uid = empty.get("-n", TENANTS, "tenant", "ada")["metadata"]["uid"]
    kept = helm("uninstall", "nbhd")
    assert "[PersistentVolumeClaim] router-spool" in kept
    assert empty.get("-n", NAMESPACE, "deployments")["items"] == []
    assert empty.get("-n", TENANTS, "tenant", "ada")["metadata"]["uid"] == uid
    assert "delete the Tenants first" in empty.try_kubectl("delete", "namespace", TENANTS).stderr
    helm("install", *CHART_ARGS, *values("ha"))
    assert empty.get("-n", TENANTS, "tenant", "ada")["metadata"]["uid"] == uid
    empty.kubectl("-n", TENANTS, "delete", "tenant", "ada")


def test_uninstalling_for_good_leaves_nothing_of_the_services(empty: Cluster, helm: Helm) -> None:
    helm("upgrade", *CHART_ARGS, *values())
    left = helm("uninstall", "nbhd", "--no-hooks")
    assert sorted(line for line in left.splitlines() if line.startswith("[")) == [
        "[Cell] eastus2-1",
        "[Namespace] nbhd-tenants",
        "[Plan] basic",
        "[Plan] plus",
    ]
    # the API server takes a second or so to notice that a policy is gone, and has no event for it
    deadline = time.monotonic() + 30
    while "delete the Tenants first" in empty.try_kubectl("delete", "namespace", TENANTS, "--wait=false").stderr:
        assert time.monotonic() < deadline
    assert empty.get("namespace", TENANTS)["status"]["phase"] == "Terminating"
