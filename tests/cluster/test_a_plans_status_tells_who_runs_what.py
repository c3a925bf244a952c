"""A Plan's status on the real API server, with the operator's own rights: written on change only, fit for kstatus."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from nbhd_crds.api import Plan
from nbhd_crds.client import Objects, Tenants, connect
from nbhd_local.cluster import Cluster
from nbhd_operator.cache import Cache, Key
from nbhd_operator.events import Change
from nbhd_operator.look import MANAGER
from nbhd_operator.rollout import canonical
from nbhd_operator.turns import Turns
from tests.unit.operator import make
from tests.unit.operator.memory import changed_image

Kubeconfigs = Callable[[str], Path]
SERVED = {"Linked": ("True", "ChatLinked"), "AppReady": ("True", "Serving"), "UpToDate": ("True", "Applied")}


class Stand:
    """A Plan, its Tenants, and the part of the operator that gives turns."""

    def __init__(self, cluster: Cluster, namespace: str, plans: Objects[Plan], tenants: Tenants) -> None:
        self.cluster, self.namespace, self.plans, self.tenants = cluster, namespace, plans, tenants
        self.key = Key(namespace, "basic")
        self.cache = Cache()
        self.woken: list[str] = []
        self.told: list[Change] = []
        self.turns = Turns(
            cache=self.cache,
            plans=plans,
            wake=lambda key: self.woken.append(key.name),
            clock=make.HandClock(),
            record=lambda _, change: self.told.append(change),
        )

    async def read(self) -> dict[str, Any]:
        """What the watches bring; returns the Plan as the server has it."""
        plans = await self.plans.list(self.namespace)
        tenants = map(self.cache.pack.of, await self.tenants.list(self.namespace))
        self.cache.replace(tenants, plans, [], self.cache.known())
        self.cache.stir(self.key)
        found = await asyncio.to_thread(
            self.cluster.kubectl, "-n", self.namespace, "get", "plan", "basic", "-o", "json"
        )
        document: dict[str, Any] = json.loads(found)
        return document

    async def plan(self, **spec: Any) -> None:
        """Creates or changes the Plan."""
        document = {
            "apiVersion": "nbhd.united/v1alpha1",
            "kind": "Plan",
            "metadata": {"name": "basic"},
            "spec": {"lookupKeys": ["basic"], **spec},
        }
        await asyncio.to_thread(self.cluster.apply, document, namespace=self.namespace)
        await self.read()

    async def tenant(self, name: str, image: str) -> None:
        """A served Tenant with a container of that image."""
        document = {
            "apiVersion": "nbhd.united/v1alpha1",
            "kind": "Tenant",
            "metadata": {"name": name},
            "spec": {"id": f"{name}00000000"[:10]},
        }
        await asyncio.to_thread(self.cluster.apply, document, namespace=self.namespace)
        seen = await self.tenants.get(self.namespace, name)
        assert seen is not None
        runtime = canonical(make.plan(image=image).spec)
        status = {
            "plan": "basic",
            "runtime": runtime.wire(),
            "entitlement": {"state": "Active", "reason": "Paid"},
            "conditions": [
                {"type": kind, "status": status, "reason": reason, "message": "", "observedGeneration": 1,
                 "lastTransitionTime": "2026-11-25T12:00:00Z"}
                for kind, (status, reason) in SERVED.items()
            ],
        }  # fmt: skip
        await self.tenants.apply_status(seen, status, MANAGER)


@pytest.fixture
async def stand(cluster: Cluster, namespace: str, service_kubeconfig: Kubeconfigs) -> AsyncIterator[Stand]:
    async with await connect(service_kubeconfig("operator")) as api:
        yield Stand(cluster, namespace, Objects(api, Plan, Plan.plural), Tenants(api))


async def test_a_plans_status_tells_who_runs_what(stand: Stand) -> None:
    old, new = changed_image("1"), changed_image("2")
    await stand.plan(image=new, rollout={"maxInFlight": 1})
    await stand.tenant("anna", old)
    await stand.tenant("bert", new)
    await stand.read()
    await stand.turns.round()
    assert stand.woken == ["anna"]
    rolling = await stand.read()
    status = rolling["status"]
    assert (status["tenants"], status["updated"], status["updating"], status["waiting"]) == (2, 1, 0, 1)
    assert [(one["image"], one["tenants"]) for one in status["runtimes"]] == [(new, 1), (old, 1)]
    await stand.turns.round()
    assert (await stand.read())["metadata"]["resourceVersion"] == rolling["metadata"]["resourceVersion"]

    await stand.plan(image=new, rollout={"maxInFlight": 1, "paused": True})
    await stand.turns.round()
    paused = await stand.read()
    assert {c["type"] for c in paused["status"]["conditions"]} == {"Reconciling", "Stalled"}  # none is left behind

    await stand.plan(image=old)
    await stand.turns.round()
    await stand.tenant("bert", old)
    await stand.read()
    await stand.turns.round()
    done = await stand.read()
    verdicts = await asyncio.to_thread(stand.cluster.kstatus, rolling, paused, done)
    assert verdicts == ["InProgress", "Current", "Current"]
    assert [change.reason for change in stand.told] == ["RolloutPaused", "RollingOut", "RolledOut"]


async def test_a_newer_plan_is_not_overwritten(stand: Stand) -> None:
    await stand.plan(image=changed_image("1"))
    await asyncio.to_thread(
        stand.cluster.kubectl, "-n", stand.namespace, "label", "plan", "basic", "seen=not-yet"
    )  # the watch has not told us of it
    await stand.turns.round()
    assert "status" not in await stand.read()
    await stand.turns.round()
    assert (await stand.read())["status"]["observedGeneration"] == 1
