"""How far the operator may go with a Tenant: the annotation ``nbhd.united/reconcile-policy``. Pure.

The Tenant's own counts, else its Plan's, which so holds back all its Tenants at once. A value that nobody knows is
taken for the most careful one that still says something: ``plan``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nbhd_crds.api import Plan, Tenant
from nbhd_crds.api.meta import RECONCILE_POLICY_ANNOTATION

_QUOTED = 40


class Policy(Enum):
    """The annotation's values."""

    MANAGE = "manage"
    """Make it so."""
    PLAN = "plan"
    """Look, say what would change, and change nothing in Azure."""
    SKIP = "skip"
    """Do not even look."""
    DETACH = "detach-on-delete"
    """As manage, but a deleted Tenant leaves in Azure what it has there."""


@dataclass(frozen=True)
class Ruling:
    """The policy in force, and where it is said."""

    policy: Policy = Policy.MANAGE
    said: str = ""
    """A sentence for people; empty where nothing is said."""
    by_plan: bool = False
    """The Plan says it, hence for all its Tenants."""

    @property
    def manages(self) -> bool:
        """True if Azure may be changed."""
        return self.policy in (Policy.MANAGE, Policy.DETACH)


def ruling(tenant: Tenant, plan: Plan | None) -> Ruling:
    """The ruling for one Tenant of a Plan."""
    return ruled(tenant.metadata.annotations.get(RECONCILE_POLICY_ANNOTATION), plan)


def ruled(own: str | None, plan: Plan | None) -> Ruling:
    """The same for a Tenant whose own annotation is ``own``."""
    if own is not None:
        return _read(own, "this Tenant", by_plan=False)
    said = plan.metadata.annotations.get(RECONCILE_POLICY_ANNOTATION) if plan else None
    return _read(said, f"the Plan {plan.metadata.name}", by_plan=True) if plan and said is not None else Ruling()


def _read(value: str, where: str, *, by_plan: bool) -> Ruling:
    try:
        return Ruling(Policy(value), f"{RECONCILE_POLICY_ANNOTATION} of {where} is {value}.", by_plan)
    except ValueError:
        known = ", ".join(policy.value for policy in Policy)
        said = f"{RECONCILE_POLICY_ANNOTATION} of {where} is {value[:_QUOTED]!r}: correct it to one of {known}."
        return Ruling(Policy.PLAN, said, by_plan)
