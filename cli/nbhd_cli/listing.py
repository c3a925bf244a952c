"""``kubectl nbhd list``: Tenants by state, those that need a person last, next to the prompt."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable

from nbhd_cli.access import Access, Json
from nbhd_cli.output import NONE, age, document, say, table
from nbhd_cli.states import chosen, order, state
from nbhd_crds.api import Tenant
from nbhd_crds.api.meta import GROUP
from nbhd_crds.identity import account_code


async def show(access: Access, *, states: str, selector: str, output: str, now: datetime.datetime) -> None:
    """Prints the Tenants that are in one of ``states``, a list with commas; all of them when it is empty."""
    wanted = chosen(states)
    pairs = [(raw, Tenant.parse(raw)) for raw in await access.raw(Tenant, selector)]
    found = sorted((pair for pair in pairs if not wanted or state(pair[1]) in wanted), key=lambda pair: order(pair[1]))
    if output in ("json", "yaml"):
        items: list[Json] = [raw for raw, _ in found]
        sys.stdout.write(document({"apiVersion": "v1", "kind": "List", "items": items}, output))
        return
    tenants = [tenant for _, tenant in found]
    if output == "name":
        sys.stdout.write("".join(f"tenant.{GROUP}/{tenant.metadata.name}\n" for tenant in tenants))
    elif tenants:
        sys.stdout.write(rows(tenants, now, namespaces=not access.namespace, wide=output == "wide"))
    else:
        say(f"No tenants found in {access.where}.")


def rows(tenants: Iterable[Tenant], now: datetime.datetime, *, namespaces: bool, wide: bool) -> str:
    """The table."""
    header = ["NAME", "PHASE", "PLAN", "CELL", "REASON", "AGE"]
    header = (
        (["NAMESPACE"] if namespaces else []) + header + (["ACCOUNT", "LINKED", "ENDPOINT", "IMAGE"] if wide else [])
    )
    lines = []
    for tenant in tenants:
        meta, status = tenant.metadata, tenant.status
        why = tenant.condition("Reconciling")
        line = [
            meta.name,
            state(tenant),
            status.plan or NONE,
            status.cell or NONE,
            why.reason if why else NONE,
            age(meta.creation_timestamp, now),
        ]
        if namespaces:
            line.insert(0, meta.namespace)
        if wide:
            image = status.runtime.image.rpartition("sha256:")[2][:12] if status.runtime else NONE
            linked = "yes" if tenant.spec.telegram else "no"
            line += [account_code(tenant.spec.id), linked, status.endpoint or NONE, image]
        lines.append(line)
    return table(header, lines)
