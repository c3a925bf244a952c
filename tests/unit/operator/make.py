"""Builders of Tenants, Plans, Cells and what else the operator's tests start from."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

from nbhd_crds.api import Cell, Plan, Tenant
from nbhd_crds.api.meta import FINALIZER
from nbhd_crds.clock import Clock
from nbhd_crds.identity import Keyring, Purpose
from nbhd_operator.cache import Cache, key_of
from nbhd_operator.placement import Standing, whereabouts
from nbhd_operator.settings import Platform
from nbhd_operator.situation import Situation, assess

NOW = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)
IMAGE = "registry.local/openclaw/openclaw@sha256:" + "0" * 64
GROUP_ID = "/subscriptions/sub/resourceGroups/rg"
PLATFORM = Platform(
    id="test",
    bot_id=7000001,
    egress_url="http://egress.test",
    model_url="http://model.test/v1",
    subscription_id="sub",
    key_vault_name="vault",
)
OPEN = Standing(ours=True, residents=frozenset())
"""Of a Cell that is ours, and empty."""
_PURPOSES: tuple[Purpose, ...] = ("bot", "webhook", "gateway", "model")
RINGS: dict[str, Keyring] = {
    purpose: Keyring(purpose, {"k1": bytes([number]) * 32}) for number, purpose in enumerate(_PURPOSES)
}


class HandClock(Clock):
    """A clock that a test moves; it stands still in between."""

    def __init__(self, now: datetime.datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime.datetime:
        return self.now

    def pause_before(self, moment: datetime.datetime) -> float:
        """Looks often: the test may move it at any moment."""
        return 0.0 if moment <= self.now else 0.005


def at(days: float) -> datetime.datetime:
    """So many days from ``NOW``."""
    return NOW + datetime.timedelta(days=days)


def tenant(name: str = "anna", **spec: Any) -> Tenant:
    """A Tenant; ``spec`` by its wire names, ``meta`` and ``status`` for the rest."""
    meta = {
        "name": name,
        "namespace": "ns",
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": at(-10),
    } | spec.pop("meta", {})
    status = spec.pop("status", {})
    return Tenant.parse({"metadata": meta, "spec": {"id": f"{name}00000000"[:12], **spec}, "status": status})


def billing(status: str, **facts: Any) -> dict[str, Any]:
    """``spec.billing``."""
    return {"customerId": "cus_1", "status": status, "lookupKey": "basic", **facts}


def telegram(chat: int = 42) -> dict[str, Any]:
    """``spec.telegram``."""
    return {"chatId": chat, "userId": chat, "generation": 1}


def plan(name: str = "basic", **spec: Any) -> Plan:
    """A Plan that sells the lookup key of its own name."""
    return Plan.parse(
        {
            "metadata": {"name": name, "namespace": "ns"},
            "spec": {"lookupKeys": [name], "image": IMAGE, "grace": "168h", "retention": "720h", **spec},
        }
    )


def cell(name: str = "cell-1", **spec: Any) -> Cell:
    """A Cell."""
    return Cell.parse(
        {
            "metadata": {"name": name, "namespace": "ns"},
            "spec": {
                "resourceGroup": "rg",
                "location": "eastus2",
                "environmentId": f"{GROUP_ID}/providers/Microsoft.App/managedEnvironments/env",
                "pullIdentityId": f"{GROUP_ID}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pull",
                **spec,
            },
        }
    )


def opened(cell: Cell) -> Standing:
    """What is known of a Cell that is ours, and empty."""
    return replace(OPEN, of=whereabouts(cell))


def cache(*tenants: Tenant, plans: tuple[Plan, ...] | None = None, cells: tuple[Cell, ...] | None = None) -> Cache:
    """A cache with one Plan and one Cell unless told otherwise."""
    found = Cache()
    plans, cells = (plan(),) if plans is None else plans, (cell(),) if cells is None else cells
    found.replace(map(found.pack.of, tenants), plans, cells, found.known())
    found.standings = {key_of(one): opened(one) for one in cells}
    return found


def situation(of: Tenant, *others: Tenant, now: datetime.datetime = NOW, **objects: Any) -> Situation:
    """The situation of a Tenant among others."""
    return assess(of, cache(of, *others, **objects), PLATFORM, RINGS, now)


SERVED: dict[str, Any] = {"meta": {"finalizers": [FINALIZER]}, "complimentary": True, "planRef": {"name": "basic"}}
"""Fields of a Tenant that is entitled and finalized; add ``telegram`` and ``status``."""
