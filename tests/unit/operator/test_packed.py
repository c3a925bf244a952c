"""What the cache keeps of a Tenant: all of it, in a fraction of the memory, and the facts that are searched by."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest

from nbhd_crds.api import Tenant
from nbhd_crds.api.meta import RECONCILE_POLICY_ANNOTATION
from nbhd_crds.identity import tenant_id
from nbhd_operator.packed import Container, Packer, parts
from nbhd_operator.rollout import canonical
from tests.unit.operator import make
from tests.unit.operator.make import NOW
from tests.unit.operator.memory import Small

RUNTIME = canonical(make.plan().spec)


def condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "Ångström — 雨",
        "observedGeneration": 1,
        "lastTransitionTime": NOW,
    }


FULL = make.tenant(
    "anna",
    meta={
        "generation": 3,
        "deletionTimestamp": NOW,
        "finalizers": ["nbhd.united/finalizer", "other/one"],
        "labels": {"a": "b"},
        "annotations": {RECONCILE_POLICY_ANNOTATION: "plan", "note": "ünïcode"},
    },
    planRef={"name": "plus"},
    cellRef={"name": "cell-2"},
    preferences={"timeZone": "Europe/Berlin"},
    suspended=True,
    credentials={"version": 7},
    billing=make.billing("past_due", graceSince=NOW),
    holds=[{"id": "dp_1", "reason": "Dispute", "since": NOW}],
    telegram=make.telegram(2**52),
    status={
        "observedGeneration": 3,
        "phase": "Stalled",
        "entitlement": {"state": "Grace", "reason": "PastDue", "until": NOW},
        "plan": "plus",
        "cell": "cell-2",
        "chatId": 42,
        "runtime": RUNTIME.wire(),
        "planned": [{"resource": "secret", "action": "Update", "paths": ["tags.x"]}],
        "conditions": [
            condition("Linked", "True", "ChatLinked"),
            condition("AppReady", "True", "Serving"),
            condition("UpToDate", "False", "RollingOut"),
            condition("Stalled", "True", "CellFull"),
            condition("Reconciling", "True", "NoAnswer"),
        ],
    },
)


@pytest.mark.parametrize("tenant", [FULL, make.tenant("bert")])
def test_nothing_is_lost(tenant: Tenant) -> None:
    pack = Packer()
    first = pack.of(tenant)
    pack.of(FULL.model_copy(update={"metadata": FULL.metadata.model_copy(update={"labels": {"longer": "x" * 100}})}))
    assert first.unpack() == pack.of(tenant).unpack() == tenant


def test_the_facts() -> None:
    facts = Packer().of(FULL)
    assert (facts.namespace, facts.name, facts.uid, facts.version) == ("ns", "anna", "uid-anna", "1")
    assert (facts.id, facts.chat, facts.plan, facts.cell) == ("anna00000000", 2**52, "plus", "cell-2")
    assert (facts.phase, facts.unseen, facts.moving) == ("Stalled", False, True)
    runtime = parts(RUNTIME)
    assert facts.container == Container(
        runtime, up=True, rolling=True, due=False, stalled="CellFull", silent=True, policy="plan"
    )


def test_the_facts_of_one_that_nobody_has_looked_at() -> None:
    facts = Packer().of(make.tenant("bert"))
    assert (facts.chat, facts.plan, facts.cell, facts.phase, facts.unseen, facts.moving) == (None,) * 4 + (True, True)
    assert facts.container == Container((), up=False, rolling=False, due=False, stalled="", silent=False, policy=None)


@pytest.mark.parametrize(
    ("change", "moving"),
    [
        ({}, False),
        ({"observedGeneration": 0}, True),
        ({"conditions": [condition("Reconciling", "True", "Provisioning")]}, True),
        ({"conditions": [condition("Stalled", "True", "CellFull")]}, True),
        ({"conditions": [condition("Stalled", "False", "NotStalled")]}, False),
    ],
)
def test_who_has_come_to_rest(change: dict[str, Any], moving: bool) -> None:
    assert Packer().of(make.tenant(status={"observedGeneration": 1} | change)).moving is moving


def test_what_the_api_server_notes_for_itself_is_not_kept() -> None:
    raw = {
        "kind": "Tenant",
        "metadata": {"name": "a", "managedFields": [{"x": "y" * 9000}]},
        "spec": {"id": "anna0000"},
    }
    packed = Packer()(json.dumps(raw).encode())
    assert packed.unpack().spec.id == "anna0000"
    assert len(packed.like) < 200


def test_what_is_no_tenant_is_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        Packer()(b'{"metadata": {"name": "a"}, "spec": {}}')


async def test_thousands_are_small() -> None:
    """Of each what is its own remains: its id, and what Azure calls its things."""
    small = Small()
    small.add("anna", 42)
    await small.settle()
    whole = small.tenant("anna").model_dump_json(by_alias=True, exclude_none=True)
    pack, sizes = Packer(), []
    for number in range(50):
        own = tenant_id("test", f"cus_{number}")
        principal = hashlib.sha256(own.encode()).hexdigest()
        text = whole.replace(small.tenant("anna").spec.id, own).replace("principal", principal)
        sizes.append(len(pack(text.encode()).text))
    assert max(sizes[1:]) < 400 < len(whole) / 5
