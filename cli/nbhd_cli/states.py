"""The state of a Tenant in one word, as people sort and ask for it. Pure."""

from __future__ import annotations

from typing import get_args

from nbhd_cli.errors import WrongUsageError
from nbhd_crds.api import Tenant
from nbhd_crds.api.tenant import Phase

PHASES: tuple[str, ...] = get_args(Phase)
UNSEEN = "Unknown"
"""The state of a Tenant that the operator has not looked at."""
STATES = (UNSEEN, *PHASES)


def chosen(states: str) -> frozenset[str]:
    """The states that a person named, in any case. Raises ``WrongUsageError``."""
    known = {one.lower(): one for one in STATES}
    given = [one.strip() for one in states.split(",") if one.strip()]
    unknown = [one for one in given if one.lower() not in known]
    if unknown:
        raise WrongUsageError(f'"{unknown[0]}" is no state; they are {", ".join(STATES)}')
    return frozenset(known[one.lower()] for one in given)


def state(tenant: Tenant) -> str:
    """The phase, or that there is none yet."""
    return "Deleting" if tenant.deleting else tenant.status.phase or UNSEEN


def order(tenant: Tenant) -> tuple[int, str, str]:
    """Along the life of a subscription; ``Stalled`` comes last."""
    return STATES.index(state(tenant)), tenant.metadata.namespace, tenant.metadata.name
