"""``python -m nbhd_crds.selftest SERVICE``: an installed platform proves that it is installed rightly.

``helm test`` runs it once as each service's ServiceAccount, with the rights that the service has and no others: what
RBAC allows is exactly what ``api/roles.py`` says, admission accepts and refuses (nothing is stored: all writes are dry
runs), and health and metrics answer.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api import Tenant
from nbhd_crds.api.meta import API_VERSION, GROUP, VERSION
from nbhd_crds.api.policies import SERVICES
from nbhd_crds.api.roles import LEASE, lease_role, rules
from nbhd_crds.client import connect

_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
_LEASES = ("coordination.k8s.io", "leases")
_RESOURCES = {
    *((GROUP, name) for name in ("tenants", "tenants/status", "plans", "plans/status", "cells", "cells/status")),
    *(("", name) for name in ("secrets", "configmaps", "pods", "serviceaccounts", "serviceaccounts/token")),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("events.k8s.io", "events"),
    _LEASES,
}
_HOME = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TIMEOUT = aiohttp.ClientTimeout(total=10)
_BILLING = {"customerId": "cus_selftest", "status": "active"}
_TELEGRAM = {"chatId": 42, "userId": 42, "generation": 1}


@dataclass
class Report:
    """What was checked, printed as it goes."""

    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, what: str, problem: str | None) -> None:
        """One line; ``problem`` is None where it is as it should be."""
        sys.stdout.write(f"{'FAILED ' if problem else 'ok     '} {what}{': ' + problem if problem else ''}\n")
        sys.stdout.flush()
        (self.failed if problem else self.passed).append(what)


Right = tuple[str, str, str]
"""(group, resource, verb)."""


def allowed(granted: Iterable[dict[str, Any]], name: str = "") -> set[Right]:
    """What RBAC's rules allow: on objects of any name, or on those of one name where it is given."""
    return {
        (group, resource, verb)
        for rule in granted
        if "resourceNames" not in rule or name in rule["resourceNames"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


async def check_rights(api: client.ApiClient, service: str, tenants: str, home: str, report: Report) -> None:
    """Asks about every verb on what the platform has to do with, and what an attacker would like.

    ``home`` is the services' own namespace, ``tenants`` that of the Tenants.
    """
    reviews = client.AuthorizationV1Api(api)

    async def may(group: str, resource: str, verb: str, namespace: str, name: str) -> bool:
        kind, _, sub = resource.partition("/")
        what = {"group": group, "resource": kind, "subresource": sub, "verb": verb, "name": name}
        body: Any = {"spec": {"resourceAttributes": {**what, "namespace": namespace}}}
        answer = await reviews.create_self_subject_access_review(body)
        return answer.status is not None and bool(answer.status.allowed)

    async def wrong(group: str, resource: str, namespace: str, wanted: set[Right], name: str = "") -> list[str]:
        answers = await asyncio.gather(*(may(group, resource, verb, namespace, name) for verb in _VERBS))
        return [
            f"{'may' if answer else 'may not'} {verb}"
            for verb, answer in zip(_VERBS, answers, strict=True)
            if answer != ((group, resource, verb) in wanted)
        ]

    async def check(namespace: str, wanted: set[Right], name: str = "") -> None:
        asked = {(group, resource) for group, resource, _ in wanted} | ({_LEASES} if name else _RESOURCES)
        for group, resource in sorted(asked):
            problem = ", ".join(await wrong(group, resource, namespace, wanted, name)) or None
            what = f"{resource} {name}".strip()
            report.add(f"rights of {service} on {what} in {namespace}", problem)

    own = lease_role(home)[0]["rules"] if service == "operator" else []
    here = rules(service, tenants)
    await check(tenants, allowed(here))
    if service == "operator":
        await check(tenants, allowed(here, tenants), tenants)
    await check(home, allowed(own))
    await check(home, allowed(own, LEASE), LEASE)
    elsewhere = ", ".join(await wrong(GROUP, "tenants", "default", set()))
    report.add(f"no rights of {service} on tenants elsewhere", elsewhere or None)


async def check_admission(api: client.ApiClient, service: str, namespace: str, report: Report) -> None:
    """Who may write which part of a Tenant: dry runs only."""
    objects = client.CustomObjectsApi(api)

    async def create(**spec: Any) -> str:
        body = {
            "apiVersion": API_VERSION,
            "kind": "Tenant",
            "metadata": {"name": "selftest"},
            "spec": {"id": "selftest", **spec},
        }
        return await _answer(
            lambda: objects.create_namespaced_custom_object(
                GROUP, VERSION, namespace, Tenant.plural, body, dry_run="All"
            )
        )

    async def patch(name: str, **spec: Any) -> str:
        return await _answer(
            lambda: objects.patch_namespaced_custom_object(
                GROUP,
                VERSION,
                namespace,
                Tenant.plural,
                name,
                {"spec": spec},
                dry_run="All",
                _content_type="application/merge-patch+json",
            )
        )

    def expect(what: str, answer: str, wanted: str) -> None:
        report.add(what, None if wanted in answer else f"expected “{wanted}”, the API server said: {answer}")

    if service == "webhooks":
        expect("webhooks creates a Tenant", await create(), "accepted")
        expect("webhooks creates a Tenant with billing", await create(billing=_BILLING), "accepted")
        expect("webhooks may not link a chat", await create(telegram=_TELEGRAM), "written by router only")
        expect("webhooks may not give service away", await create(complimentary=True), "belongs to people")
        expect("the schema refuses a bad id", await create(id="Not An Id"), "spec.id")
        return
    expect(f"{service} may not create a Tenant", await create(), "cannot create resource")
    listed: Any = await objects.list_namespaced_custom_object(GROUP, VERSION, namespace, Tenant.plural, limit=1)
    if not listed["items"]:
        report.add(f"{service} may not write billing (there is no Tenant to try with yet)", None)
        return
    name = listed["items"][0]["metadata"]["name"]
    answer = await patch(name, billing={**_BILLING, "customerId": "cus_selftestother"})
    expect(f"{service} may not write billing", answer, "written by webhooks only")


async def _answer(call: Callable[[], Any]) -> str:
    try:
        await call()
    except ApiException as error:
        return f"{error.status} {error.body}"
    return "accepted"


async def check_endpoints(base: Callable[[str], str], report: Report) -> None:
    """Health and metrics of all services."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        for service in SERVICES:
            for path, needs in (("/healthz", ""), ("/readyz", ""), ("/metrics", "nbhd_")):
                report.add(f"{service} answers {path}", await _fetch(session, base(service) + path, needs))


async def _fetch(session: aiohttp.ClientSession, url: str, needs: str) -> str | None:
    try:
        async with session.get(url) as response:
            text = await response.text()
            if response.status != 200:
                return f"{response.status} {text[:200]}"
            return None if needs in text else f"nothing that begins with {needs}"
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"{type(error).__name__} {error}"


async def check_api(service: str, tenants: str, home: str, report: Report, kubeconfig: Path | None = None) -> None:
    """What the API server lets this identity do."""
    api = await connect(kubeconfig)
    try:
        await check_rights(api, service, tenants, home, report)
        await check_admission(api, service, tenants, report)
    finally:
        await api.close()  # type: ignore[no-untyped-call] # untyped upstream


async def run(service: str, tenants: str, home: str) -> Report:
    """All checks as the service that this process runs as."""
    report = Report()
    await check_api(service, tenants, home, report)
    await check_endpoints(lambda name: f"http://{name}:8080", report)
    return report


def main() -> None:
    """Exits with 1 where a check failed."""
    (service,) = sys.argv[1:]
    report = asyncio.run(run(service, os.environ["NBHD_NAMESPACE"], _HOME.read_text().strip()))
    if report.failed:
        raise SystemExit(f"{len(report.failed)} checks failed")


if __name__ == "__main__":
    main()
