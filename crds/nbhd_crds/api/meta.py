"""What all our kinds share: the base model, object metadata, conditions, durations and times.

Models carry Kubernetes' camelCase names on the wire and Python's names in code. Unknown fields from a newer server are
ignored on reading; the API server itself refuses or prunes what the schema does not know.
"""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

GROUP = "nbhd.united"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FINALIZER = f"{GROUP}/finalizer"
ALLOW_DELETE_ANNOTATION = f"{GROUP}/allow-delete"
RECONCILE_POLICY_ANNOTATION = f"{GROUP}/reconcile-policy"
"""On a Tenant, or on a Plan for all its Tenants: manage (default), plan, skip or detach-on-delete."""
PROBE_ANNOTATION = f"{GROUP}/probe"
"""On a Tenant that is Ready: any new value has the operator send its container one request on the path that messages
take, which wakes it and costs an idle minute. ``status.probed`` repeats the value once the container answered."""
TAKE_OVER_ANNOTATION = f"{GROUP}/take-over"
"""On a Cell: the claim of another cluster that is gone, as the Cell's condition quotes it. Ours replaces it."""
REMOVE_ORPHANS_ANNOTATION = f"{GROUP}/remove-orphans"
"""On a Cell: a time until which the request counts, then the Azure names of the orphans to remove, all by spaces."""

# The kind of rule in a CRD's x-kubernetes-validations: a CEL expression and what a person reads when it is false.
Rule = dict[str, str]


class ApiModel(BaseModel):
    """Base of everything on the wire: immutable, camelCase by alias."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    def wire(self) -> dict[str, Any]:
        """The JSON form, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _utc(value: datetime.datetime) -> datetime.datetime:
    if value.tzinfo is None:
        message = "a time needs a time zone"
        raise ValueError(message)
    return value.astimezone(datetime.UTC) if value.utcoffset() else value


Time = Annotated[
    datetime.datetime,
    AfterValidator(_utc),
    # Not strftime, which writes the year 999 with three digits.
    PlainSerializer(lambda t: f"{t.replace(tzinfo=None).isoformat(timespec='seconds')}Z", str, when_used="json"),
    Field(json_schema_extra={"format": "date-time"}),
]
"""A moment in UTC with whole seconds, as Kubernetes' ``metav1.Time``."""

DURATION_PATTERN = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
Duration = Annotated[str, Field(pattern=DURATION_PATTERN, min_length=2, max_length=20)]
"""Whole hours, minutes and seconds such as ``168h`` or ``1m30s``."""


def seconds(duration: str) -> int:
    """Length of a ``Duration`` in seconds."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"([0-9]+)([hms])", duration))


class ObjectMeta(ApiModel):
    """The part of Kubernetes' object metadata that we read."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    finalizers: tuple[str, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Condition(ApiModel):
    """One observation of the object's state, as Kubernetes' ``metav1.Condition``."""

    type: Annotated[str, Field(description="Name of the condition, CamelCase.", max_length=64)]
    status: Annotated[str, Field(description="True, False or Unknown.", pattern="^(True|False|Unknown)$")]
    observed_generation: Annotated[int, Field(description="metadata.generation that this was computed from.")]
    last_transition_time: Annotated[Time, Field(description="When status last changed.")]
    reason: Annotated[str, Field(description="CamelCase word for why, for machines.", pattern="^[A-Za-z][A-Za-z0-9]*$")]
    message: Annotated[str, Field(description="What a person should know or do.", max_length=1024)]


class Reference(ApiModel):
    """Points at another of our objects in the same namespace."""

    name: Annotated[str, Field(description="Name of the object.", min_length=1, max_length=253)]


CONDITIONS_SCHEMA: dict[str, Any] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
}
"""How a list of conditions merges: by type."""


class KubernetesObject(ApiModel):
    """An object with metadata; the kinds add their name, ``spec`` and ``status``."""

    kind: ClassVar[str]
    plural: ClassVar[str]

    metadata: ObjectMeta = ObjectMeta()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Reads the API server's JSON; raises ``pydantic.ValidationError`` where the schema was not enforced."""
        return cls.model_validate(raw)
