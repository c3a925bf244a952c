"""Settled for 60 seconds: no write to Kubernetes (Leases aside) and none to Azure."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from nbhd_local.people import Subscriber
from tests.e2e.conftest import StartWorld

SECONDS = 60


def writes(audit_log: Path, namespace: str) -> list[str]:
    """Writes of our services to anything but Leases, from the API server's own audit log."""
    found = []
    for line in audit_log.read_text().splitlines():
        event = json.loads(line)
        user, target = event["user"]["username"], event.get("objectRef", {})
        if not user.startswith("system:serviceaccount:nbhd-system:") or target.get("resource") == "leases":
            continue
        if target.get("namespace") == namespace:
            found.append(f"{event['verb']} {target.get('resource')}/{target.get('subresource', '')} by {user}")
    return found


@pytest.mark.timeout(240)
async def test_nothing_moves_once_settled(start_world: StartWorld) -> None:
    async with start_world() as world:
        audit = world.cluster.audit_log
        if audit is None:
            pytest.skip("NBHD_TEST_KUBECONFIG gives a cluster whose audit log is not ours to read")
        alice, bob = Subscriber.meet(world, "alice", 1001), Subscriber.meet(world, "bob", 2002)
        await asyncio.gather(alice.subscribe("basic"), bob.subscribe("plus"))
        await asyncio.gather(alice.say("hello"), bob.say("hello"))
        for person in (alice, bob):
            await world.kubectl_wait("wait", "--for=condition=Ready", f"tenant/{person.tenant}", "--timeout=60s")
        for plan in ("basic", "plus"):
            await world.kubectl_wait("wait", "--for=jsonpath={.status.updated}=1", f"plan/{plan}", "--timeout=60s")

        assert writes(audit, world.namespace), "the audit log shows the writes of getting here"
        kubernetes, azure = len(writes(audit, world.namespace)), world.azure.writes
        await asyncio.sleep(SECONDS)  # the promise is about this span of time itself
        assert writes(audit, world.namespace)[kubernetes:] == []
        assert world.azure.writes - azure == 0
