"""Every CEL rule of the CRDs and of the admission policies: one object that it refuses and one that it accepts.

The rules are taken from what ``make generate`` writes, so one that is added without a row here fails. Nothing is really
written but what a row needs first: the API server is asked for a dry run.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from kubernetes.aio import client

from nbhd_crds.api.meta import ALLOW_DELETE_ANNOTATION, API_VERSION, GROUP, VERSION
from nbhd_crds.api.policies import BREAK_GLASS_GROUP, NAMESPACE_CONTROLLER, policies, service_account
from nbhd_crds.api.schema import crds
from nbhd_crds.client import connect
from nbhd_local.cluster import Cluster

TENANTS = "the-tenants-namespace"
PERSON = "ada@example.org"
SERVICE = {name: service_account(name) for name in ("operator", "webhooks", "router")}
PAID = {"customerId": "cus_1", "status": "active"}
CHAT = {"chatId": 42, "userId": 42, "generation": 1}
PROVIDERS = "/subscriptions/s/resourceGroups/g/providers"
_ENFORCED = 30.0


@dataclass(frozen=True)
class Rule:
    """One rule: what it belongs to, and what a person reads when it is broken."""

    owner: str
    message: str


def _of_schema(owner: str, node: Any) -> Iterator[Rule]:
    if isinstance(node, dict):
        for rule in node.get("x-kubernetes-validations", ()):
            yield Rule(owner, rule["message"])
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _of_schema(owner, child)


POLICIES = {
    document["metadata"]["name"]: document["spec"]
    for document in policies(tenants=TENANTS)
    if document["kind"] == "ValidatingAdmissionPolicy"
}
OF_SCHEMAS = [rule for crd in crds() for rule in _of_schema(crd["spec"]["names"]["kind"], crd["spec"]["versions"])]
OF_POLICIES = [Rule(name, one["message"]) for name, spec in POLICIES.items() for one in spec["validations"]]
RULES = OF_SCHEMAS + OF_POLICIES


@dataclass(frozen=True)
class Request:
    """A write that somebody asks for."""

    who: str
    verb: str
    kind: str
    name: str
    body: dict[str, Any] | None = None


@dataclass(frozen=True)
class Row:
    """What one rule refuses and accepts; ``rule`` begins its message."""

    rule: str
    refused: Request
    accepted: Request
    first: Request | None = None
    """What is really done before the accepted one."""


def patch(who: str, kind: str, name: str, **body: Any) -> Request:
    return Request(who, "patch", kind, name, body)


def delete(who: str, kind: str, name: str) -> Request:
    return Request(who, "delete", kind, name)


ALLOWED = {"annotations": {f"{GROUP}/allow-delete": "true"}}
ROWS = [
    Row(
        "spec.id is the tenant's identity for ever",
        patch(PERSON, "tenants", "plain", spec={"id": "another0"}),
        patch(PERSON, "tenants", "plain", spec={"id": "plain000", "suspended": True}),
    ),
    Row(
        "spec.telegram changes only with a higher generation",
        patch(SERVICE["router"], "tenants", "paid", spec={"telegram": CHAT | {"chatId": 43}}),
        patch(SERVICE["router"], "tenants", "paid", spec={"telegram": CHAT | {"chatId": 43, "generation": 2}}),
    ),
    Row(
        "a cell cannot move",
        patch(PERSON, "cells", "east", spec={"environmentId": f"{PROVIDERS}/Microsoft.App/managedEnvironments/f"}),
        patch(PERSON, "cells", "east", spec={"unschedulable": True}),
    ),
    Row(
        "spec.billing is written by webhooks only",
        patch(SERVICE["router"], "tenants", "plain", spec={"billing": PAID}),
        patch(SERVICE["webhooks"], "tenants", "plain", spec={"billing": PAID}),
    ),
    Row(
        "spec.holds is written by webhooks only",
        patch(PERSON, "tenants", "paid", spec={"holds": []}),
        patch(SERVICE["webhooks"], "tenants", "paid", spec={"holds": []}),
    ),
    Row(
        "spec.telegram is written by router only",
        patch(SERVICE["webhooks"], "tenants", "plain", spec={"telegram": CHAT}),
        patch(SERVICE["router"], "tenants", "plain", spec={"telegram": CHAT}),
    ),
    Row(
        "a service may change only its own part",
        patch(SERVICE["operator"], "tenants", "plain", spec={"complimentary": True}),
        patch(PERSON, "tenants", "plain", spec={"complimentary": True}),
    ),
    Row(
        "status is written by the operator only",
        patch(PERSON, "tenants/status", "plain", status={"phase": "Ready"}),
        patch(SERVICE["operator"], "tenants/status", "plain", status={"phase": "Ready"}),
    ),
    Row(
        "this Tenant is being paid for",
        delete(PERSON, "tenants", "paid"),
        delete(PERSON, "tenants", "paid"),
        first=patch(PERSON, "tenants", "paid", metadata=ALLOWED),
    ),
    Row(
        "status of Plans and Cells is written by the operator only",
        patch(PERSON, "cells/status", "east", status={"tenants": 1}),
        patch(SERVICE["operator"], "cells/status", "east", status={"tenants": 1}),
    ),
    Row(
        "subscribers live in this namespace",
        delete(PERSON, "namespaces", TENANTS),
        delete(PERSON, "namespaces", TENANTS),
        first=patch(PERSON, "namespaces", TENANTS, metadata=ALLOWED),
    ),
]


def row_of(rule: Rule) -> Row:
    found = [row for row in ROWS if rule.message.startswith(row.rule)]
    assert len(found) == 1, f"{rule.owner}: no row, or several, for {rule.message!r}"
    return found[0]


class Server:
    """The API server, asked by whom a request names; what a row calls ``TENANTS`` is ``namespace``."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._api, self.namespace = api, namespace

    async def ask(self, request: Request, *, really: bool = False) -> str:
        """What the server said, empty if it agreed."""
        headers = {"Accept": "application/json", "Impersonate-User": request.who}
        if request.who == BREAK_GLASS_GROUP:
            headers |= {"Impersonate-User": "oncall", "Impersonate-Group": BREAK_GLASS_GROUP}
        if request.body is not None:
            headers["Content-Type"] = "application/merge-patch+json"
        kind, slash, part = request.kind.partition("/")
        path = f"/api/v1/namespaces/{self.namespace}"
        if kind != "namespaces":
            path = f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/{kind}/{request.name}{slash}{part}"
        call: Any = await self._api.param_serialize(
            method=request.verb.upper(),
            resource_path=path,
            query_params=[] if really else [("dryRun", "All")],
            header_params=headers,
            body=request.body,
            auth_settings=["BearerToken"],
        )
        response = await self._api.call_api(*call)
        text = await response.read()  # type: ignore[no-untyped-call] # untyped upstream
        return "" if response.status < 300 else str(json.loads(text)["message"])


