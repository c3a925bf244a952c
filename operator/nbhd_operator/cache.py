"""What the operator knows of the cluster: the last seen Tenants, Plans and Cells, with the indexes that decisions need.

Filled by a list at start and at each sweep, kept fresh by ``handlers.py``. A watch may lose a deletion, so whoever is
about to refuse something because of *another* object reads that one afresh first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from nbhd_crds.api import Cell, Plan, Tenant
from nbhd_crds.api.meta import KubernetesObject
from nbhd_operator.placement import UNSEEN, Candidate, Standing, whereabouts

T = TypeVar("T", bound=KubernetesObject)


class Key(NamedTuple):
    """Names one Tenant; what the work queue holds."""

    namespace: str
    name: str


def key_of(found: KubernetesObject) -> Key:
    """The object's key."""
    return Key(found.metadata.namespace, found.metadata.name)


class Known(NamedTuple):
    """The objects at one moment."""

    tenants: dict[Key, Tenant]
    plans: dict[Key, Plan]
    cells: dict[Key, Cell]


class Cache:
    """Last seen objects. Older versions never replace newer ones."""

    def __init__(self) -> None:
        self.tenants: dict[Key, Tenant] = {}
        self.plans: dict[Key, Plan] = {}
        self.cells: dict[Key, Cell] = {}
        self.standings: dict[Key, Standing] = {}
        """What ``keeper.py`` found out about the Cells."""
        self.turns: dict[Key, frozenset[Key]] = {}
        """By Plan: Tenants that may take its runtime now. Kept by ``turns.py``."""
        self._by_plan: defaultdict[Key, set[Key]] = defaultdict(set)
        self._stirred: set[Key] = set()
        self._by_id: defaultdict[str, set[Key]] = defaultdict(set)
        self._by_chat: defaultdict[int, set[Key]] = defaultdict(set)
        self._placed: Counter[Key] = Counter()

    def put_tenant(self, tenant: Tenant) -> set[Key]:
        """Takes a Tenant in; returns the keys of all that this may concern: whoever calls must have them looked at."""
        key = key_of(tenant)
        before = self.tenants.get(key)
        if before is not None and _known(before, tenant):
            return set()
        concerned = self.drop_tenant(key) | {key}
        self.tenants[key] = tenant
        self._by_id[tenant.spec.id].add(key)
        if tenant.status.plan:
            plan = Key(key.namespace, tenant.status.plan)
            self._by_plan[plan].add(key)
            self._stirred.add(plan)
        if tenant.spec.telegram:
            self._by_chat[tenant.spec.telegram.chat_id].add(key)
        if tenant.status.cell:
            self._placed[Key(key.namespace, tenant.status.cell)] += 1
        return concerned | self._sharing(tenant)

    def same_tenant(self, namespace: str, name: str, uid: str, version: str) -> Tenant | None:
        """The Tenant, if it is known in exactly this version."""
        have = self.tenants.get(Key(namespace, name))
        same = have is not None and (have.metadata.uid, have.metadata.resource_version) == (uid, version)
        return have if same else None

    def drop_tenant(self, key: Key) -> set[Key]:
        """Forgets a Tenant; returns the keys of those that shared something with it."""
        before = self.tenants.pop(key, None)
        if before is None:
            return set()
        self._by_id[before.spec.id].discard(key)
        if not self._by_id[before.spec.id]:
            del self._by_id[before.spec.id]
        if before.status.plan:
            plan = Key(key.namespace, before.status.plan)
            self._by_plan[plan].discard(key)
            self._stirred.add(plan)
        if before.spec.telegram:
            chat = before.spec.telegram.chat_id
            self._by_chat[chat].discard(key)
            if not self._by_chat[chat]:
                del self._by_chat[chat]
        if before.status.cell:
            self._placed[Key(key.namespace, before.status.cell)] -= 1
        return self._sharing(before)

    def known(self) -> Known:
        """What is known now; to be taken before a list, for ``replace``."""
        return Known(dict(self.tenants), dict(self.plans), dict(self.cells))

    def replace(
        self, tenants: Iterable[Tenant], plans: Iterable[Plan], cells: Iterable[Cell], known: Known
    ) -> set[Key]:
        """Takes a complete list in and forgets what is not in it; returns the keys of all that this may concern.

        ``known`` is what was known when the list began: whatever came by the watch since then is newer and stays.
        """
        found = {key_of(tenant): tenant for tenant in tenants}
        concerned: set[Key] = set()
        for key in known.tenants.keys() - found.keys():
            if self.tenants.get(key) is known.tenants[key]:
                concerned |= self.drop_tenant(key)
        for tenant in found.values():
            concerned |= self.put_tenant(tenant)
        _merge(self.plans, known.plans, plans)
        _merge(self.cells, known.cells, cells)
        return concerned

    def in_namespace(self, namespace: str) -> list[Key]:
        """Keys of the namespace's Tenants."""
        return [key for key in self.tenants if key.namespace == namespace]

    def of_plan(self, plan: Key) -> list[Tenant]:
        """Tenants for which the Plan is in force."""
        return [self.tenants[key] for key in self._by_plan.get(plan, ())]

    def stir(self, plan: Key) -> None:
        """Something that the Plan's rollout rests on has changed."""
        self._stirred.add(plan)

    def stirred(self) -> set[Key]:
        """Plans whose rollout rests on something that changed since this was last asked."""
        found, self._stirred = self._stirred, set()
        return found

    def same_id(self, tenant: Tenant) -> list[Tenant]:
        """Other Tenants with the same ``spec.id``."""
        return self._others(self._by_id.get(tenant.spec.id, set()), tenant)

    def same_chat(self, tenant: Tenant) -> list[Tenant]:
        """Other Tenants that claim the same chat."""
        if tenant.spec.telegram is None:
            return []
        return self._others(self._by_chat.get(tenant.spec.telegram.chat_id, set()), tenant)

    def candidates(self, namespace: str) -> list[Candidate]:
        """The Cells of a namespace, with all that placing a Tenant there rests on."""
        return [
            Candidate(cell, self.standing(cell), self.placed(key))
            for key, cell in self.cells.items()
            if key.namespace == namespace
        ]

    def standing(self, cell: Cell) -> Standing:
        """What is known of this very Cell as it is now."""
        known = self.standings.get(key_of(cell), UNSEEN)
        return known if known.of == whereabouts(cell) else UNSEEN

    def placed(self, cell: Key) -> int:
        """How many Tenants live in the cell."""
        return self._placed[cell]

    def _sharing(self, tenant: Tenant) -> set[Key]:
        keys = set(self._by_id.get(tenant.spec.id, ()))
        if tenant.spec.telegram:
            keys |= self._by_chat.get(tenant.spec.telegram.chat_id, set())
        return keys

    def _others(self, keys: set[Key], tenant: Tenant) -> list[Tenant]:
        return [self.tenants[key] for key in keys if key != key_of(tenant)]


def _merge(now: dict[Key, T], known: dict[Key, T], listed: Iterable[T]) -> None:
    found = {key_of(one): one for one in listed}
    for key in known.keys() | found.keys():
        if now.get(key) is not known.get(key):
            continue
        if key in found:
            now[key] = found[key]
        else:
            now.pop(key, None)


def _known(have: Tenant, offered: Tenant) -> bool:
    """True if we have this very version of the object, or a later one: the echo of our own write, for instance."""
    if have.metadata.uid != offered.metadata.uid:
        return False
    try:  # comparable as numbers by Kubernetes' own rule since 1.35 (KEP-5504)
        return int(have.metadata.resource_version) >= int(offered.metadata.resource_version)
    except ValueError:
        return False
