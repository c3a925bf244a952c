"""Tenant, Plan and Cell as pydantic models: the single source of the CRDs in ``manifests/crds``."""

from nbhd_crds.api.cell import Cell, CellSpec, CellStatus
from nbhd_crds.api.meta import GROUP, VERSION, Condition, ObjectMeta
from nbhd_crds.api.plan import Plan, PlanSpec, PlanStatus, Runtime, RuntimeCount
from nbhd_crds.api.tenant import Billing, Entitlement, Hold, PlannedChange, Telegram, Tenant, TenantSpec, TenantStatus

__all__ = [
    "GROUP",
    "VERSION",
    "Billing",
    "Cell",
    "CellSpec",
    "CellStatus",
    "Condition",
    "Entitlement",
    "Hold",
    "ObjectMeta",
    "Plan",
    "PlanSpec",
    "PlanStatus",
    "PlannedChange",
    "Runtime",
    "RuntimeCount",
    "Telegram",
    "Tenant",
    "TenantSpec",
    "TenantStatus",
]