def _object(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _everything_in(namespace: str) -> dict[str, Any]:
    """RBAC that lets all who are not services do everything in the namespace: it is admission that is tried here."""
    subjects = [
        {"kind": "User", "name": PERSON},
        {"kind": "User", "name": NAMESPACE_CONTROLLER},
        {"kind": "Group", "name": BREAK_GLASS_GROUP},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "everything", "namespace": namespace},
        "roleRef": role,
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", **subject} for subject in subjects],
    }


@pytest.fixture(scope="module")
def stage(cluster: Cluster) -> Iterator[str]:
    """A namespace that is guarded as an installation guards that of its Tenants, with one of each that rows name."""
    namespace = f"t-{uuid.uuid4().hex[:10]}"
    guard = [document for document in policies(tenants=namespace) if "namespace" in document["metadata"]["name"]]
    for document in guard:  # it is not installed for all tests, and its name is everybody's
        document["metadata"]["name"] = f"{namespace}.{GROUP}"
        if "policyName" in document["spec"]:
            document["spec"]["policyName"] = f"{namespace}.{GROUP}"
    cluster.create_namespace(namespace)
    group = f"{PROVIDERS}/Microsoft.ManagedIdentity/userAssignedIdentities/pull"
    environment = f"{PROVIDERS}/Microsoft.App/managedEnvironments/e"
    cell = {"resourceGroup": "g", "location": "eastus2", "environmentId": environment, "pullIdentityId": group}
    cluster.apply(
        *guard, _everything_in(namespace), _object("Tenant", "plain", id="plain000"), _object("Cell", "east", **cell),
        namespace=namespace,
    )  # fmt: skip
    paid = _object("Tenant", "paid", id="paid0000", billing=PAID, telegram=CHAT)
    paid["spec"]["holds"] = [{"id": "dp_1", "reason": "Dispute", "since": "2026-03-01T00:00:00Z"}]
    as_break_glass = ["--as=oncall", f"--as-group={BREAK_GLASS_GROUP}", "-n", namespace, "-f", "-"]
    cluster.kubectl("create", *as_break_glass, stdin=json.dumps(paid))
    deadline = time.monotonic() + _ENFORCED
    deleting = ["delete", "namespace", namespace, "--dry-run=server"]
    while "subscribers live" not in cluster.try_kubectl(*deleting).stderr:
        assert time.monotonic() < deadline, "the guard of the namespace is not enforced"
        time.sleep(0.1)  # the API server has no event for this
    yield namespace
    # A guard is in force for a while after it was deleted, so the namespace goes as the guard itself allows it.
    cluster.kubectl("annotate", "namespace", namespace, f"{ALLOW_DELETE_ANNOTATION}=true")
    cluster.delete_namespace(namespace)
    kinds = "validatingadmissionpolicies,validatingadmissionpolicybindings"
    cluster.kubectl("delete", kinds, f"{namespace}.{GROUP}")


@pytest.fixture
async def server(cluster: Cluster, stage: str) -> AsyncIterator[Server]:
    api = await connect(cluster.kubeconfig)
    yield Server(api, stage)
    await api.close()  # type: ignore[no-untyped-call] # untyped upstream


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.owner}: {rule.message[:40]}")
async def test_each_rule_refuses_one_and_accepts_one(server: Server, rule: Rule) -> None:
    row = row_of(rule)
    assert rule.message.replace(TENANTS, server.namespace) in await server.ask(row.refused)
    if rule in OF_POLICIES:
        assert await server.ask(replace(row.refused, who=BREAK_GLASS_GROUP)) == ""
        assert await server.ask(replace(row.refused, who=NAMESPACE_CONTROLLER)) == ""
    if row.first:
        assert await server.ask(row.first, really=True) == ""
    assert await server.ask(row.accepted) == ""


def test_each_row_is_of_one_rule() -> None:
    for row in ROWS:
        assert [rule for rule in RULES if rule.message.startswith(row.rule)], row.rule
    assert len(ROWS) == len({rule.message for rule in RULES})


def test_who_is_exempt_is_tried_for_every_policy() -> None:
    for name, spec in POLICIES.items():
        conditions = [condition["name"] for condition in spec["matchConditions"]]
        assert conditions == ["not-break-glass", "not-the-namespace-controller"], name
