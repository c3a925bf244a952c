"""``kubectl nbhd provision`` and ``deprovision``: a Tenant comes or goes, and a person watches it happen."""

from __future__ import annotations

import datetime
import sys

from kubernetes.aio.client.exceptions import ApiException

from nbhd_cli import diagnosis
from nbhd_cli.access import Access, Json, explain, title
from nbhd_cli.errors import FOUND, CommandError
from nbhd_cli.follow import follow, rested
from nbhd_cli.output import say
from nbhd_cli.states import state
from nbhd_crds.api import Tenant
from nbhd_crds.api.meta import ALLOW_DELETE_ANNOTATION
from nbhd_crds.api.policies import PAID
from nbhd_crds.client import is_conflict


async def provision(access: Access, wanted: Json, *, timeout: int | None) -> int:
    """Creates the Tenant if there is none of that name, and waits until nothing is under way; the exit status.

    One that exists must have what is wanted. Raises ``CommandError``.
    """
    name = wanted["metadata"]["name"]
    try:
        tenant = await access.create(Tenant, wanted)
        sys.stdout.write(f"{title(tenant)} created\n")
    except ApiException as error:
        if not is_conflict(error):
            raise CommandError(f'tenant "{name}" was not created: {explain(error)}') from None
        tenant = await access.get(Tenant, name)
        if other := differs(tenant, wanted):
            raise CommandError(
                f'tenant "{name}" exists already, with another {other}: kubectl edit tenant {name}'
            ) from None
        sys.stdout.write(f"{title(tenant)} unchanged\n")
    if timeout is None:
        return 0
    after = await follow(access, name, rested, timeout=timeout, tell=say)
    if after is None:
        raise CommandError(f'tenant "{name}" was deleted meanwhile')
    return tell(after)


def differs(tenant: Tenant, wanted: Json) -> str:
    """The first field that a person named and that is another; not the identity, which was made afresh."""
    have = tenant.spec.wire()
    return next((field for field, value in wanted["spec"].items() if field != "id" and have.get(field) != value), "")


def tell(tenant: Tenant) -> int:
    """Says where it came to rest and what is next; the exit status."""
    meta = tenant.metadata
    sys.stdout.write(f"{title(tenant)} is {state(tenant)}\n")
    if finding := diagnosis.of_tenant(tenant, None, datetime.datetime.now(datetime.UTC)):
        say(f"{finding.reason}: {finding.message} Try: {finding.advice}")
        return FOUND
    if state(tenant) == "AwaitingLink":
        say(f"Next: kubectl nbhd link {meta.name} -n {meta.namespace}")
    elif state(tenant) == "Pending":
        say("It waits for a payment. Service without one: spec.complimentary, or the flag --complimentary.")
    return 0


async def deprovision(access: Access, names: tuple[str, ...], *, force: bool, timeout: int | None) -> None:
    """Deletes the Tenants, and waits until the operator has removed what they have in Azure. Raises ``CommandError``.

    If one of them is being paid for, nothing is deleted unless ``force``.
    """
    tenants = [await access.get(Tenant, name) for name in dict.fromkeys(names)]
    paid = [tenant for tenant in tenants if is_paid(tenant)]
    if paid and not force:
        raise CommandError(
            "\n       ".join(
                [
                    "nothing was deleted, because a subscriber is paying for it:",
                    *(
                        f"{one.metadata.name}: Stripe says {one.spec.billing.status}"
                        for one in paid
                        if one.spec.billing
                    ),
                    "Deleting takes the assistant and all its data away and does not end the subscription.",
                    "End it in Stripe, and the operator removes everything after the plan's retention; or say --force.",
                ]
            )
        )
    for tenant in tenants:
        if is_paid(tenant):
            await access.annotate(tenant, {ALLOW_DELETE_ANNOTATION: "true"})
        await access.delete(tenant)
        sys.stdout.write(f"{title(tenant)} deletion requested\n")
    for tenant in tenants if timeout is not None else ():
        uid = tenant.metadata.uid
        await follow(
            access,
            tenant.metadata.name,
            lambda seen, uid=uid: seen is None or seen.metadata.uid != uid,  # type: ignore[misc] # mypy infers no default
            timeout=timeout or 0,
            tell=say,
        )
        sys.stdout.write(f"{title(tenant)} deleted\n")


def is_paid(tenant: Tenant) -> bool:
    """Whether the API server refuses to delete it as it is."""
    billing = tenant.spec.billing
    allowed = tenant.metadata.annotations.get(ALLOW_DELETE_ANNOTATION) == "true"
    return billing is not None and billing.status in PAID and not allowed
