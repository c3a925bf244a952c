"""``kubectl nbhd check``: what is wrong, from the conditions alone; ``diagnosis.py`` decides.

With ``--wake`` the operator is asked to send each container one request, for only it can reach them, and this waits for
its answer in the Tenant's status.
"""

from __future__ import annotations

import asyncio
import datetime
import sys
from collections.abc import Iterable, Sequence

from nbhd_cli import diagnosis
from nbhd_cli.access import Access, Json
from nbhd_cli.diagnosis import Finding
from nbhd_cli.errors import FOUND, CommandError, LateError
from nbhd_cli.follow import follow
from nbhd_cli.output import age, document, say, table
from nbhd_cli.states import state
from nbhd_crds.api import Cell, Plan, Tenant
from nbhd_crds.api.meta import PROBE_ANNOTATION

_AT_A_TIME = 20


async def show(access: Access, names: tuple[str, ...], *, selector: str, output: str, now: datetime.datetime) -> int:
    """Prints what is wrong with the named Tenants, or with everything; the exit status says whether something is."""
    tenants = [raw for raw in await access.raw(Tenant, selector) if not names or raw["metadata"]["name"] in names]
    for name in set(names) - {raw["metadata"]["name"] for raw in tenants}:
        raise CommandError(f'tenant "{name}" not found in {access.where}')
    findings = [found for raw in tenants if (found := diagnosis.of_tenant(Tenant.parse(raw), changed(raw), now))]
    if not names and not selector:
        findings += [finding for plan in await access.all(Plan) for finding in diagnosis.of_plan(plan)]
        findings += [finding for cell in await access.all(Cell) for finding in diagnosis.of_cell(cell, now)]
    return report(findings, len(tenants), access, output, now)


def report(findings: Sequence[Finding], checked: int, access: Access, output: str, now: datetime.datetime) -> int:
    """Prints them; the exit status."""
    if output == "table":
        if findings:
            sys.stdout.write(rows(findings, now, namespaces=not access.namespace))
        wrong = len({(one.namespace, one.name) for one in findings if one.kind == Tenant.kind})
        say(f"{checked} tenant{'' if checked == 1 else 's'} checked in {access.where}, {wrong} with something wrong.")
    else:
        sys.stdout.write(document({"checked": checked, "findings": [_wire(one) for one in findings]}, output))
    return FOUND if findings else 0


def rows(findings: Iterable[Finding], now: datetime.datetime, *, namespaces: bool) -> str:
    """The table."""
    header = ["OBJECT", "REASON", "SINCE", "MESSAGE"]
    lines = [
        [one.title, one.reason, age(one.since, now) if one.since else "-", f"{one.message} Try: {one.advice}"]
        for one in findings
    ]
    if namespaces:
        header.insert(0, "NAMESPACE")
        lines = [[one.namespace, *line] for one, line in zip(findings, lines, strict=True)]
    return table(header, lines)


def changed(raw: Json) -> datetime.datetime | None:
    """When anything but the status was last written, as the API server keeps in ``managedFields``."""
    entries = raw["metadata"].get("managedFields", [])
    times = [entry["time"] for entry in entries if "time" in entry and not entry.get("subresource")]
    return datetime.datetime.fromisoformat(max(times)) if times else None


async def wake(
    access: Access, names: tuple[str, ...], *, selector: str, timeout: int, output: str, now: datetime.datetime
) -> int:
    """Has the containers of the named Tenants, or of all that are Ready, asked whether they take messages."""
    found = await access.some(Tenant, names, selector)
    ready = [tenant for tenant in found if _can_wake(tenant)]
    for tenant in found if names else ():
        if tenant not in ready:
            why = "not looked after" if state(tenant) == "Ready" else state(tenant)
            raise CommandError(f'tenant "{tenant.metadata.name}" cannot be woken: it is {why}')
    slots = asyncio.Semaphore(_AT_A_TIME)

    async def one(tenant: Tenant) -> Finding | None:
        async with slots:
            return await _woken(access.within(tenant.metadata.namespace), tenant, timeout=timeout, now=now)

    findings = [finding for finding in await asyncio.gather(*map(one, ready)) if finding]
    return report(findings, len(ready), access, output, now)


def _can_wake(tenant: Tenant) -> bool:
    current = tenant.condition("UpToDate")
    return state(tenant) == "Ready" and not (current and current.reason == "Skipped")


async def _woken(access: Access, tenant: Tenant, *, timeout: int, now: datetime.datetime) -> Finding | None:
    name, request = tenant.metadata.name, now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    await access.annotate(tenant, {PROBE_ANNOTATION: request})

    def over(seen: Tenant | None) -> bool:
        return seen is None or seen.status.probed == request or state(seen) != "Ready"

    try:
        after = await follow(access, name, over, timeout=timeout, tell=lambda _: None)
    except LateError:
        return diagnosis.unanswered(tenant, timeout, now)
    if after is None or after.status.probed != request:
        return diagnosis.unanswered(tenant, timeout, now)
    say(f"{name}: answered")
    return None


def _wire(finding: Finding) -> Json:
    since = finding.since.strftime("%Y-%m-%dT%H:%M:%SZ") if finding.since else None
    return {**vars(finding), "since": since}
