"""Who may write which part of a Tenant, on the real API server: each rule with a refused and an accepted write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nbhd_local.cluster import Cluster

Kubeconfigs = Callable[[str], Path]
BILLING = {"customerId": "cus_1", "status": "active"}
TELEGRAM = {"chatId": 42, "userId": 42, "generation": 1}
STATUS = {"phase": "Pending"}


def tenant(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "nbhd.united/v1alpha1",
        "kind": "Tenant",
        "metadata": {"name": name},
        "spec": {"id": f"{name}00000000"[:8], **spec},
    }


class As:
    """kubectl as one identity in one namespace; answers with what the server said."""

    def __init__(self, cluster: Cluster, namespace: str, kubeconfig: Path | None, *extra: str) -> None:
        self.cluster, self.namespace, self.kubeconfig, self.extra = cluster, namespace, kubeconfig, extra

    def __call__(self, *args: str, stdin: dict[str, Any] | None = None) -> str:
        done = self.cluster.try_kubectl(
            "-n", self.namespace, *self.extra, *args, stdin=json.dumps(stdin), kubeconfig=self.kubeconfig
        )
        return "ok" if done.returncode == 0 else done.stderr

    def create(self, document: dict[str, Any]) -> str:
        return self("create", "-f", "-", stdin=document)

    def apply(self, document: dict[str, Any], *, manager: str = "kubectl", status: bool = False) -> str:
        sub = ["--subresource=status"] if status else []
        return self(
            "apply", "--server-side", "--force-conflicts", f"--field-manager={manager}", *sub, "-f", "-", stdin=document
        )

    def patch(self, name: str, patch: dict[str, Any]) -> str:
        return self("patch", "tenant", name, "--type=merge", "-p", json.dumps(patch))


@pytest.fixture
def person(cluster: Cluster, namespace: str) -> As:
    return As(cluster, namespace, None)


@pytest.fixture
def break_glass(cluster: Cluster, namespace: str) -> As:
    groups = ["--as=oncall", "--as-group=system:masters", "--as-group=nbhd:break-glass"]
    return As(cluster, namespace, None, *groups)


@pytest.fixture
def service(cluster: Cluster, namespace: str, service_kubeconfig: Kubeconfigs) -> Callable[[str], As]:
    return lambda name: As(cluster, namespace, service_kubeconfig(name))


def test_a_tenant_of_six_lines_is_valid(person: As) -> None:
    assert person.create(tenant("six")) == "ok"


def test_only_webhooks_writes_billing(person: As, service: Callable[[str], As], break_glass: As) -> None:
    assert person.create(tenant("bill")) == "ok"
    with_billing = tenant("bill", billing=BILLING)
    refused = "spec.billing is written by webhooks only"
    assert refused in service("router").apply(with_billing, manager="nbhd-billing")
    assert refused in service("operator").apply(with_billing, manager="nbhd-billing")
    assert refused in person.patch("bill", {"spec": {"billing": BILLING}})
    assert service("webhooks").apply(with_billing, manager="nbhd-billing") == "ok"
    assert refused in person.patch("bill", {"spec": {"billing": {"status": "canceled"}}})
    assert refused in person.patch("bill", {"spec": {"billing": None}})
    assert break_glass.patch("bill", {"spec": {"billing": {"status": "past_due"}}}) == "ok"


def test_only_the_router_writes_telegram(person: As, service: Callable[[str], As]) -> None:
    assert person.create(tenant("chat")) == "ok"
    linked = tenant("chat", telegram=TELEGRAM)
    assert "spec.telegram is written by router only" in service("webhooks").apply(linked, manager="nbhd-router")
    assert "spec.telegram is written by router only" in person.patch("chat", {"spec": {"telegram": TELEGRAM}})
    assert service("router").apply(linked, manager="nbhd-router") == "ok"


def test_services_leave_the_part_of_people_alone(person: As, service: Callable[[str], As]) -> None:
    assert person.create(tenant("part")) == "ok"
    refused = "this part belongs to people"
    assert refused in service("router").apply(tenant("part", complimentary=True), manager="kubectl")
    assert refused in service("webhooks").apply(tenant("part", suspended=True), manager="nbhd-billing")
    assert refused in service("operator").patch("part", {"spec": {"credentials": {"version": 2}}})
    assert person.patch("part", {"spec": {"complimentary": True, "credentials": {"version": 2}}}) == "ok"


def test_webhooks_creates_with_identity_only_and_nobody_else_creates(service: Callable[[str], As]) -> None:
    assert "belongs to people" in service("webhooks").create(tenant("new1", complimentary=True))
    assert service("webhooks").create(tenant("new1")) == "ok"
    for name in ("router", "operator"):
        assert "cannot create resource" in service(name).create(tenant("new2"))
        assert "cannot create resource" in service(name).apply(tenant("new2"), manager="ghost")


def test_a_person_cannot_create_a_paid_tenant(person: As) -> None:
    assert "spec.billing is written by webhooks only" in person.create(tenant("fake", billing=BILLING))


def test_only_the_operator_writes_status(person: As, service: Callable[[str], As]) -> None:
    assert person.create(tenant("stat")) == "ok"
    document = tenant("stat") | {"status": STATUS}
    assert "status is written by the operator only" in person.apply(document, status=True)
    assert "cannot patch resource" in service("router").apply(document, status=True)
    assert service("operator").apply(document, status=True) == "ok"


def test_a_paying_tenant_is_not_deleted_by_a_pruning_pipeline(person: As, service: Callable[[str], As]) -> None:
    assert person.create(tenant("paid")) == "ok"
    assert service("webhooks").apply(tenant("paid", billing=BILLING), manager="nbhd-billing") == "ok"
    assert "this Tenant is being paid for" in person("delete", "tenant", "paid", "--wait=false")
    assert person("annotate", "tenant", "paid", "nbhd.united/allow-delete=true") == "ok"
    assert person("delete", "tenant", "paid", "--wait=false") == "ok"


def test_an_ended_tenant_may_be_deleted(person: As, service: Callable[[str], As]) -> None:
    assert person.create(tenant("over")) == "ok"
    ended = tenant("over", billing={"customerId": "cus_1", "status": "canceled"})
    assert service("webhooks").apply(ended, manager="nbhd-billing") == "ok"
    assert person("delete", "tenant", "over", "--wait=false") == "ok"


def test_a_namespace_with_a_paying_tenant_can_be_deleted(
    cluster: Cluster, namespace: str, person: As, service: Callable[[str], As]
) -> None:
    assert person.create(tenant("last")) == "ok"
    assert service("webhooks").apply(tenant("last", billing=BILLING), manager="nbhd-billing") == "ok"
    cluster.delete_namespace(namespace)
    cluster.kubectl("wait", "--for=delete", f"namespace/{namespace}", "--timeout=60s", timeout=70)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"credentials": {"version": 0}}, "should be greater than or equal to 1"),
        ({"cellRef": {"name": ""}}, "should be at least 1 chars long"),
    ],
)
def test_the_schema_refuses(person: As, patch: dict[str, Any], message: str) -> None:
    assert person.create(tenant("rule")) == "ok"
    assert message in person.patch("rule", {"spec": patch})


def test_linking_again_needs_a_higher_generation(person: As, service: Callable[[str], As]) -> None:
    assert person.create(tenant("gene")) == "ok"
    router = service("router")
    assert router.apply(tenant("gene", telegram=TELEGRAM), manager="nbhd-router") == "ok"
    message = "spec.telegram changes only with a higher generation"
    assert message in router.apply(tenant("gene", telegram=TELEGRAM | {"chatId": 43}), manager="nbhd-router")
    assert message in router.patch("gene", {"spec": {"telegram": None}})
    assert (
        router.apply(tenant("gene", telegram=TELEGRAM | {"chatId": 43, "generation": 2}), manager="nbhd-router") == "ok"
    )


def test_only_the_operator_writes_the_status_of_plans(
    person: As, service: Callable[[str], As], break_glass: As
) -> None:
    plan = {
        "apiVersion": "nbhd.united/v1alpha1",
        "kind": "Plan",
        "metadata": {"name": "sold"},
        "spec": {"image": "registry.example/openclaw@sha256:" + "0" * 64},
    }
    assert person.create(plan) == "ok"
    counted = {"apiVersion": plan["apiVersion"], "kind": "Plan", "metadata": plan["metadata"], "status": {"tenants": 1}}
    refused = "status of Plans and Cells is written by the operator only"
    for other in ("webhooks", "router"):
        assert "cannot patch resource" in service(other).apply(counted, status=True)
    assert refused in person.apply(counted, status=True)
    assert service("operator").apply(counted, manager="nbhd-operator", status=True) == "ok"
    assert break_glass.apply(counted, status=True) == "ok"
    assert person("label", "plan", "sold", "shelf=top") == "ok"
