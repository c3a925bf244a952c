"""Which Plan a Tenant has: its ``planRef``, else the one that billing's price buys. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from nbhd_crds.api import Plan, Tenant


class Unresolved(Exception):  # noqa: N818 - becomes a Stalled condition as it is
    """No decision without a person; ``message`` says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def plan_of(tenant: Tenant, plans: Iterable[Plan]) -> Plan | None:
    """The Plan among those of the Tenant's namespace; None as long as nothing says which. Raises ``Unresolved``."""
    known = {plan.metadata.name: plan for plan in plans}
    spec = tenant.spec
    if spec.plan_ref:
        if found := known.get(spec.plan_ref.name):
            return found
        raise Unresolved("PlanNotFound", f"Create the Plan {spec.plan_ref.name} or correct spec.planRef.")
    if spec.billing and spec.billing.lookup_key:
        return _bought(spec.billing.lookup_key, known)
    if spec.complimentary:
        return _only(known)
    if spec.billing and spec.billing.status not in ("none", "incomplete"):
        raise Unresolved(
            "PlanNotFound", "The subscription's price has no lookup key: give it one in Stripe, or set spec.planRef."
        )
    return None


def _bought(lookup_key: str, known: dict[str, Plan]) -> Plan:
    selling = sorted(name for name, plan in known.items() if lookup_key in plan.spec.lookup_keys)
    if not selling:
        raise Unresolved("PlanNotFound", f"Add the lookup key {lookup_key} to a Plan's spec.lookupKeys.")
    if len(selling) > 1:
        raise Unresolved(
            "PlanAmbiguous", f"The lookup key {lookup_key} is in the Plans {', '.join(selling)}: keep it in one."
        )
    return known[selling[0]]


def _only(known: dict[str, Plan]) -> Plan:
    if not known:
        raise Unresolved("PlanNotFound", "Create a Plan in this namespace.")
    if len(known) > 1:
        raise Unresolved("PlanAmbiguous", f"Set spec.planRef to one of {', '.join(sorted(known))}.")
    return next(iter(known.values()))
