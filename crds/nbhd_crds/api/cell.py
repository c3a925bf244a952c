"""Cell: a place in Azure where tenants can live. Growth is another Cell."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from nbhd_crds.api.meta import CONDITIONS_SCHEMA, ApiModel, Condition, KubernetesObject, Rule, Time

_RESOURCE_ID = r"^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+(/[^/]+/[^/]+)+$"


class Vault(ApiModel):
    """The cell's Key Vault; it lies in the cell's resource group."""

    name: Annotated[
        str | None,
        Field(
            description="Vault name; default: the operator's AZURE_KEY_VAULT_NAME.",
            pattern=r"^[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]$",
        ),
    ] = None
    url: Annotated[
        str | None,
        Field(description="Vault URL; default: https://NAME.vault.azure.net.", pattern="^https://", max_length=253),
    ] = None


class CellSpec(ApiModel):
    """Where the cell is."""

    rules: ClassVar[list[Rule]] = [
        {
            "rule": "self.resourceGroup == oldSelf.resourceGroup && self.environmentId == oldSelf.environmentId",
            "message": "a cell cannot move: make another Cell and mark this one unschedulable",
        }
    ]

    subscription_id: Annotated[
        str | None,
        Field(description="Azure subscription; default: the operator's AZURE_SUBSCRIPTION_ID.", max_length=64),
    ] = None
    resource_group: Annotated[
        str, Field(description="Resource group of all that is made.", min_length=1, max_length=90)
    ]
    location: Annotated[str, Field(description="Azure region, such as eastus2.", pattern="^[a-z0-9]+$", max_length=40)]
    environment_id: Annotated[
        str,
        Field(description="Resource id of the Container Apps environment.", pattern=_RESOURCE_ID, max_length=512),
    ]
    vault: Annotated[Vault, Field(description="Key Vault of the tenants' credentials.")] = Vault()
    pull_identity_id: Annotated[
        str,
        Field(
            description="Resource id of the identity that pulls images, shared by the cell.",
            pattern=_RESOURCE_ID,
            max_length=512,
        ),
    ]
    unschedulable: Annotated[bool, Field(description="True: no new tenants are placed here.")] = False


class Quota(ApiModel):
    """How much of something Azure gives, and how much of it is used."""

    used: Annotated[int, Field(description="In use, by anybody.", ge=0)]
    limit: Annotated[int, Field(description="What Azure allows.", ge=0)]


class Orphan(ApiModel):
    """Something in the cell that carries our tags, or lies where only ours do, and belongs to no Tenant."""

    kind: Annotated[str, Field(description="identity, secret, roleAssignment or containerApp.", max_length=32)]
    name: Annotated[str, Field(description="Azure name, such as nbhd-3f5a9c.", max_length=128)]
    created: Annotated[Time | None, Field(description="When Azure says that it was made.")] = None


class CellStatus(ApiModel):
    """What the operator found in the cell."""

    observed_generation: Annotated[int | None, Field(description="metadata.generation that was acted on.")] = None
    tenants: Annotated[int | None, Field(description="Tenants that live in the cell.")] = None
    role_assignments: Annotated[
        Quota | None, Field(description="Role assignments of the subscription: what bounds the number of tenants.")
    ] = None
    cores: Annotated[Quota | None, Field(description="vCPUs of the Container Apps environment.")] = None
    orphan_count: Annotated[int | None, Field(description="How many orphans there are.")] = None
    orphans: Annotated[
        tuple[Orphan, ...],
        Field(
            description="The first of them by kind and name. Nothing is removed unless a person asks for it.",
            max_length=50,
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
        ),
    ] = ()
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            description="Ready, Reconciling, Stalled, Schedulable.", max_length=8, json_schema_extra=CONDITIONS_SCHEMA
        ),
    ] = ()


class Cell(KubernetesObject):
    """A place in Azure where tenants can live: subscription, resource group, environment, vault."""

    kind: ClassVar[str] = "Cell"
    plural: ClassVar[str] = "cells"

    spec: CellSpec
    status: CellStatus = CellStatus()
