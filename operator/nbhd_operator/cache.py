"""What the operator knows of the cluster: the last seen Tenants, Plans and Cells, with the indexes that decisions need.

Tenants are kept as ``packed.py`` makes them. Filled by a list at start and at each sweep, kept fresh by
``handlers.py``. A watch may lose a deletion, so whoever is about to refuse something because of *another* object reads
that one afresh first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from nbhd_crds.api import Cell, Plan, Tenant
from nbhd_crds.api.meta import KubernetesObject
from nbhd_operator.packed import Container, Packed, Packer
from nbhd_operator.placement import UNSEEN, Candidate, Standing, whereabouts

T = TypeVar("T", bound=KubernetesObject)
I = TypeVar("I")  # noqa: E741 - of an index


class Key(NamedTuple):
    """Names one Tenant; what the work queue holds."""

    namespace: str
    name: str


def key_of(found: KubernetesObject) -> Key:
    """The object's key."""
    return Key(found.metadata.namespace, found.metadata.name)


class Known(NamedTuple):
    """The objects at one moment."""

    tenants: dict[Key, Packed]
    plans: dict[Key, Plan]
    cells: dict[Key, Cell]


class Unpacked(Mapping[Key, Tenant]):
    """Whole Tenants, each parsed when it is asked for."""

    def __init__(self, packed: Mapping[Key, Packed]) -> None:
        self._packed = packed

    def __getitem__(self, key: Key) -> Tenant:
        return self._packed[key].unpack()

    def __iter__(self) -> Iterator[Key]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


