"""The whole life of a subscription, from first payment to last deletion and back, as its people see it.

The chat and the phases are reviewed text files beside this test. After a wanted change, write them anew with
``NBHD_WRITE_EXPECTED=1 make test`` and review the difference.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbhd_crds.api import Tenant
from nbhd_local.life import live
from nbhd_local.people import Subscriber
from nbhd_local.world import World
from tests.e2e.conftest import StartWorld
from tests.faults.life import ABOUT_WAITING

HERE = Path(__file__).parent
# A Tenant that tells that kubectl has begun to watch.
SIGNAL: dict[str, Any] = {
    "apiVersion": "nbhd.united/v1alpha1",
    "kind": "Tenant",
    "metadata": {"name": "signal"},
    "spec": {"id": "signal0000000"},
}
PASSING = ("Pending/AwaitingPayment", "Provisioning  basic  Starting")


def as_expected(name: str, text: str) -> None:
    """Compares with the reviewed file."""
    path = HERE / name
    if os.environ.get("NBHD_WRITE_EXPECTED"):
        path.write_text(text)
    assert _certain(text) == _certain(path.read_text()), f"{name} differs; see this file's docstring"


def _certain(text: str) -> list[str]:
    """The lines without those that a quick machine skips: a state that was over before anybody looked."""
    certain = [line for line in text.splitlines() if not any(passing in line for passing in PASSING)]
    return [line for line, _ in itertools.groupby(certain)]


@pytest.mark.timeout(300)
async def test_the_whole_life(start_world: StartWorld) -> None:
    async with start_world() as world:
        alice = Subscriber.meet(world, "alice", 1001)
        chapters: list[tuple[str, int]] = []

        @contextlib.contextmanager
        def chapter(title: str) -> Iterator[None]:
            chapters.append((title, len(alice.telegram.transcript)))
            yield

        async with seen_by_kubectl(world) as versions:
            await live(world, alice, chapter)
            await world.kubectl_wait("wait", "--for=condition=Ready", f"tenant/{alice.tenant}", "--timeout=60s")
        as_expected("the_whole_life_chat.txt", chat(world, alice, chapters))
        as_expected("the_whole_life_kubectl.txt", await phases(world, versions))
        keeps_the_status_promises(versions)


@contextlib.asynccontextmanager
async def seen_by_kubectl(world: World) -> Any:
    """Every version of the Tenant that a watcher is told of, as ``kubectl get tenants -w`` would show it."""
    versions: list[dict[str, Any]] = []
    watching = asyncio.Event()
    process = await asyncio.create_subprocess_exec(
        str(world.cluster.kubectl_path),
        f"--kubeconfig={world.cluster.kubeconfig}",
        *("-n", world.namespace, "get", "tenants", "-w", "-o", "json"),
        stdout=asyncio.subprocess.PIPE,
    )
    stream = process.stdout
    if stream is None:
        raise AssertionError("kubectl has an output")

    async def read() -> None:
        decoder, text = json.JSONDecoder(), ""
        while chunk := await stream.read(1 << 16):
            text += chunk.decode()
            while text.lstrip():
                try:
                    found, end = decoder.raw_decode(text.lstrip())
                except json.JSONDecodeError:
                    break
                if found["metadata"]["name"] == SIGNAL["metadata"]["name"]:
                    watching.set()
                else:
                    versions.append(found)
                text = text.lstrip()[end:]

    reading = asyncio.create_task(read())
    try:
        await asyncio.to_thread(world.cluster.apply, SIGNAL, namespace=world.namespace)
        await asyncio.wait_for(watching.wait(), 60)
        yield versions
    finally:
        process.terminate()
        await process.wait()
        await reading


def chat(world: World, person: Subscriber, chapters: list[tuple[str, int]]) -> str:
    """The transcript with its chapters, without what differs from run to run."""
    lines: list[str] = []
    for number, line in enumerate(person.telegram.transcript):
        lines += [f"\n== {title}" for title, start in chapters if start == number]
        if line.kind not in ("message", "edit") or any(note in line.text for note in ABOUT_WAITING):
            continue
        text = re.sub(r"\n?\(turn \d+, [^)]*\)", "", line.text).replace(world.frontend_url, "https://example.com")
        text = text.replace(person.tenant[-6:].upper(), "ABC123")
        text = re.sub(r"\d{1,2} [A-Z][a-z]+ \d{4}", "DATE", text)
        who = {"user": "Alice", "bot": "  bot"}[line.direction]
        mark = " (the buttons go)" if line.kind == "edit" else ""
        buttons = "".join(f" [{button}]" for button in line.buttons)
        lines.append(f"{who}{mark}: {text}{buttons}")
    return "\n".join(lines).strip() + "\n"


async def phases(world: World, versions: list[dict[str, Any]]) -> str:
    """Phase, plan and reasons of each version that shows something new, and how kstatus reads it."""
    verdicts = await asyncio.to_thread(world.cluster.kstatus, *versions)
    rows = [f"{'PHASE':<13} {'PLAN':<6} {'REASON':<17} {'ENTITLEMENT':<24} KSTATUS"]
    for version, verdict in zip(versions, verdicts, strict=True):
        status = Tenant.parse(version).status
        reason = next((c.reason for c in status.conditions if c.type == "Reconciling"), "")
        right = f"{status.entitlement.state}/{status.entitlement.reason}" if status.entitlement else ""
        row = f"{status.phase or '':<13} {status.plan or '':<6} {reason:<17} {right:<24} {verdict}"
        if row != rows[-1]:
            rows.append(row)
    return "\n".join(rows) + "\n"


def keeps_the_status_promises(versions: list[dict[str, Any]]) -> None:
    """``observedGeneration`` everywhere, and ``lastTransitionTime`` moves only with ``status``."""
    tenants = [Tenant.parse(version) for version in versions]
    for before, after in itertools.pairwise(tenants):
        assert after.status.observed_generation or not after.status.conditions
        for condition in after.status.conditions:
            assert condition.observed_generation <= after.metadata.generation
            old = before.condition(condition.type)
            if old is not None and old.status == condition.status:
                assert old.last_transition_time == condition.last_transition_time, condition.type
