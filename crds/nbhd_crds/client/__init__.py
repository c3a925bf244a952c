"""Typed access to our objects: reads and writes on ``kubernetes.aio``, and our own watch."""

from nbhd_crds.client.connect import connect
from nbhd_crds.client.leases import Lease, Leases, micro_time
from nbhd_crds.client.listing import Listed, Lists
from nbhd_crds.client.objects import (
    ChangedError,
    GoneError,
    Objects,
    Tenants,
    is_conflict,
    is_not_found,
    namespace_uid,
)
from nbhd_crds.client.watch import Meta, Watch

__all__ = [
    "ChangedError",
    "GoneError",
    "Lease",
    "Leases",
    "Listed",
    "Lists",
    "Meta",
    "Objects",
    "Tenants",
    "Watch",
    "connect",
    "is_conflict",
    "is_not_found",
    "micro_time",
    "namespace_uid",
]