class Cache:
    """Last seen objects. Older versions never replace newer ones."""

    def __init__(self) -> None:
        self.packed: dict[Key, Packed] = {}
        """All Tenants, for whoever goes through them."""
        self.tenants = Unpacked(self.packed)
        """The same, for whoever looks at one."""
        self.pack = Packer()
        self.plans: dict[Key, Plan] = {}
        self.cells: dict[Key, Cell] = {}
        self.standings: dict[Key, Standing] = {}
        """What ``keeper.py`` found out about the Cells."""
        self.turns: dict[Key, frozenset[Key]] = {}
        """By Plan: Tenants that may take its runtime now. Kept by ``turns.py``."""
        self._by_plan: defaultdict[Key, dict[Container, set[Key]]] = defaultdict(dict)
        self._stirred: set[Key] = set()
        self._by_id: dict[str, tuple[Key, ...]] = {}
        self._by_chat: dict[int, tuple[Key, ...]] = {}
        self._placed: Counter[Key] = Counter()

    def put_tenant(self, tenant: Tenant) -> set[Key]:
        """Takes a Tenant in; returns the keys of all that this may concern: whoever calls must have them looked at."""
        return self.put(self.pack.of(tenant))

    def put(self, packed: Packed) -> set[Key]:
        """The same for one that was packed already."""
        key = Key(packed.namespace, packed.name)
        before = self.packed.get(key)
        if before is not None and _known(before, packed):
            return set()
        concerned = self.drop_tenant(key) | {key}
        self.packed[key] = packed
        _add(self._by_id, packed.id, key)
        if packed.chat is not None:
            _add(self._by_chat, packed.chat, key)
        if packed.plan:
            plan = Key(key.namespace, packed.plan)
            self._by_plan[plan].setdefault(packed.container, set()).add(key)
            self._stirred.add(plan)
        if packed.cell:
            self._placed[Key(key.namespace, packed.cell)] += 1
        return concerned | self._sharing(packed)

    def same_tenant(self, namespace: str, name: str, uid: str, version: str) -> Packed | None:
        """The Tenant, if it is known in exactly this version."""
        have = self.packed.get(Key(namespace, name))
        return have if have is not None and (have.uid, have.version) == (uid, version) else None

    def drop_tenant(self, key: Key) -> set[Key]:
        """Forgets a Tenant; returns the keys of those that shared something with it."""
        before = self.packed.pop(key, None)
        if before is None:
            return set()
        _discard(self._by_id, before.id, key)
        if before.chat is not None:
            _discard(self._by_chat, before.chat, key)
        if before.plan:
            plan = Key(key.namespace, before.plan)
            alike = self._by_plan[plan][before.container]
            alike.discard(key)
            if not alike:
                del self._by_plan[plan][before.container]
            self._stirred.add(plan)
        if before.cell:
            self._placed[Key(key.namespace, before.cell)] -= 1
        return self._sharing(before)

    def known(self) -> Known:
        """What is known now; to be taken before a list, for ``replace``."""
        return Known(dict(self.packed), dict(self.plans), dict(self.cells))

    def replace(
        self, tenants: Iterable[Packed], plans: Iterable[Plan], cells: Iterable[Cell], known: Known
    ) -> set[Key]:
        """Takes a complete list in and forgets what is not in it; returns the keys of all that this may concern.

        ``known`` is what was known when the list began: whatever came by the watch since then is newer and stays.
        """
        found = {Key(tenant.namespace, tenant.name): tenant for tenant in tenants}
        concerned: set[Key] = set()
        for key in known.tenants.keys() - found.keys():
            if self.packed.get(key) is known.tenants[key]:
                concerned |= self.drop_tenant(key)
        for tenant in found.values():
            concerned |= self.put(tenant)
        _merge(self.plans, known.plans, plans)
        _merge(self.cells, known.cells, cells)
        return concerned

    def in_namespace(self, namespace: str) -> list[Key]:
        """Keys of the namespace's Tenants."""
        return [key for key in self.packed if key.namespace == namespace]

    def of_plan(self, plan: Key) -> Mapping[Container, Collection[Key]]:
        """Tenants for which the Plan is in force, by how their containers are."""
        return self._by_plan.get(plan, {})

    def stir(self, plan: Key) -> None:
        """Something that the Plan's rollout rests on has changed."""
        self._stirred.add(plan)

    def stirred(self) -> set[Key]:
        """Plans whose rollout rests on something that changed since this was last asked."""
        found, self._stirred = self._stirred, set()
        return found

    def same_id(self, tenant: Tenant) -> list[Tenant]:
        """Other Tenants with the same ``spec.id``."""
        return self._others(self._by_id.get(tenant.spec.id, ()), tenant)

    def same_chat(self, tenant: Tenant) -> list[Tenant]:
        """Other Tenants that claim the same chat."""
        if tenant.spec.telegram is None:
            return []
        return self._others(self._by_chat.get(tenant.spec.telegram.chat_id, ()), tenant)

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

    def _sharing(self, packed: Packed) -> set[Key]:
        chat = () if packed.chat is None else self._by_chat.get(packed.chat, ())
        return {*self._by_id.get(packed.id, ()), *chat}

    def _others(self, keys: Iterable[Key], tenant: Tenant) -> list[Tenant]:
        return [self.tenants[key] for key in keys if key != key_of(tenant)]


def _add(index: dict[I, tuple[Key, ...]], at: I, key: Key) -> None:
    index[at] = (*index.get(at, ()), key)


def _discard(index: dict[I, tuple[Key, ...]], at: I, key: Key) -> None:
    left = tuple(other for other in index[at] if other != key)
    if left:
        index[at] = left
    else:
        del index[at]


def _merge(now: dict[Key, T], known: dict[Key, T], listed: Iterable[T]) -> None:
    found = {key_of(one): one for one in listed}
    for key in known.keys() | found.keys():
        if now.get(key) is not known.get(key):
            continue
        if key in found:
            now[key] = found[key]
        else:
            now.pop(key, None)


def _known(have: Packed, offered: Packed) -> bool:
    """True if we have this very version of the object, or a later one: the echo of our own write, for instance."""
    if have.uid != offered.uid:
        return False
    try:  # comparable as numbers by Kubernetes' own rule since 1.35 (KEP-5504)
        return int(have.version) >= int(offered.version)
    except ValueError:
        return False
