"""``python -m nbhd_crds.uninstall NAMESPACE``: fails while there are Tenants.

The chart runs it before an uninstall. Without the operator nothing finishes the deletion of a Tenant: its finalizer
would hold it, and its namespace, for ever, and what it has in Azure would go on costing money.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from nbhd_crds.api import Tenant
from nbhd_crds.client import Objects, connect

_SHOWN = 5


async def tenants(namespace: str) -> list[str]:
    """Names of the Tenants in the namespace."""
    api = await connect(_kubeconfig())
    try:
        return [one.metadata.name for one in await Objects(api, Tenant, Tenant.plural).list(namespace)]
    finally:
        await api.close()  # type: ignore[no-untyped-call] # untyped upstream


def _kubeconfig() -> Path | None:
    given = os.environ.get("KUBECONFIG")
    return Path(given) if given else None


def refusal(namespace: str, names: list[str]) -> str:
    """What a person reads who wanted to uninstall."""
    some = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    count = "There is 1 Tenant" if len(names) == 1 else f"There are {len(names)} Tenants"
    return (
        f"{count} in namespace {namespace} ({some}), and without the operator nothing can finish their deletion.\n"
        f"Either delete them first: kubectl -n {namespace} delete tenants --all\n"
        "or keep them, and all that they have in Azure, until the platform is installed again:\n"
        "helm upgrade … --reuse-values --set uninstall.withTenants=keep, then uninstall again."
    )


def main() -> None:
    """Exits with 1 and a message where there are Tenants."""
    (namespace,) = sys.argv[1:]
    names = asyncio.run(tenants(namespace))
    if names:
        raise SystemExit(refusal(namespace, names))


if __name__ == "__main__":
    main()
