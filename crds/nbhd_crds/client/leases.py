"""Reads and writes of one Lease, for ``nbhd_crds.election``. Every write is on exactly the version that was read."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from typing import Any

from kubernetes.aio import client

from nbhd_crds.client.objects import is_not_found


@dataclass(frozen=True)
class Lease:
    """A ``coordination.k8s.io/v1`` Lease; nobody holds it while ``holder`` is empty."""

    holder: str = ""
    seconds: int = 0
    """How long after its last change others leave the holder alone."""
    acquired: datetime.datetime | None = None
    renewed: datetime.datetime | None = None
    """By the holder's clock, for people only."""
    transitions: int = 0
    version: str = ""

    def held_by(self, holder: str, seconds: int, now: datetime.datetime) -> Lease:
        """The Lease taken, renewed or given up at ``now``."""
        if holder == self.holder:
            return replace(self, seconds=seconds, renewed=now)
        transitions = self.transitions + bool(holder)
        return replace(self, holder=holder, seconds=seconds, acquired=now, renewed=now, transitions=transitions)


class Leases:
    """The one Lease that is called ``name`` in ``namespace``."""

    def __init__(self, api: client.ApiClient, namespace: str, name: str) -> None:
        self._api = client.CoordinationV1Api(api)
        self._namespace, self._name = namespace, name

    async def get(self) -> Lease | None:
        """The Lease, or None when it does not exist."""
        try:
            return _read(await self._api.read_namespaced_lease(self._name, self._namespace))
        except client.ApiException as error:
            if is_not_found(error):
                return None
            raise

    async def create(self, lease: Lease) -> Lease:
        """Makes it. Raises ``ApiException`` with 409 if it is there already."""
        return _read(await self._api.create_namespaced_lease(self._namespace, self._body(lease)))

    async def replace(self, lease: Lease) -> Lease:
        """Writes it. Raises ``ApiException`` with 409 if the Lease is not of ``lease.version`` any more."""
        return _read(await self._api.replace_namespaced_lease(self._name, self._namespace, self._body(lease)))

    def _body(self, lease: Lease) -> Any:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace, "resourceVersion": lease.version or None},
            "spec": {
                "holderIdentity": lease.holder,
                "leaseDurationSeconds": lease.seconds,
                "acquireTime": micro_time(lease.acquired) if lease.acquired else None,
                "renewTime": micro_time(lease.renewed) if lease.renewed else None,
                "leaseTransitions": lease.transitions,
            },
        }


def micro_time(moment: datetime.datetime) -> datetime.datetime:
    """The moment for a field of Kubernetes' type MicroTime.

    The client drops the fraction of whole seconds, and the API server refuses a MicroTime without one.
    """
    return moment.replace(microsecond=moment.microsecond or 1)


def _read(raw: Any) -> Lease:
    spec = raw.spec
    return Lease(
        holder=spec.holder_identity or "",
        seconds=spec.lease_duration_seconds or 0,
        acquired=spec.acquire_time,
        renewed=spec.renew_time,
        transitions=spec.lease_transitions or 0,
        version=raw.metadata.resource_version,
    )
