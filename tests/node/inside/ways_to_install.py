"""Every way to install the platform, one after the other, in real Pods on one node: each comes up, and goes again.

``story_installed.py`` follows in the same process and node: what is left behind here would show there.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from nbhd_local.chart.manifests import MANIFESTS
from nbhd_local.installed import CHART, NAMESPACE, RELEASE, Helm, chart
from nbhd_local.world import World
from tests.node.inside.commands import helm, kubectl, release, versions

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

SERVICES = ("operator", "router", "webhooks")
TENANTS = "nbhd-tenants"


def tenant(name: str) -> str:
    """A subscriber whom nobody has to pay for."""
    metadata = {"name": name, "namespace": TENANTS}
    spec = {"id": f"{name}0000", "complimentary": True, "planRef": {"name": "basic"}}
    return json.dumps({"apiVersion": "nbhd.united/v1alpha1", "kind": "Tenant", "metadata": metadata, "spec": spec})


async def serves(world: World, name: str) -> None:
    """The installation does its work: a Tenant is taken through Azure, and away again."""
    await kubectl(world, "create", "-f", "-", stdin=tenant(name))
    prepared = "--for=jsonpath={.status.phase}=AwaitingLink"
    await kubectl(world, "-n", TENANTS, "wait", f"tenant/{name}", prepared, "--timeout=60s")
    await kubectl(world, "-n", TENANTS, "delete", "tenant", name, "--timeout=60s")


async def gone(world: World) -> None:
    """No Pod is left of what was removed."""
    ours = f"--selector=app.kubernetes.io/name in ({','.join(SERVICES)})"
    await kubectl(world, "wait", "--for=delete", "pods", ours, "--timeout=90s")


def overlay(world: World) -> Path:
    """A folder as ``manifests/overlays/example`` shows it, for the emulators instead of Azure, Stripe and Telegram."""
    folder = world.folder / "overlay"
    folder.mkdir()
    rendered = Helm(world.cluster)("template", *chart(world.folder)[:3])
    patches: list[dict[str, Any]] = []
    supply: list[dict[str, Any]] = []
    for one in yaml.safe_load_all(rendered):
        if one["kind"] in ("Plan", "Cell"):
            supply.append(one)
        if one["kind"] == "Deployment":
            pod = one["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            settings = {key: container[key] for key in ("name", "env", "volumeMounts", "imagePullPolicy")}
            patched = {"containers": [settings], "volumes": pod["volumes"]}
            head = {key: one[key] for key in ("apiVersion", "kind")}
            metadata = {key: one["metadata"][key] for key in ("name", "namespace")}
            patches.append({**head, "metadata": metadata, "spec": {"template": {"spec": patched}}})
    image, _, tag = os.environ["NBHD_NODE_IMAGE"].rpartition(":")
    (folder / "settings.yaml").write_text(yaml.safe_dump_all(patches))
    (folder / "supply.yaml").write_text(yaml.safe_dump_all(supply))
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(MANIFESTS / "base", folder.resolve())],
        "images": [{"name": "nbhd-united", "newName": image, "newTag": tag}],
        "patches": [{"path": "settings.yaml"}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder


async def test_the_manifests(site: World) -> None:
    """``kubectl apply`` on an empty cluster; a second one changes nothing."""
    folder = await asyncio.to_thread(overlay, site)
    apply = ("apply", "--server-side", "--validate=strict", "--field-manager=git")
    await kubectl(site, *apply, "-k", str(folder))
    await kubectl(site, "wait", "--for=condition=Established", "crd/cells.nbhd.united", "--timeout=30s")
    await kubectl(site, *apply, "-f", str(folder / "supply.yaml"))
    for service in SERVICES:
        await kubectl(site, "rollout", "status", f"deployment/{service}", "--timeout=90s")
    await serves(site, "manifested")
    text = await kubectl(site, "kustomize", str(folder))
    before = await versions(site, text)
    await kubectl(site, *apply, "-k", str(folder))
    await kubectl(site, *apply, "-f", str(folder / "supply.yaml"))
    assert await versions(site, text) == before

    ours = [one for one in yaml.safe_load_all(text) if one["kind"] != "Namespace"]
    guards_first = sorted(ours, key=lambda one: "Admission" not in one["kind"])
    await kubectl(site, "delete", "--ignore-not-found", "-f", "-", stdin=yaml.safe_dump_all(guards_first))
    await gone(site)
    # The Tenants' namespace holds the claim of the cells, so it is handed over to Helm instead of made anew.
    await kubectl(site, "label", "namespace", TENANTS, "app.kubernetes.io/managed-by=Helm")
    owner = (f"meta.helm.sh/release-name={RELEASE}", f"meta.helm.sh/release-namespace={NAMESPACE}")
    await kubectl(site, "annotate", "namespace", TENANTS, *owner)


@pytest.mark.parametrize("values", ["ha", "strict"])
async def test_a_value_set(site: World, values: str) -> None:
    """Helm installs, tests, applies again without a change, and uninstalls; ``ha`` keeps the policies.

    Default values are in ``story_installed.py``.
    """
    given = chart(site.folder, "image.pullPolicy=Never", also=[CHART / "ci" / f"{values}-values.yaml"])
    await helm(site, "install", *given)
    tested = await helm(site, "test", RELEASE, "--timeout=120s")
    assert tested.count("Succeeded") == len(SERVICES)
    assert "Failed" not in tested
    await serves(site, f"tried{values}"[:8].ljust(8, "0"))
    before = await release(site)
    await helm(site, "upgrade", *given)
    assert await release(site) == before
    await helm(site, "uninstall", RELEASE, "--wait", "--timeout=90s")
    await gone(site)
