"""``local.enabled``: emulators, platform and a subscriber with no account anywhere, as the chart's notes tell a person.

Everything goes through `kubectl port-forward` and the pages that a browser would show.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator

import aiohttp
import pytest

from nbhd_local.installed import CHART
from nbhd_local.waiting import eventually
from nbhd_local.world import World
from tests.node.inside.commands import helm, versions

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

NAMESPACE, TENANTS, RELEASE = "nbhd-trial", "trial-tenants", "trial"
HERE = f"--namespace={NAMESPACE}"
WEBSITE, TELEGRAM = "http://localhost:8000", "http://localhost:8449"


def given() -> list[str]:
    """What a person says to Helm."""
    sets = {"image.pullPolicy": "Never", "tenants.namespace": TENANTS}
    for where, image in (("image", "NBHD_NODE_IMAGE"), ("local.image", "NBHD_NODE_LOCAL_IMAGE")):
        repository, _, tag = os.environ[image].rpartition(":")
        sets |= {f"{where}.repository": repository, f"{where}.tag": tag}
    values = CHART / "ci" / "local-values.yaml"
    settings = [f"--set={path}={value}" for path, value in sets.items()]
    return [RELEASE, str(CHART), HERE, f"--values={values}", *settings, "--wait", "--timeout=120s"]


@contextlib.asynccontextmanager
async def forwarded(world: World, target: str, *ports: str) -> AsyncIterator[None]:
    """``kubectl port-forward``, once it listens."""
    command = [str(world.cluster.kubectl_path), f"--kubeconfig={world.cluster.kubeconfig}", HERE, "port-forward"]
    command.append("--address=127.0.0.1")
    process = await asyncio.create_subprocess_exec(*command, target, *ports, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        for _ in ports:
            assert b"Forwarding from 127.0.0.1" in await process.stdout.readline()
        yield
    finally:
        process.terminate()
        await process.wait()


async def test_a_person_tries_it_out(site: World) -> None:
    cluster = site.cluster
    await asyncio.to_thread(cluster.kubectl, "create", "namespace", NAMESPACE)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    await asyncio.to_thread(cluster.kubectl, "label", "namespace", NAMESPACE, restricted)
    notes = await helm(site, "install", *given())
    assert f"kubectl -n {NAMESPACE} port-forward deploy/local 8448 8449" in notes
    async with (
        forwarded(site, "svc/webhooks", "8000"),
        forwarded(site, "deploy/local", "8448", "8449"),
        aiohttp.ClientSession() as browser,
    ):
        await subscribe_and_chat(browser)
    manifest = await helm(site, "get", "manifest", RELEASE, HERE)
    before = await versions(site, manifest)
    await helm(site, "upgrade", *given())
    assert await versions(site, manifest) == before

    allow = "nbhd.united/allow-delete=true"
    await asyncio.to_thread(cluster.kubectl, "-n", TENANTS, "annotate", "tenants", "--all", allow)
    await asyncio.to_thread(cluster.kubectl, "-n", TENANTS, "delete", "tenants", "--all", "--timeout=60s")
    await helm(site, "uninstall", RELEASE, HERE, "--wait", "--timeout=90s")
    await asyncio.to_thread(cluster.kubectl, "delete", "namespace", NAMESPACE)


async def subscribe_and_chat(browser: aiohttp.ClientSession) -> None:
    async with browser.post(f"{WEBSITE}/subscribe/basic", allow_redirects=False) as answer:
        assert answer.status == 303, re.sub(r"<style.*</style>", "", await answer.text(), flags=re.DOTALL)
        checkout = answer.headers["Location"]
    assert checkout.startswith("http://127.0.0.1:8448/")
    card = {"email": "ada@example.com", "card": "works"}
    async with browser.post(checkout, data=card, allow_redirects=False) as answer:
        welcome = answer.headers["Location"]
    assert welcome.startswith(f"{WEBSITE}/welcome?")
    links: list[str] = []

    async def linked() -> bool:
        async with browser.get(welcome) as page:
            links.extend(re.findall(rf"{TELEGRAM}/\w+\?start=([\w-]+)", html.unescape(await page.text())))
        return bool(links)

    await eventually(linked, "a link on the welcome page", 60)
    chat = f"{TELEGRAM}/chat/1001"

    async def act(what: str, value: str) -> None:
        async with browser.post(f"{chat}/{what}", json={"value": value}) as done:
            assert done.status == 200, await done.text()

    async def heard() -> str:
        async with browser.get(f"{chat}/lines") as lines:
            return json.dumps([line for line in await lines.json() if line["from"] == "bot"])

    async def hears(text: str) -> None:
        async def now() -> bool:
            return text in await heard()

        await eventually(now, f"the bot to say {text!r}", 60)

    await act("start", links[0])
    await hears("Connect")
    await act("tap", "Connect")
    await hears("now connected")
    await act("send", "is anybody in this cluster?")
    await hears("is anybody in this cluster?")
