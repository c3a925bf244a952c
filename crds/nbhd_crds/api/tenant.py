"""Tenant: one subscriber, the only thing that passes between the services.

Each part of ``spec`` and ``status`` has one owner; ``policies.py`` makes the API server hold everybody to that.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nbhd_crds.api.meta import CONDITIONS_SCHEMA, ApiModel, Condition, KubernetesObject, Reference, Rule, Time
from nbhd_crds.api.plan import Runtime

ID_PATTERN = r"^[a-z0-9]{8,20}$"


class Preferences(ApiModel):
    """How the assistant presents itself."""

    persona: Annotated[str | None, Field(description="Name of the persona.", max_length=64)] = None
    time_zone: Annotated[str | None, Field(description="IANA time zone, such as Europe/Berlin.", max_length=64)] = None
    language: Annotated[str | None, Field(description="BCP 47 tag, such as de.", max_length=35)] = None


class Credentials(ApiModel):
    """Which generation of derived credentials the tenant uses."""

    version: Annotated[
        int, Field(description="Raise it to rotate all of the tenant's credentials.", ge=1, le=2**31 - 1)
    ] = 1


class Billing(ApiModel):
    """Stripe's facts, computed from all subscriptions of the customer without a clock; never decisions."""

    customer_id: Annotated[str, Field(description="Stripe customer.", pattern="^cus_[A-Za-z0-9]+$", max_length=255)]
    status: Annotated[
        str,
        Field(
            description="Status of the subscription that counts, in Stripe's words; 'none' when there is none.",
            min_length=1,
            max_length=64,
        ),
    ]
    subscription_id: Annotated[str | None, Field(description="The subscription that counts.", max_length=255)] = None
    lookup_key: Annotated[str | None, Field(description="Lookup key of its price.", max_length=200)] = None
    price_id: Annotated[str | None, Field(description="Its price.", max_length=255)] = None
    current_period_end: Annotated[Time | None, Field(description="End of the paid period.")] = None
    grace_since: Annotated[
        Time | None, Field(description="Start of the period whose payment failed; grace counts from here.")
    ] = None
    cancel_at: Annotated[Time | None, Field(description="When the subscription is set to end.")] = None
    ended_at: Annotated[Time | None, Field(description="When the subscription ended.")] = None


class Hold(ApiModel):
    """A reason to stop service that billing's status does not show, such as a dispute."""

    id: Annotated[str, Field(description="Stripe object that caused it.", min_length=1, max_length=255)]
    reason: Annotated[str, Field(description="CamelCase word, such as Dispute.", pattern="^[A-Za-z][A-Za-z0-9]*$")]
    since: Annotated[Time, Field(description="When it began.")]


class Telegram(ApiModel):
    """The chat that the subscriber connected."""

    chat_id: Annotated[
        int,
        Field(
            description="Private chat; equal to the user's id.", ge=1, le=2**52, json_schema_extra={"format": "int64"}
        ),
    ]
    user_id: Annotated[int, Field(description="Telegram user.", ge=1, le=2**52, json_schema_extra={"format": "int64"})]
    generation: Annotated[
        int, Field(description="Raised by each linking; spends the link tokens made before.", ge=1, le=2**31 - 1)
    ]


class TenantSpec(ApiModel):
    """What is wanted for one subscriber."""

    rules: ClassVar[list[Rule]] = [
        {"rule": "self.id == oldSelf.id", "message": "spec.id is the tenant's identity for ever: make another Tenant"},
        {
            "rule": "!has(oldSelf.telegram) || (has(self.telegram) && (self.telegram == oldSelf.telegram"
            " || self.telegram.generation > oldSelf.telegram.generation))",
            "message": "spec.telegram changes only with a higher generation, else spent links would work again",
        },
    ]

    id: Annotated[
        str, Field(description="Identity of the subscriber: immutable, never used again.", pattern=ID_PATTERN)
    ]
    plan_ref: Annotated[Reference | None, Field(description="Plan, if not the one that billing's lookup key buys.")] = (
        None
    )
    cell_ref: Annotated[Reference | None, Field(description="Cell, if not left to the operator.")] = None
    preferences: Annotated[Preferences | None, Field(description="Persona, time zone, language.")] = None
    suspended: Annotated[bool, Field(description="True: service is stopped by a person; nothing is deleted.")] = False
    complimentary: Annotated[bool, Field(description="True: service without payment.")] = False
    credentials: Annotated[Credentials, Field(description="Generation of the derived credentials.")] = Credentials()
    billing: Annotated[Billing | None, Field(description="Stripe's facts. Written by webhooks only.")] = None
    holds: Annotated[
        tuple[Hold, ...],
        Field(
            description="Reasons to stop service. Written by webhooks only.",
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"]},
        ),
    ] = ()
    telegram: Annotated[Telegram | None, Field(description="The connected chat. Written by the router only.")] = None


