"""``kubectl nbhd`` against a real API server: what RBAC and admission let a person do, and nothing more.

One test goes through the real kubectl; the others call the same entry point in this process, which is much quicker.
"""

from __future__ import annotations

import base64
import datetime
import gc
import json
import os
import re
import subprocess
import sysconfig
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from nbhd_cli.main import main
from nbhd_crds.identity import Keyring, account_code, read_link
from nbhd_local.cluster import Cluster

KEYS = f"a1:{base64.urlsafe_b64encode(b'k' * 32).decode().rstrip('=')}"
SOON = "2026-03-01T00:00:00Z"
POLICY = "nbhd.united/reconcile-policy"


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    status: int
    out: str
    err: str


Run = Callable[..., Done]
Patch = Callable[..., None]


@pytest.fixture
def platform(cluster: Cluster, namespace: str) -> None:
    """The objects that an installation has."""
    objects = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "nbhd-link-keys", "namespace": namespace},
            "stringData": {"keys": KEYS},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "nbhd-platform", "namespace": namespace},
            "data": {"platformId": "nbhd", "botUsername": "nbhd_bot"},
        },
    ]
    cluster.apply(*objects)


@pytest.fixture
def nbhd(cluster: Cluster, namespace: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """``kubectl nbhd … -n NAMESPACE``, as the administrator or with another kubeconfig."""

    def run(*args: str, kubeconfig: Path | None = None) -> Done:
        where = ["-n", namespace, "--kubeconfig", str(kubeconfig or cluster.kubeconfig)]
        where += ["--system-namespace", namespace] if args[0] == "link" else []
        capsys.readouterr()
        status = 0
        with warnings.catch_warnings():
            # Who stops watching may cut a TLS handshake off. asyncio leaves that socket to the garbage collector, which
            # is nothing to a command whose process ends; here it must not surface in another test.
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                main([*args, *where])
            except SystemExit as ended:
                status = int(str(ended.code))
            if {"provision", "deprovision", "--wake"} & set(args):
                gc.collect()
        return Done(status, *capsys.readouterr())

    return run


def tenant(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "nbhd.united/v1alpha1",
        "kind": "Tenant",
        "metadata": {"name": name},
        "spec": {"id": f"{name}000000000000"[:12], **spec},
    }


def stalled(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": SOON,
    }


@pytest.fixture
def observe(cluster: Cluster, namespace: str) -> Patch:
    """Writes a status in the operator's stead."""
    instead = ["--as=oncall", "--as-group=system:masters", "--as-group=nbhd:break-glass"]

    def patch(kind: str, name: str, **status: Any) -> None:
        body = ["--subresource=status", "--type=merge", "-p", json.dumps({"status": status})]
        cluster.kubectl("patch", kind, name, "-n", namespace, *body, *instead)

    return patch


@pytest.fixture
def supply(cluster: Cluster, namespace: str) -> None:
    """A Plan and a Cell."""
    group = "/subscriptions/s/resourceGroups/g/providers"
    plan = {"image": "registry.example/openclaw@sha256:" + "0" * 64}
    cell = {
        "resourceGroup": "g",
        "location": "eastus2",
        "environmentId": f"{group}/Microsoft.App/managedEnvironments/e",
        "pullIdentityId": f"{group}/Microsoft.ManagedIdentity/userAssignedIdentities/pull",
    }
    kinds = (("Plan", "basic", plan), ("Cell", "east", cell))
    cluster.apply(
        *(
            {"apiVersion": "nbhd.united/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
            for kind, name, spec in kinds
        ),
        namespace=namespace,
    )


def test_as_a_plugin_of_the_real_kubectl(cluster: Cluster, namespace: str) -> None:
    path = f"{sysconfig.get_path('scripts')}:{cluster.kubectl_path.parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "KUBECONFIG": str(cluster.kubeconfig)}

    def kubectl(*args: str) -> str:
        command = [str(cluster.kubectl_path), *args]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    cluster.apply(tenant("ada"), tenant("bob"), namespace=namespace)
    assert kubectl("nbhd", "list", "-n", namespace, "-o", "name").split() == [
        "tenant.nbhd.united/ada",
        "tenant.nbhd.united/bob",
    ]
    assert kubectl("__complete", "nbhd", "link", "-n", namespace, "a") == "ada\n:4\n"
    assert "deprovision\tDelete tenants" in kubectl("__complete", "nbhd", "de")


@pytest.mark.usefixtures("platform")
def test_a_new_tenant_and_its_link(cluster: Cluster, namespace: str, nbhd: Run) -> None:
    made = nbhd("provision", "ada", "--plan", "basic", "--complimentary", "--no-wait")
    assert made == Done(0, "tenant.nbhd.united/ada created\n", "")
    spec = cluster.get("tenant", "ada", "-n", namespace)["spec"]
    assert (spec["planRef"], spec["complimentary"]) == ({"name": "basic"}, True)

    linked = nbhd("link", "ada")
    assert linked.status == 0, linked.err
    bot, _, token = linked.out.strip().removeprefix("https://t.me/").partition("?start=")
    assert bot == "nbhd_bot"
    assert account_code(spec["id"]) in linked.err
    assert "█" not in linked.err
    found = read_link(Keyring.parse("link", KEYS), "nbhd", token, datetime.datetime.now(datetime.UTC))
    assert (found.spec_id, found.generation) == (spec["id"], 0)

    shown = nbhd("link", "ada", "--qr", "--output", "json")
    assert json.loads(shown.out).keys() == {"link", "account", "expires"}
    assert "█" in shown.err


def test_the_printed_manifest_can_be_applied(
    cluster: Cluster, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["new", "bob", "--plan", "basic", "--cell", "east", "--complimentary", "-n", namespace])
    printed = capsys.readouterr().out
    cluster.kubectl("create", "--validate=strict", "-f", "-", stdin=printed)
    assert cluster.get("tenant", "bob", "-n", namespace)["spec"]["id"] == yaml.safe_load(printed)["spec"]["id"]


def test_provisioning_waits_and_tells(cluster: Cluster, namespace: str, nbhd: Run, observe: Patch) -> None:
    cluster.apply(tenant("ada", complimentary=True), namespace=namespace)
    moving = stalled("Reconciling", "True", "Provisioning", "Identity, secret and role are being made.")
    observe("tenant", "ada", observedGeneration=1, phase="Provisioning", conditions=[moving])
    late = nbhd("provision", "ada", "--timeout", "3s")
    assert (late.status, late.out) == (4, "tenant.nbhd.united/ada unchanged\n")
    assert "ada: Provisioning: Identity, secret and role are being made." in late.err

    still = stalled("Reconciling", "False", "AwaitingLink", "No chat yet.")
    observe("tenant", "ada", observedGeneration=1, phase="AwaitingLink", conditions=[still])
    again = nbhd("provision", "ada", "--complimentary")
    assert again.status == 0, again.err
    assert again.out.endswith("tenant.nbhd.united/ada is AwaitingLink\n")
    assert f"Next: kubectl nbhd link ada -n {namespace}" in again.err
    other = nbhd("provision", "ada", "--plan", "plus")
    assert other.status == 3
    assert 'tenant "ada" exists already, with another planRef' in other.err


def test_listing_by_state(cluster: Cluster, namespace: str, nbhd: Run, observe: Patch) -> None:
    assert "No tenants found" in nbhd("list").err
    cluster.apply(*map(tenant, ("ada", "bob", "cyd")), namespace=namespace)
    cluster.kubectl("label", "tenant", "bob", "-n", namespace, "team=a")
    observe("tenant", "ada", observedGeneration=1, phase="Stalled")
    observe("tenant", "bob", observedGeneration=1, phase="Ready", plan="basic")
    assert [line.split()[:2] for line in nbhd("list").out.splitlines()[1:]] == [
        ["cyd", "Unknown"],
        ["bob", "Ready"],
        ["ada", "Stalled"],
    ]
    assert nbhd("list", "--state", "ready,stalled", "-o", "name").out.split() == [
        "tenant.nbhd.united/bob",
        "tenant.nbhd.united/ada",
    ]
    found = json.loads(nbhd("list", "-l", "team=a", "-o", "json").out)
    assert found["kind"] == "List"
    assert found["items"] == [cluster.get("tenant", "bob", "-n", namespace, "--show-managed-fields")]


@pytest.mark.usefixtures("supply")
def test_checking(cluster: Cluster, namespace: str, nbhd: Run, observe: Patch) -> None:
    cluster.apply(*map(tenant, ("ada", "bob")), namespace=namespace)
    fine = nbhd("check")
    assert (fine.status, fine.out) == (0, "")
    assert f'2 tenants checked in namespace "{namespace}", 0 with something wrong.' in fine.err

    observe("tenant", "ada", conditions=[stalled("Stalled", "True", "NoCell", "Create a Cell in this namespace.")])
    observe("plan", "basic", conditions=[stalled("Stalled", "True", "RolloutStopped", "bob does not come up.")])
    observe("cell", "east", orphanCount=1, orphans=[{"kind": "secret", "name": "nbhd-eve00000"}])
    wrong = nbhd("check")
    assert wrong.status == 1
    assert [line.split()[:2] for line in wrong.out.splitlines()[1:]] == [
        ["tenant/ada", "NoCell"],
        ["plan/basic", "RolloutStopped"],
        ["cell/east", "Orphans"],
    ]
    assert nbhd("check", "bob").status == 0
    shown = json.loads(nbhd("check", "ada", "-o", "json").out)
    assert (shown["checked"], [finding["reason"] for finding in shown["findings"]]) == (1, ["NoCell"])
    assert nbhd("check", "eve").status == 3


def test_waking(cluster: Cluster, namespace: str, nbhd: Run, observe: Patch) -> None:
    cluster.apply(*map(tenant, ("ada", "bob")), namespace=namespace)
    observe("tenant", "ada", observedGeneration=1, phase="Ready")
    assert 'tenant "bob" cannot be woken: it is Unknown' in nbhd("check", "bob", "--wake").err
    silent = nbhd("check", "ada", "--wake", "--timeout", "1s")
    assert silent.status == 1
    assert silent.out.splitlines()[1].split()[:2] == ["tenant/ada", "NoAnswer"]
    cluster.kubectl("annotate", "tenant", "ada", "-n", namespace, "nbhd.united/probe-")

    def answer() -> None:
        asked = r"jsonpath={.metadata.annotations.nbhd\.united/probe}"
        cluster.kubectl("wait", f"--for={asked}", "tenant/ada", "-n", namespace, "--timeout=30s")
        observe("tenant", "ada", probed=cluster.kubectl("get", "tenant", "ada", "-n", namespace, "-o", asked))

    operator = threading.Thread(target=answer)
    operator.start()
    woken = nbhd("check", "--wake", "--all", "--timeout", "30s")
    operator.join()
    assert (woken.status, woken.out) == (0, "")
    assert "ada: answered" in woken.err


@pytest.mark.usefixtures("supply")
def test_planning(cluster: Cluster, namespace: str, nbhd: Run, observe: Patch) -> None:
    cluster.apply(*map(tenant, ("ada", "bob")), namespace=namespace)
    assert nbhd("plan").status == 0
    on = nbhd("plan", "ada", "plan/basic", "--on")
    assert on.out.splitlines() == [
        "plan.nbhd.united/basic only planned from now on",
        "tenant.nbhd.united/ada only planned from now on",
    ]
    for kind, name in (("plan", "basic"), ("tenant", "ada")):
        assert cluster.get(kind, name, "-n", namespace)["metadata"]["annotations"] == {POLICY: "plan"}
    due = {"resource": "containerApp", "action": "Update", "paths": ["properties.template"]}
    drifted = stalled("UpToDate", "False", "Drifted", "Somebody changed it.")
    observe("tenant", "ada", plan="basic", planned=[due], conditions=[drifted])
    shown = nbhd("plan", "plan/basic")
    assert shown.status == 1
    assert shown.out.splitlines()[-1].split() == [
        "ada", "basic", "plan", "Drifted", "Update", "containerApp", "properties.template",
    ]  # fmt: skip
    assert nbhd("plan", "bob").status == 0
    assert yaml.safe_load(nbhd("plan", "-o", "yaml").out)["tenants"][0]["planned"] == [due]

    assert nbhd("plan", "ada", "plan/basic", "--off").out.count("managed again") == 2
    assert nbhd("plan", "ada", "--off").out == "tenant.nbhd.united/ada unchanged\n"
    cluster.kubectl("annotate", "tenant", "ada", "-n", namespace, f"{POLICY}=skip")
    refused = nbhd("plan", "ada", "--on")
    assert refused.status == 3
    assert "has the reconcile policy skip" in refused.err


@pytest.mark.usefixtures("supply")
def test_orphans(cluster: Cluster, namespace: str, nbhd: Run, observe: Patch) -> None:
    nothing = nbhd("orphans")
    assert (nothing.status, nothing.out) == (0, "")
    assert "Not looked at yet: east." in nothing.err
    eve, mal = ({"kind": "secret", "name": name} for name in ("nbhd-eve00000", "nbhd-mal00000"))
    observe("cell", "east", orphanCount=2, orphans=[eve, mal])
    assert nbhd("orphans").status == 1

    refused = nbhd("orphans", "--remove", "nbhd-ada00000")
    assert (refused.status, refused.out) == (3, "")
    assert nbhd("orphans", "--remove", "nbhd-eve00000").out == "cell.nbhd.united/east removal requested\n"
    assert nbhd("orphans", "east", "--remove", "nbhd-mal00000").status == 0
    asked = cluster.get("cell", "east", "-n", namespace)["metadata"]["annotations"]["nbhd.united/remove-orphans"]
    until, *names = asked.split()
    assert names == ["nbhd-eve00000", "nbhd-mal00000"]
    left = datetime.datetime.fromisoformat(until) - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(minutes=58) < left <= datetime.timedelta(hours=1)
    assert [line.split()[-1] for line in nbhd("orphans").out.splitlines()[1:]] == ["requested", "requested"]


def test_deprovisioning(cluster: Cluster, namespace: str, nbhd: Run, service_kubeconfig: Callable[[str], Path]) -> None:
    cluster.apply(*map(tenant, ("ada", "bob", "cyd")), namespace=namespace)
    paid = tenant("bob", billing={"customerId": "cus_1", "status": "active"})
    applying = ["apply", "--server-side", "--field-manager=nbhd-billing", "-n", namespace, "-f", "-"]
    done = cluster.try_kubectl(*applying, stdin=json.dumps(paid), kubeconfig=service_kubeconfig("webhooks"))
    assert done.returncode == 0, done.stderr

    refused = nbhd("deprovision", "ada", "bob")
    assert (refused.status, refused.out) == (3, "")
    assert "bob: Stripe says active" in refused.err
    assert nbhd("deprovision", "ada", "eve").status == 3
    assert len(cluster.get("tenants", "-n", namespace)["items"]) == 3

    forced = nbhd("deprovision", "ada", "bob", "--force")
    assert forced.status == 0, forced.err
    assert forced.out.splitlines() == [
        f"tenant.nbhd.united/{name} {what}" for what in ("deletion requested", "deleted") for name in ("ada", "bob")
    ]
    cluster.kubectl(
        "patch", "tenant", "cyd", "-n", namespace, "--type=merge", "-p", '{"metadata":{"finalizers":["a.b/c"]}}'
    )
    late = nbhd("deprovision", "cyd", "--timeout", "3s")
    assert (late.status, late.out) == (4, "tenant.nbhd.united/cyd deletion requested\n")
    assert "cyd: Deleting" in late.err
    cluster.kubectl("patch", "tenant", "cyd", "-n", namespace, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')


def test_what_a_person_may_not_do_is_said(cluster: Cluster, namespace: str, nbhd: Run, service_kubeconfig: Any) -> None:
    cluster.apply(tenant("ada"), namespace=namespace)
    refused = nbhd("deprovision", "ada", kubeconfig=service_kubeconfig("router"))
    assert refused.status == 3
    assert 'error: tenants.nbhd.united "ada" is forbidden' in refused.err
    assert 'cannot list resource "plans"' in nbhd("plan", kubeconfig=service_kubeconfig("router")).err


DOCUMENT = Path(__file__).parents[2] / "docs" / "kubectl-nbhd.md"
TRIED = {
    "list": ["list"],
    "check": ["check"],
    "check --wake": ["check", "ada", "--wake", "--timeout", "1s"],
    "plan": ["plan", "ada", "plan/basic"],
    "plan --on": ["plan", "ada", "plan/basic", "--on"],
    "orphans": ["orphans", "east"],
    "orphans --remove": ["orphans", "--remove", "nbhd-eve00000"],
    "provision": ["provision", "ada"],
    "deprovision": ["deprovision", "ada"],
    "deprovision --force": ["deprovision", "bob", "--force"],
}


def documented() -> dict[str, list[dict[str, Any]]]:
    """The rights that the documentation names for each command, as RBAC writes them."""
    rows = re.findall(r"^\| `([^`]+)`[^|]*\|[^|]*\| ([^|]+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    found = {}
    for command, text in rows:
        if match := re.fullmatch(r"((?:`[a-z]+`,? ?)+) ([a-z, ]+)", text):
            verbs, kinds = re.findall("[a-z]+", match[1]), re.findall("[a-z]+", match[2])
            found[command] = [{"apiGroups": ["nbhd.united"], "resources": kinds, "verbs": verbs}]
    return found


@pytest.fixture
def people(cluster: Cluster, namespace: str, tmp_path: Path) -> dict[str, Path]:
    """For each command the kubeconfig of somebody who has the rights that it needs, and no others."""
    made: list[dict[str, Any]] = []
    names = {command: re.sub("[^a-z]+", "-", command) for command in documented()}
    rbac = "rbac.authorization.k8s.io"
    for command, rules in documented().items():
        name = names[command]
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        made += [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": name},
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
                "subjects": [subject],
            },
        ]
    cluster.apply(*made, namespace=namespace)
    found = {}
    (server,) = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"]
    for command, name in names.items():
        token = cluster.kubectl("create", "token", name, "-n", namespace).strip()
        context = {"cluster": server["name"], "user": name}
        found[command] = tmp_path / name
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [server],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": context}],
            "current-context": name,
        }
        found[command].write_text(yaml.safe_dump(content))
    return found


@pytest.mark.usefixtures("supply")
def test_each_command_works_with_the_rights_that_its_documentation_names(
    cluster: Cluster, namespace: str, nbhd: Run, observe: Patch, people: dict[str, Path]
) -> None:
    assert people.keys() == TRIED.keys()
    cluster.apply(*map(tenant, ("ada", "bob")), namespace=namespace)
    still = stalled("Reconciling", "False", "Serving", "The assistant answers.")
    observe("tenant", "ada", observedGeneration=1, phase="Ready", conditions=[still])
    observe("cell", "east", orphanCount=1, orphans=[{"kind": "secret", "name": "nbhd-eve00000"}])
    for command, words in TRIED.items():
        done = nbhd(*words, kubeconfig=people[command])
        assert "forbidden" not in done.err, command
        assert done.status in (0, 1), (command, done)


@pytest.mark.usefixtures("platform")
def test_a_tenant_that_is_not_there(nbhd: Run) -> None:
    done = nbhd("link", "nobody")
    assert (done.status, done.out) == (3, "")
    assert 'tenant "nobody" not found' in done.err


@pytest.mark.usefixtures("platform")
def test_who_may_not_read_the_key_gets_no_link(
    cluster: Cluster, namespace: str, nbhd: Run, service_kubeconfig: Callable[[str], Path]
) -> None:
    cluster.apply(tenant("ada"), namespace=namespace)
    refused = nbhd("link", "ada", kubeconfig=service_kubeconfig("webhooks"))
    assert (refused.status, refused.out) == (3, "")
    assert 'you may not read secret "nbhd-link-keys"' in refused.err


def test_without_an_installation(cluster: Cluster, namespace: str, nbhd: Run) -> None:
    cluster.apply(tenant("ada"), namespace=namespace)
    done = nbhd("link", "ada")
    assert done.status == 3
    assert "is the platform installed?" in done.err


@pytest.mark.usefixtures("platform")
def test_a_malformed_key_is_not_quoted(cluster: Cluster, namespace: str, nbhd: Run) -> None:
    cluster.apply(tenant("ada"), namespace=namespace)
    patch = json.dumps({"stringData": {"keys": "a1:supersecretbutshort"}})
    cluster.kubectl("patch", "secret", "nbhd-link-keys", "-n", namespace, "-p", patch)
    done = nbhd("link", "ada")
    assert done.status == 3
    assert 'secret "nbhd-link-keys", key "keys"' in done.err
    assert "supersecret" not in done.err
