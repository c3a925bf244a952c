"""Tenants as the cache keeps them: compressed, beside the few facts by which all of them are searched and counted.

A parsed Tenant takes twenty times the memory, and hardly any of thousands is looked at twice in an hour: whoever looks
at one unpacks it, in a tenth of a millisecond. Facts are read here and nowhere else.
"""

from __future__ import annotations

import functools
import zlib
from sys import intern
from typing import Any, NamedTuple

import msgspec

from nbhd_crds.api import PlanSpec, Runtime, Tenant
from nbhd_crds.api.meta import RECONCILE_POLICY_ANNOTATION, ObjectMeta
from nbhd_crds.api.tenant import SERVING
from nbhd_crds.client import Meta
from nbhd_operator.reasons import NO_ANSWER, ROLLING_OUT

_LEVEL = 3
_WINDOW = -15  # without the checksum and the header, which memory does not need


class Container(NamedTuple):
    """How a Tenant's container is, as far as its Plan's rollout and the costs rest on it. Thousands have the same."""

    runtime: tuple[str, ...]
    """What it was last made from, by ``Runtime``'s fields in their order; empty where there is none."""
    up: bool
    """It takes messages."""
    rolling: bool
    """It is being changed to its plan's new runtime."""
    due: bool
    """It should run: the Tenant has a right to service, and a chat."""
    stalled: str
    """The reason why a person is waited for, or nothing."""
    silent: bool
    """Its newest revision does not answer."""
    policy: str | None
    """The Tenant's own reconcile policy."""


class Packed(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One version of a Tenant: two are the same only if they are the same object."""

    namespace: str
    name: str
    uid: str
    version: str
    id: str
    """``spec.id``"""
    chat: int | None
    plan: str | None
    cell: str | None
    phase: str | None
    unseen: bool
    """No look has seen what its spec is now."""
    moving: bool
    """The controller has not come to rest with what it is now."""
    container: Container
    text: bytes
    like: bytes

    def unpack(self) -> Tenant:
        """The whole Tenant. Raises ``pydantic.ValidationError`` where the schema was not enforced."""
        unpacking = zlib.decompressobj(_WINDOW, self.like)
        return Tenant.model_validate_json(unpacking.decompress(self.text))


class Packer:
    """Packs Tenants by what they have in common with the longest one so far, which is almost everything."""

    def __init__(self) -> None:
        self._like = b""

    def __call__(self, text: bytes) -> Packed:
        """Packs the API server's JSON. Raises ``msgspec.MsgspecError`` for what is no Tenant."""
        text = msgspec.json.encode(_kept(text))
        found = _outline(text)
        if len(text) > len(self._like):
            self._like = text
        packing = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, zdict=self._like)
        meta, spec, status = found.metadata, found.spec, found.status
        unseen = status.observed_generation != meta.generation
        return Packed(
            namespace=intern(meta.namespace),
            name=meta.name,
            uid=meta.uid,
            version=meta.resource_version,
            id=spec.id,
            chat=spec.telegram.chat_id if spec.telegram else None,
            plan=_shared(status.plan),
            cell=_shared(status.cell),
            phase=_shared(status.phase),
            unseen=unseen,
            moving=unseen
            or meta.deletion_timestamp is not None
            or any(one.status == "True" and one.type in ("Reconciling", "Stalled") for one in status.conditions),
            container=_container(found),
            text=packing.compress(text) + packing.flush(),
            like=self._like,
        )

    def of(self, tenant: Tenant) -> Packed:
        """Packs one that was parsed."""
        return self(tenant.model_dump_json(by_alias=True, exclude_none=True).encode())


def parts(runtime: Runtime | PlanSpec) -> tuple[str, ...]:
    """A runtime as ``Container`` has it."""
    return runtime.image, runtime.cpu, runtime.memory, runtime.cooldown, runtime.model


class _Telegram(msgspec.Struct, rename="camel"):
    chat_id: int


class _Spec(msgspec.Struct):
    id: str
    telegram: _Telegram | None = None


class _Condition(msgspec.Struct):
    type: str
    status: str
    reason: str


class _Entitlement(msgspec.Struct):
    state: str


class _Status(msgspec.Struct, rename="camel"):
    observed_generation: int | None = None
    phase: str | None = None
    entitlement: _Entitlement | None = None
    plan: str | None = None
    cell: str | None = None
    runtime: dict[str, str] | None = None
    conditions: tuple[_Condition, ...] = ()


class _Outline(msgspec.Struct):
    """What of a Tenant the facts are read from."""

    metadata: Meta
    spec: _Spec
    status: _Status = msgspec.field(default_factory=_Status)


def _optional(name: str) -> tuple[str, Any, Any]:
    return name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET


# What of a Tenant our models read: not what the API server notes of who wrote which field, which is half of it all.
_Meta = msgspec.defstruct("_Meta", map(_optional, ObjectMeta.model_fields), rename="camel")
_Kept = msgspec.defstruct("_Kept", [("metadata", _Meta), _optional("spec"), _optional("status")])

_outline = msgspec.json.Decoder(_Outline).decode
_kept = msgspec.json.Decoder(_Kept).decode


def _container(found: _Outline) -> Container:
    meta, status = found.metadata, found.status
    said = {one.type: (one.status, one.reason) for one in status.conditions}

    def of(kind: str) -> tuple[str, str]:
        return said.get(kind, ("", ""))

    serves = status.entitlement is not None and status.entitlement.state in SERVING
    runtime = status.runtime or {}
    return _one(
        Container(
            runtime=tuple(runtime.get(name, "") for name in Runtime.model_fields) if runtime else (),
            up=of("AppReady")[0] == "True",
            rolling=of("UpToDate")[1] == ROLLING_OUT,
            due=serves and of("Linked")[0] == "True" and meta.deletion_timestamp is None,
            stalled=of("Stalled")[1] if of("Stalled")[0] == "True" else "",
            silent=of("Reconciling") == ("True", NO_ANSWER),
            policy=(meta.annotations or {}).get(RECONCILE_POLICY_ANNOTATION),
        )
    )


@functools.lru_cache(maxsize=1024)
def _one(container: Container) -> Container:
    """Of equal ones the first."""
    return container


def _shared(word: str | None) -> str | None:
    return None if word is None else intern(word)
