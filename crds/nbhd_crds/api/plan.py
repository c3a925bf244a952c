"""Plan: what a price buys."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from nbhd_crds.api.meta import ApiModel, Duration, KubernetesObject, Rule


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
    image: Annotated[
        str,
        Field(
            description="OpenClaw image of the tenants, by digest: registry/name@sha256:...",
            pattern=r"^[a-z0-9.:-]+(/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}$",
            max_length=512,
        ),
    ]
    cpu: Annotated[
        str,
        Field(description="vCPUs of the container, in steps of 0.25.", pattern=r"^[0-4](\.(25|5|75|0|00|50))?$"),
    ] = "1"
    memory: Annotated[
        str,
        Field(description="Memory of the container; Azure wants 2Gi a vCPU.", pattern=r"^[0-9](\.[05])?Gi$"),
    ] = "2Gi"
    cooldown: Annotated[
        Duration, Field(description="Idle time after which the app sleeps; each second awake costs money.")
    ] = "60s"
    model: Annotated[
        str, Field(description="Primary model, provider/name.", pattern=r"^[a-z0-9-]+/[A-Za-z0-9._:-]+$")
    ] = "anthropic/claude-sonnet-4-5"
    grace: Annotated[Duration, Field(description="How long service goes on after a payment failed.")] = "168h"
    retention: Annotated[Duration, Field(description="How long data is kept in Azure after a subscription ended.")] = (
        "720h"
    )


class Plan(KubernetesObject):
    """What a price buys: size, image, cooldown, grace and retention."""

    kind: ClassVar[str] = "Plan"
    plural: ClassVar[str] = "plans"

    spec: PlanSpec