EntitlementState = Literal["Pending", "Active", "Grace", "Suspended", "Ended"]
SERVING: tuple[EntitlementState, ...] = ("Active", "Grace")
"""While one of these lasts the assistant may work."""
Phase = Literal["Pending", "AwaitingLink", "Provisioning", "Ready", "Suspended", "Ended", "Deleting", "Stalled"]


class Entitlement(ApiModel):
    """Whether the subscriber has a right to service, derived from facts and time."""

    state: Annotated[EntitlementState, Field(description="Pending, Active, Grace, Suspended or Ended.")]
    reason: Annotated[str, Field(description="CamelCase word for why.", pattern="^[A-Za-z][A-Za-z0-9]*$")]
    until: Annotated[Time | None, Field(description="When this changes without any event.")] = None

    @property
    def serves(self) -> bool:
        """True while the assistant may work."""
        return self.state in SERVING


class AppliedIdentity(ApiModel):
    """The tenant's user-assigned identity as Azure reports it."""

    resource_id: Annotated[str, Field(description="Azure resource id.", max_length=512)]
    principal_id: Annotated[str, Field(description="Object id that roles are assigned to.", max_length=64)]
    client_id: Annotated[str, Field(description="Application id.", max_length=64)]


class AppliedCredentials(ApiModel):
    """Which derived credentials a container holds: verifiers accept these."""

    version: Annotated[int, Field(description="spec.credentials.version.")]
    bot_key: Annotated[str, Field(description="Id of the key of the bot token.", max_length=32)]
    webhook_key: Annotated[str, Field(description="Id of the key of the webhook secret.", max_length=32)]


class PlannedChange(ApiModel):
    """One change in Azure that is due and is not made: by the reconcile policy, or before its turn."""

    resource: Annotated[
        str, Field(description="identity, secret, roleAssignment or containerApp.", min_length=1, max_length=32)
    ]
    action: Annotated[Literal["Create", "Update", "Remove", "Start", "Stop"], Field(description="What would be done.")]
    paths: Annotated[
        tuple[Annotated[str, Field(max_length=256)], ...],
        Field(
            description="Where it differs from what is wanted.",
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
        ),
    ] = ()


class TenantStatus(ApiModel):
    """What is, as last observed."""

    observed_generation: Annotated[int | None, Field(description="metadata.generation that was acted on.")] = None
    phase: Annotated[Phase | None, Field(description="One word for people, derived from the conditions.")] = None
    entitlement: Annotated[Entitlement | None, Field(description="Right to service.")] = None
    plan: Annotated[str | None, Field(description="Plan in force.", max_length=253)] = None
    cell: Annotated[str | None, Field(description="Cell where the tenant lives; placed once.", max_length=253)] = None
    endpoint: Annotated[str | None, Field(description="Address of the tenant's container; opaque.", max_length=512)] = (
        None
    )
    chat_id: Annotated[
        int | None,
        Field(description="The one chat that the container serves.", json_schema_extra={"format": "int64"}),
    ] = None
    identity: Annotated[AppliedIdentity | None, Field(description="Identity in Azure.")] = None
    secret_id: Annotated[str | None, Field(description="Versioned URL of the credentials' secret.", max_length=512)] = (
        None
    )
    credentials: Annotated[AppliedCredentials | None, Field(description="Credentials in force.")] = None
    previous_credentials: Annotated[
        AppliedCredentials | None, Field(description="Credentials accepted until the new revision is ready.")
    ] = None
    revision: Annotated[
        str | None, Field(description="Newest revision of the app that took messages once.", max_length=128)
    ] = None
    probed: Annotated[
        str | None,
        Field(description="Value of the annotation nbhd.united/probe that the container last answered.", max_length=64),
    ] = None
    runtime: Annotated[Runtime | None, Field(description="What the container was last made from.")] = None
    planned: Annotated[
        tuple[PlannedChange, ...],
        Field(
            description="Changes in Azure that are due and are not made.",
            max_length=8,
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
        ),
    ] = ()
    inputs_hash: Annotated[str | None, Field(description="Hash of all inputs that were applied.", max_length=64)] = None
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            description="Ready, Reconciling, Stalled, BillingCurrent, Linked, SecretsReady, AppReady, UpToDate.",
            max_length=16,
            json_schema_extra=CONDITIONS_SCHEMA,
        ),
    ] = ()


class Tenant(KubernetesObject):
    """One subscriber of the platform and their private assistant."""

    kind: ClassVar[str] = "Tenant"
    plural: ClassVar[str] = "tenants"

    spec: TenantSpec
    status: TenantStatus = TenantStatus()

    @property
    def deleting(self) -> bool:
        """True once a delete was asked for."""
        return self.metadata.deletion_timestamp is not None

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type."""
        return next((c for c in self.status.conditions if c.type == kind), None)
