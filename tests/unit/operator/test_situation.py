"""Whoever is settled is left alone until anything that its resources are computed from is another."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from nbhd_crds.api import Cell, Plan, Tenant
from nbhd_crds.api.meta import PROBE_ANNOTATION, RECONCILE_POLICY_ANNOTATION
from nbhd_crds.identity import Keyring
from nbhd_operator import situation
from nbhd_operator.rollout import canonical
from nbhd_operator.settings import Platform
from nbhd_operator.situation import assess, settled
from tests.unit.operator import make
from tests.unit.operator.make import PLATFORM, RINGS, SERVED, at

TENANT = make.tenant(
    **SERVED | {"meta": SERVED["meta"] | {"annotations": {PROBE_ANNOTATION: "1"}}},
    telegram=make.telegram(),
    status={"cell": "cell-1", "plan": "basic", "observedGeneration": 1, "runtime": canonical(make.plan().spec).wire()},
)


@dataclass(frozen=True)
class Facts:
    """All that an operator knows of one tenant."""

    tenant: Tenant
    plan: Plan
    cell: Cell
    platform: Platform = PLATFORM
    rings: Mapping[str, Keyring] = field(default_factory=lambda: RINGS)
    others: tuple[Tenant, ...] = ()
    now: datetime.datetime = make.NOW

    @property
    def situation(self) -> situation.Situation:
        """As it is now."""
        cache = make.cache(self.tenant, *self.others, plans=(self.plan,), cells=(self.cell,))
        return assess(self.tenant, cache, self.platform, self.rings, self.now)

    def tenants(self, **fields: Any) -> Facts:
        """With other parts of the Tenant, by their wire names; ``meta`` and ``status`` for the rest."""
        wire = self.tenant.wire()
        meta, status = wire["metadata"] | fields.pop("meta", {}), wire["status"] | fields.pop("status", {})
        return replace(self, tenant=Tenant.parse({"metadata": meta, "spec": wire["spec"] | fields, "status": status}))


FACTS = Facts(TENANT, make.plan(), make.cell())
CANCELING = FACTS.tenants(complimentary=False, billing=make.billing("active", cancelAt=at(5)))


def at_rest(facts: Facts) -> Facts:
    """The same after a look that left nothing to do."""
    return facts.tenants(status={"inputsHash": facts.situation.inputs})


@pytest.mark.parametrize("facts", [FACTS, CANCELING])
def test_nothing_is_another(facts: Facts) -> None:
    facts = at_rest(facts)
    assert settled(facts.situation)
    assert settled(replace(facts, now=at(1)).situation)
    newer = facts.tenants(meta={"resourceVersion": "2", "labels": {"a": "b"}})
    assert settled(newer.situation)


SKIPPING = FACTS.plan.metadata.model_copy(update={"annotations": {RECONCILE_POLICY_ANNOTATION: "skip"}})
CHANGES = {
    "the spec": FACTS.tenants(preferences={"language": "de"}),
    "the credentials' version": FACTS.tenants(credentials={"version": 2}),
    "the chat": FACTS.tenants(telegram=make.telegram(43)),
    "a request to probe": FACTS.tenants(meta={"annotations": {PROBE_ANNOTATION: "2"}}),
    "the policy": FACTS.tenants(meta={"annotations": {PROBE_ANNOTATION: "1", RECONCILE_POLICY_ANNOTATION: "plan"}}),
    "the plan's policy": replace(FACTS, plan=FACTS.plan.model_copy(update={"metadata": SKIPPING})),
    "the plan's image": replace(FACTS, plan=make.plan(image=make.IMAGE[:-1] + "1")),
    "the cell": replace(FACTS, cell=make.cell(vault={"name": "another"})),
    "a key": replace(FACTS, rings={**RINGS, "bot": Keyring("bot", {"k2": b"2" * 32, **RINGS["bot"].keys})}),
    "the operator's settings": replace(FACTS, platform=replace(PLATFORM, egress_url="http://another.test")),
    "who owns the chat": replace(
        FACTS, others=(make.tenant("older", telegram=make.telegram(), meta={"creationTimestamp": at(-99)}),)
    ),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES.keys())
def test_something_is_another(changed: Facts) -> None:
    before = at_rest(FACTS)
    tenant = changed.tenants(status={"inputsHash": before.tenant.status.inputs_hash}).tenant
    assert not settled(replace(changed, tenant=tenant).situation)


def test_time_is_over() -> None:
    assert not settled(replace(at_rest(CANCELING), now=at(6)).situation)


def test_another_operator_writes_other_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    before = at_rest(FACTS)
    monkeypatch.setattr(situation, "TEMPLATE_VERSION", situation.TEMPLATE_VERSION + 1)
    assert not settled(before.situation)
