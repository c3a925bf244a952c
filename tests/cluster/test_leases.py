"""The Lease on the real API server: preconditions, times, and what the operator's ServiceAccount may do with it."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api.roles import LEASE, lease_role
from nbhd_crds.client import Lease, Leases, connect, is_conflict, micro_time
from nbhd_local.cluster import Cluster
from nbhd_operator.events import Change, Recorder, poster
from nbhd_operator.metrics import Metrics
from tests.unit.operator import make

Kubeconfigs = Callable[[str], Path]
WHOLE_SECOND = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)
"""The moments that the client and the API server do not agree on."""


@pytest.fixture
async def leases(cluster: Cluster, namespace: str, service_kubeconfig: Kubeconfigs) -> AsyncIterator[Leases]:
    """The operator's Lease, as the operator."""
    cluster.apply(*lease_role(namespace))
    async with await connect(service_kubeconfig("operator")) as api:
        yield Leases(api, namespace, LEASE)


async def test_only_the_version_that_was_read_is_replaced(leases: Leases) -> None:
    assert await leases.get() is None
    made = await leases.create(Lease().held_by("one", 10, WHOLE_SECOND))
    with pytest.raises(ApiException) as refused:
        await leases.create(Lease().held_by("two", 10, WHOLE_SECOND))
    assert is_conflict(refused.value)
    kept = await leases.replace(made.held_by("one", 10, WHOLE_SECOND + datetime.timedelta(microseconds=5)))
    with pytest.raises(ApiException) as refused:
        await leases.replace(made.held_by("two", 10, WHOLE_SECOND))
    assert is_conflict(refused.value)
    free = await leases.replace(kept.held_by("", 1, WHOLE_SECOND))
    taken = await leases.replace(free.held_by("two", 10, WHOLE_SECOND))
    assert await leases.get() == taken
    assert (taken.holder, taken.seconds, taken.transitions, taken.acquired) == ("two", 10, 2, micro_time(WHOLE_SECOND))


async def test_the_operator_may_use_its_own_lease_only(
    leases: Leases, namespace: str, service_kubeconfig: Kubeconfigs
) -> None:
    await leases.create(Lease().held_by("one", 10, WHOLE_SECOND))
    async with await connect(service_kubeconfig("operator")) as api:
        for other in (Leases(api, namespace, "another"), Leases(api, "default", LEASE)):
            with pytest.raises(ApiException) as refused:
                await other.get()
            assert refused.value.status == 403


async def test_events_are_the_operators_to_write(
    cluster: Cluster, namespace: str, service_kubeconfig: Kubeconfigs
) -> None:
    tenant = make.tenant(meta={"namespace": namespace, "name": "a" * 253})
    for service, outcome in (("operator", "posted"), ("webhooks", "failed")):
        async with await connect(service_kubeconfig(service)) as api:
            metrics = Metrics()
            recorder = Recorder(poster(api), "pod_1", metrics)
            recorder.record(tenant, Change("Warning", "NoCell", "ä" * 1000))
            await recorder.post_next()
        count = metrics.registry.get_sample_value("nbhd_operator_events_total", {"outcome": outcome})
        assert count == 1, service
    (event,) = cluster.get("-n", namespace, "events.events.k8s.io")["items"]
    assert (event["reason"], event["regarding"]["name"], event["note"]) == ("NoCell", "a" * 253, "ä" * 512)
