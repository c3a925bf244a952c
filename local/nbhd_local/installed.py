"""The platform as an installer runs it: its chart on a real node, in real Pods, against emulators beside them.

``python -m nbhd_local.installed`` runs inside the node's network (``demo_node.py`` starts it there) and tells the same
story as ``demo.py``. The services get what they get in production: values, Secrets, a CA, their ServiceAccounts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbhd_crds.client import Tenants, connect
from nbhd_local import demo, tools
from nbhd_local.azure import Workload
from nbhd_local.cluster import Cluster, ClusterError
from nbhd_local.node import ADDRESS
from nbhd_local.services import ServiceError
from nbhd_local.story import Story, StoryError
from nbhd_local.wiring import BOT_ID, BOT_USERNAME, PLATFORM
from nbhd_local.world import IMAGE, Addresses, Emulators, World, cell, emulating

RELEASE = "nbhd"
NAMESPACE = "nbhd-system"
CHART = tools.ROOT / "charts" / "nbhd-united"
_SECRETS, _LINK_KEYS, _CA, _CLOCK = "nbhd-secrets", "nbhd-link-keys", "emulators-ca", "clock"
_INSTALL_SECONDS = 120


def addresses() -> Addresses:
    """Where the chart's Services answer, for whoever asks the cluster's DNS."""

    def root(service: str, port: int) -> str:
        return f"http://{service}.{NAMESPACE}.svc.cluster.local:{port}"

    return Addresses.of(router=root("router", 8000), egress=root("router", 8001), webhooks=root("webhooks", 8000))


def values(emulators: Emulators, image: str) -> dict[str, Any]:
    """What an installer writes down, for the emulators instead of Azure, Stripe and Telegram."""
    ours, azure = addresses(), emulators.azure
    repository, _, tag = image.rpartition(":")
    return {
        "platform": {"id": PLATFORM},
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "urls": {
            "website": ours.frontend,
            "telegram": ours.telegram_hook,
            "egress": ours.egress,
            "models": f"http://{ADDRESS}:9/v1",  # nobody: the stand-in asks no model
        },
        "azure": {
            "mock": True,
            "clientId": azure.client_id,
            "tenantId": azure.tenant_id,
            "subscriptionId": azure.subscription_id,
            "keyVaultName": azure.vault_name,
            "armUrl": azure.arm_url,
            "authorityHost": azure.authority_url,
        },
        "telegram": {
            "botId": BOT_ID,
            "botUsername": BOT_USERNAME,
            "apiUrl": emulators.telegram.api_url,
            "linkUrl": emulators.telegram.web_url,
        },
        "stripe": {"prices": emulators.prices, "apiUrl": emulators.stripe.api_url},
        "openclaw": {"image": IMAGE},
        "cells": {"local-1": cell(azure)["spec"]},
        "caBundle": {"configMap": _CA},
        "clock": {"existingClaim": _CLOCK},
        "ingress": {"enabled": False},
    }


def beforehand(emulators: Emulators) -> list[dict[str, Any]]:
    """What exists before the chart is installed: a restricted namespace, the platform's secrets, a CA, a clock."""
    secrets, stripe = emulators.secrets, emulators.stripe
    platform = {
        **{f"NBHD_{name}_KEYS": ring for name, ring in secrets.keyrings.items() if name != "LINK"},
        "TELEGRAM_BOT_TOKEN": secrets.bot_token,
        "TELEGRAM_WEBHOOK_SECRET": secrets.telegram_webhook,
        "STRIPE_TEST_SECRET_KEY": stripe.secret_key,
        "STRIPE_WEBHOOK_SECRETS": secrets.stripe_webhook,
    }
    volume = {"storage": "1Mi"}
    return [
        _object("Namespace", NAMESPACE, metadata={"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}),
        _object("Secret", _SECRETS, stringData=platform),
        _object("Secret", _LINK_KEYS, stringData={"keys": secrets.keyrings["LINK"]}),
        _object("ConfigMap", _CA, data={"ca.pem": emulators.authority.bundle_path.read_text()}),
        _object(
            "PersistentVolume",
            f"{NAMESPACE}-clock",
            spec={
                "capacity": volume,
                "accessModes": ["ReadOnlyMany"],
                "storageClassName": "",
                "hostPath": {"path": str(emulators.clock.path.parent)},
                "claimRef": {"namespace": NAMESPACE, "name": _CLOCK},
            },
        ),
        _object(
            "PersistentVolumeClaim",
            _CLOCK,
            spec={
                "accessModes": ["ReadOnlyMany"],
                "storageClassName": "",
                "resources": {"requests": volume},
                "volumeName": f"{NAMESPACE}-clock",
            },
        ),
    ]


def _object(kind: str, name: str, *, metadata: dict[str, Any] | None = None, **content: Any) -> dict[str, Any]:
    namespace = {} if kind in ("Namespace", "PersistentVolume") else {"namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **namespace, **(metadata or {})}, **content}


@dataclass(frozen=True)
class Helm:
    """Helm as the administrator."""

    cluster: Cluster

    def __call__(self, *args: str, timeout: float = _INSTALL_SECONDS + 60) -> str:
        """Runs Helm and returns what it printed. Raises ``ClusterError``."""
        command = [str(tools.helm()), f"--kubeconfig={self.cluster.kubeconfig}", f"--namespace={NAMESPACE}", *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            raise ClusterError(f"helm {' '.join(args[:3])}: {done.stderr.strip()[-2000:]}")
        return done.stdout


def chart(folder: Path, *overrides: str, also: Sequence[Path] = (), at: Path = CHART) -> list[str]:
    """Arguments of ``helm install`` and ``helm upgrade``; ``overrides`` are ``path=value``, ``also`` more values."""
    sets = [f"--set={override}" for override in overrides]
    return [
        RELEASE,
        str(at),
        *(f"--values={path}" for path in (folder / "values.json", *also)),
        *sets,
        "--wait",
        f"--timeout={_INSTALL_SECONDS}s",
    ]


@asynccontextmanager
async def beside(folder: Path, cluster: Cluster, image: str, namespace: str = "nbhd-tenants") -> AsyncIterator[World]:
    """Emulators on the node's address, and all that an installer has before the chart, ``values.json`` included."""
    keys = json.loads(await asyncio.to_thread(cluster.kubectl, "get", "--raw", "/openid/v1/jwks"))
    workload = Workload(f"system:serviceaccount:{NAMESPACE}:operator", keys)
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(await connect(cluster.kubeconfig))
        emulators = await stack.enter_async_context(emulating(folder, host=ADDRESS, workload=workload))
        world = World(
            **vars(emulators), addresses=addresses(), namespace=namespace, cluster=cluster, tenants=Tenants(api)
        )
        world.stripe.webhook_url = world.addresses.stripe_hook
        await asyncio.to_thread(cluster.apply, *beforehand(emulators))
        (folder / "values.json").write_text(json.dumps(values(emulators, image)))
        yield world


@asynccontextmanager
async def running(folder: Path, cluster: Cluster, image: str) -> AsyncIterator[World]:
    """The same, and the chart installed. Uninstalls nothing: the node goes."""
    async with beside(folder, cluster, image) as world:
        await asyncio.to_thread(Helm(cluster), "install", *chart(folder))
        yield world


async def tell(folder: Path, cluster: Cluster, image: str) -> int:
    """The story; returns the exit status."""
    story = Story()
    try:
        story.tell("Installing the chart: three services from the built image, in a restricted namespace …")
        async with running(folder, cluster, image) as world:
            story.add("helm install --wait", time.monotonic() - story.started)
            story.show(await asyncio.to_thread(cluster.kubectl, "-n", NAMESPACE, "get", "pods,services"))
            await demo.tell(story, world)
            story.table()
    except (StoryError, ServiceError, ClusterError, AssertionError) as problem:
        with contextlib.suppress(ClusterError):
            story.show(cluster.kubectl("-n", NAMESPACE, "get", "pods,events"))
        story.fail(problem)
        return 1
    story.tell("\nEvery step held, in Pods that the chart installed.")
    return 0


def ask_the_clusters_dns(folder: Path) -> None:
    """Names of Services resolve in this process and its children. Needs a mount namespace of our own."""
    resolver = folder / "resolv.conf"
    resolver.write_text(f"nameserver {ADDRESS}\n")
    subprocess.run(["mount", "--bind", str(resolver), "/etc/resolv.conf"], check=True)


def main() -> None:
    """Called inside the node's network by ``demo_node.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("folder", "kubeconfig", "image"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    folder = Path(given.folder)
    ask_the_clusters_dns(folder)
    cluster = Cluster(Path(given.kubeconfig), tools.kubectl())
    sys.exit(asyncio.run(tell(folder, cluster, given.image)))


if __name__ == "__main__":
    main()
