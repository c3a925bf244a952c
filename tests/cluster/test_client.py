"""The typed client and the watch against the real API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api import Billing, Tenant
from nbhd_crds.api.meta import FINALIZER
from nbhd_crds.client import ChangedError, GoneError, Lists, Meta, Tenants, Watch, connect, is_conflict
from nbhd_local.cluster import Cluster
from nbhd_local.waiting import eventually

Kubeconfigs = Callable[[str], Path]
MANAGER = "nbhd-billing"


@pytest.fixture
async def as_webhooks(service_kubeconfig: Kubeconfigs) -> AsyncIterator[Tenants]:
    async with await connect(service_kubeconfig("webhooks")) as api:
        yield Tenants(api)


@pytest.fixture
async def as_operator(service_kubeconfig: Kubeconfigs) -> AsyncIterator[Tenants]:
    async with await connect(service_kubeconfig("operator")) as api:
        yield Tenants(api)


def billing(status: str) -> dict[str, Any]:
    return Billing(customer_id="cus_1", status=status).wire()


async def test_creating_twice_reads_the_first(as_webhooks: Tenants, namespace: str) -> None:
    first, second = await asyncio.gather(*(as_webhooks.create(namespace, "one", "one00000") for _ in range(2)))
    assert first.metadata.uid == second.metadata.uid
    assert first.spec.id == "one00000"
    assert await as_webhooks.get(namespace, "two") is None


async def test_an_apply_survives_the_operators_status_writes(
    as_webhooks: Tenants, as_operator: Tenants, namespace: str
) -> None:
    seen = await as_webhooks.create(namespace, "busy", "busy0000")
    await as_operator.apply_status(seen, {"phase": "Pending"}, "nbhd-operator")
    applied = await as_webhooks.apply_part(seen, "billing", billing("active"), MANAGER)
    assert applied.spec.billing is not None
    assert applied.status.phase == "Pending"


async def test_a_stale_apply_loses(as_webhooks: Tenants, namespace: str) -> None:
    seen = await as_webhooks.create(namespace, "race", "race0000")
    await as_webhooks.apply_part(seen, "billing", billing("active"), MANAGER)
    with pytest.raises(ChangedError):
        await as_webhooks.apply_part(seen, "billing", billing("canceled"), MANAGER)


async def test_an_apply_never_brings_a_deleted_tenant_back(
    as_webhooks: Tenants, cluster: Cluster, namespace: str
) -> None:
    seen = await as_webhooks.create(namespace, "dead", "dead0000")
    await asyncio.to_thread(cluster.kubectl, "-n", namespace, "delete", "tenant", "dead")
    with pytest.raises(GoneError):
        await as_webhooks.apply_part(seen, "billing", billing("active"), MANAGER)
    assert await as_webhooks.get(namespace, "dead") is None
    # The same name under another uid is not ours either.
    await as_webhooks.create(namespace, "dead", "other000")
    with pytest.raises(GoneError):
        await as_webhooks.apply_part(seen, "billing", billing("active"), MANAGER)


async def test_the_finalizer_is_set_and_removed_on_the_version_that_was_seen(
    as_webhooks: Tenants, as_operator: Tenants, cluster: Cluster, namespace: str
) -> None:
    seen = await as_webhooks.create(namespace, "fin", "fin00000")
    held = await as_operator.add_finalizer(seen)
    assert held.metadata.finalizers == (FINALIZER,)
    with pytest.raises(ApiException):
        await as_operator.add_finalizer(seen)
    assert await as_operator.add_finalizer(held) == held  # another replica was quicker
    await asyncio.to_thread(cluster.kubectl, "-n", namespace, "delete", "tenant", "fin", "--wait=false")
    deleting = await as_operator.get(namespace, "fin")
    assert deleting is not None
    assert deleting.deleting
    await as_operator.remove_finalizer(deleting)
    assert await as_operator.get(namespace, "fin") is None
    await as_operator.remove_finalizer(deleting)  # gone already: nothing to do


async def test_status_of_an_older_version_is_refused(
    as_webhooks: Tenants, as_operator: Tenants, namespace: str
) -> None:
    seen = await as_webhooks.create(namespace, "old", "old00000")
    await as_webhooks.apply_part(seen, "billing", billing("active"), MANAGER)
    with pytest.raises(ApiException) as refused:
        await as_operator.apply_status(seen, {"phase": "Pending"}, "nbhd-operator")
    assert is_conflict(refused.value)


async def test_listing_all(as_webhooks: Tenants, namespace: str) -> None:
    for number in range(3):
        await as_webhooks.create(namespace, f"n{number}", f"number0{number}")
    found = await as_webhooks.list(namespace)
    assert [tenant.metadata.name for tenant in found] == ["n0", "n1", "n2"]
    assert all(isinstance(tenant, Tenant) for tenant in found)


async def test_a_list_reads_what_changed_and_tells_where_a_watch_may_go_on(
    as_webhooks: Tenants, service_kubeconfig: Kubeconfigs, namespace: str
) -> None:
    made = [await as_webhooks.create(namespace, f"n{number}", f"number0{number}") for number in range(3)]
    known = {one.metadata.name: one for one in made}

    def have(meta: Meta) -> Tenant | None:
        found = known.get(meta.name)
        same = found is not None and found.metadata.resource_version == meta.resource_version
        return found if same else None

    async with await connect(service_kubeconfig("operator")) as api:
        lists = Lists(api, Tenant.plural, namespace, Tenant.model_validate_json)
        first = await lists()
        assert first.items == made
        changed = await as_webhooks.apply_part(made[1], "billing", billing("active"), MANAGER)
        second = await lists(have)
        everywhere = await Lists(api, Tenant.plural, "", Tenant.model_validate_json)(have)
    assert second.items == [made[0], changed, made[2]]
    assert second.items[0] is made[0]
    assert int(first.version) < int(changed.metadata.resource_version) <= int(second.version)
    assert {one.metadata.name for one in everywhere.items if one.metadata.namespace == namespace} == known.keys()


class Named(msgspec.Struct):
    metadata: Meta


async def test_the_watch_reports_what_is_and_what_changes(
    as_webhooks: Tenants, cluster: Cluster, service_kubeconfig: Kubeconfigs, namespace: str
) -> None:
    await as_webhooks.create(namespace, "before", "before00")
    there: dict[str, str] = {}
    async with await connect(service_kubeconfig("router")) as api:
        watch = Watch(
            api,
            Named,
            "tenants",
            namespace=namespace,
            on_set=lambda found: there.__setitem__(found.metadata.name, found.metadata.uid),
            on_delete=lambda found: there.__delitem__(found.metadata.name),
        )
        task = asyncio.create_task(watch.run())
        await asyncio.wait_for(watch.synced.wait(), 10)
        assert there.keys() == {"before"}
        await eventually(lambda: watch.current, "the watch to follow")
        await as_webhooks.create(namespace, "after", "after000")
        await eventually(lambda: there.keys() == {"before", "after"}, "the new Tenant")
        await asyncio.to_thread(cluster.kubectl, "-n", namespace, "delete", "tenant", "before")
        await eventually(lambda: there.keys() == {"after"}, "the deletion")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert not watch.current
        # Missed while disconnected: the next list sweeps it and reports the name's new owner.
        first = there["after"]
        await asyncio.to_thread(cluster.kubectl, "-n", namespace, "delete", "tenant", "after")
        await as_webhooks.create(namespace, "after", "another0")
        await as_webhooks.create(namespace, "third", "third000")
        watch._version = ""  # as after a 410
        task = asyncio.create_task(watch.run())
        await eventually(lambda: there.keys() == {"after", "third"}, "the new list")
        assert there["after"] != first
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
