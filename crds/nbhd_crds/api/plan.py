"""Plan: what a price buys."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from nbhd_crds.api.meta import CONDITIONS_SCHEMA, ApiModel, Condition, Duration, KubernetesObject, Rule

Image = Annotated[
    str,
    Field(
        description="OpenClaw image of the tenants, by digest: registry/name@sha256:...",
        pattern=r"^[a-z0-9.:-]+(/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}$",
        max_length=512,
    ),
]
Cpu = Annotated[
    str, Field(description="vCPUs of the container, in steps of 0.25.", pattern=r"^[0-4](\.(25|5|75|0|00|50))?$")
]
Memory = Annotated[
    str, Field(description="Memory of the container; Azure wants 2Gi a vCPU.", pattern=r"^[0-9](\.[05])?Gi$")
]
Cooldown = Annotated[
    Duration, Field(description="Idle time after which the app sleeps; each second awake costs money.")
]
Model = Annotated[str, Field(description="Primary model, provider/name.", pattern=r"^[a-z0-9-]+/[A-Za-z0-9._:-]+$")]


class Runtime(ApiModel):
    """The part of a plan that a container is made from: a change of it replaces the container."""

    image: Image
    cpu: Cpu
    memory: Memory
    cooldown: Cooldown
    model: Model


class Rollout(ApiModel):
    """How a change of the plan's runtime reaches its tenants."""

    max_in_flight: Annotated[
        int,
        Field(
            description="How many tenants are changed at a time; when so many do not become ready, no further one is.",
            ge=1,
            le=1000,
        ),
    ] = 5
    paused: Annotated[bool, Field(description="True: no further tenant is changed.")] = False


class PlanSpec(ApiModel):
    """What every tenant of the plan gets."""

    rules: ClassVar[list[Rule]] = []

    lookup_keys: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=200)], ...],
        Field(
            description="Stripe price lookup keys that buy this plan.",
            max_length=20,
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = ()
    image: Image
    cpu: Cpu = "1"
    memory: Memory = "2Gi"
    cooldown: Cooldown = "60s"
    model: Model = "anthropic/claude-sonnet-4-5"
    grace: Annotated[Duration, Field(description="How long service goes on after a payment failed.")] = "168h"
    retention: Annotated[Duration, Field(description="How long data is kept in Azure after a subscription ended.")] = (
        "720h"
    )
    rollout: Annotated[Rollout, Field(description="How a change reaches the plan's tenants.")] = Rollout()


class RuntimeCount(ApiModel):
    """How many tenants still run one runtime."""

    image: Annotated[str, Field(description="Its image.", max_length=512)]
    runtime: Annotated[str, Field(description="Short hash of image, size, cooldown and model.", max_length=16)]
    tenants: Annotated[int, Field(description="How many run it.", ge=0)]


class PlanStatus(ApiModel):
    """How far the plan has reached its tenants."""

    observed_generation: Annotated[int | None, Field(description="metadata.generation that was acted on.")] = None
    tenants: Annotated[int | None, Field(description="Tenants of the plan that have a container.")] = None
    updated: Annotated[int | None, Field(description="Of these, how many run the plan's runtime and are ready.")] = None
    updating: Annotated[int | None, Field(description="How many are being changed to it, or do not come up.")] = None
    waiting: Annotated[int | None, Field(description="How many still run another one and wait for their turn.")] = None
    runtimes: Annotated[
        tuple[RuntimeCount, ...],
        Field(
            description="Who runs what; the plan's own runtime comes first.",
            max_length=10,
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
        ),
    ] = ()
    conditions: Annotated[
        tuple[Condition, ...],
        Field(description="Ready, Reconciling, Stalled.", max_length=8, json_schema_extra=CONDITIONS_SCHEMA),
    ] = ()


class Plan(KubernetesObject):
    """What a price buys: size, image, cooldown, grace and retention."""

    kind: ClassVar[str] = "Plan"
    plural: ClassVar[str] = "plans"

    spec: PlanSpec
    status: PlanStatus = PlanStatus()
