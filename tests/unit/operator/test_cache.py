"""What a list may and may not take away from what the watch has told."""

from __future__ import annotations

from nbhd_operator.cache import Cache, Key
from tests.unit.operator import make


def version(number: int) -> dict[str, str]:
    return {"resourceVersion": str(number)}


def test_a_list_forgets_what_is_not_in_it() -> None:
    cache = make.cache(make.tenant("gone"), make.tenant("stays"))
    cache.replace([cache.pack.of(make.tenant("stays"))], [], [], cache.known())
    assert (list(cache.tenants), cache.plans, cache.cells) == ([Key("ns", "stays")], {}, {})


def test_what_came_by_the_watch_while_a_list_was_under_way_stays() -> None:
    cache = make.cache(make.tenant("old", meta=version(1)))
    known = cache.known()
    cache.put_tenant(make.tenant("new"))
    cache.put_tenant(make.tenant("old", meta=version(5)))
    cache.plans[Key("ns", "basic")] = changed = make.plan(cooldown="90s")
    cache.cells.pop(Key("ns", "cell-1"))
    old = cache.pack.of(make.tenant("old", meta=version(1)))
    cache.replace([old], [make.plan(), make.plan("plus")], [make.cell()], known)
    assert set(cache.tenants) == {Key("ns", "old"), Key("ns", "new")}
    assert cache.tenants[Key("ns", "old")].metadata.resource_version == "5"
    assert cache.plans[Key("ns", "basic")] is changed
    assert set(cache.plans) == {Key("ns", "basic"), Key("ns", "plus")}
    assert cache.cells == {}


def test_an_older_version_never_replaces_a_newer_one() -> None:
    cache = Cache()
    cache.put_tenant(make.tenant(meta=version(10)))
    assert cache.put_tenant(make.tenant(meta=version(9))) == set()
    assert cache.put_tenant(make.tenant(meta=version(9) | {"uid": "another"})) == {Key("ns", "anna")}


def test_a_tenant_is_the_same_in_exactly_one_version() -> None:
    tenant = make.tenant("anna", meta=version(10))
    cache = make.cache(tenant)
    same = cache.same_tenant("ns", "anna", "uid-anna", "10")
    assert same is not None
    assert same.unpack() == tenant
    assert cache.same_tenant("ns", "anna", "uid-anna", "11") is None
    assert cache.same_tenant("ns", "anna", "uid-another", "10") is None
    assert cache.same_tenant("ns", "berta", "uid-berta", "10") is None
