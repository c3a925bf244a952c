"""What belongs to nobody, and what goes first."""

from __future__ import annotations

from typing import Any

import pytest

from nbhd_crds.api import Tenant
from nbhd_crds.api.cell import Quota
from nbhd_operator.inventory import Inventory
from nbhd_operator.orphans import REMOVAL_ORDER, Stray, find, next_to_remove, requested
from nbhd_operator.packed import Packer
from tests.unit.operator import make
from tests.unit.operator.make import NOW, at

ID = "zoe00000000"
NAME = f"nbhd-{ID}"
VAULT = "/subscriptions/sub/resourcegroups/rg/providers/microsoft.keyvault/vaults/vault/secrets"


def resource(spec_id: str = ID, platform: str = "test", age: float | None = 1, **more: Any) -> dict[str, Any]:
    tags = {"nbhd-platform": platform, "nbhd-tenant": spec_id}
    return {"name": f"nbhd-{spec_id}", "tags": tags, "created": None if age is None else at(-age), **more}


def grant(spec_id: str = ID, principal: str = "p1", kind: str = "ServicePrincipal") -> dict[str, Any]:
    return {
        "name": f"g-{spec_id}-{principal}",
        "scope": f"{VAULT}/nbhd-{spec_id}",
        "principalId": principal,
        "principalType": kind,
        "created": at(-5),
    }


def inventory(
    *apps: dict[str, Any],
    secrets: tuple[dict[str, Any], ...] = (),
    identities: tuple[dict[str, Any], ...] = (),
    grants: tuple[dict[str, Any], ...] = (),
) -> Inventory:
    def named(found: tuple[dict[str, Any], ...]) -> dict[str, dict[str, Any]]:
        return {str(one["name"]): one for one in found}

    return Inventory(named(apps), named(identities), named(secrets), grants, Quota(used=0, limit=4000))


def kinds(found: Inventory, *tenants: Tenant) -> list[str]:
    return [f"{stray.kind} {stray.name}" for stray in find(found, "test", "cell-1", map(Packer().of, tenants), NOW)]


def identity(spec_id: str = ID, principal: str = "p1") -> dict[str, Any]:
    return resource(spec_id, principalId=principal)


def test_all_kinds_of_a_tenant_that_is_not_there() -> None:
    found = inventory(resource(), secrets=(resource(),), identities=(identity(),), grants=(grant(),))
    assert kinds(found) == [f"{kind} {NAME}" for kind in sorted(REMOVAL_ORDER)]


@pytest.mark.parametrize(
    "safe",
    [
        inventory(resource(platform="another")),
        inventory(resource(age=0.03)),
        inventory(resource(age=None)),
        inventory({"name": NAME, "tags": {}, "created": at(-9)}),
        inventory({"name": NAME, "tags": {"nbhd-platform": "test"}, "created": at(-9)}),
        inventory(grants=({**grant(), "scope": f"{VAULT}/something-else"},)),
        inventory(grants=({**grant(), "created": None},)),
    ],
)
def test_what_is_not_surely_ours_and_surely_old_is_left_out(safe: Inventory) -> None:
    assert kinds(safe) == []


@pytest.mark.parametrize(("served_by", "orphaned"), [("p1", False), ("p2", True), (None, True)])
def test_a_list_of_identities_that_lacks_one_orphans_no_grant(served_by: str | None, orphaned: bool) -> None:
    applied = {"resourceId": "r", "clientId": "c", "principalId": served_by}
    status = {"cell": "cell-1", "identity": applied if served_by else None}
    assert bool(kinds(inventory(grants=(grant(),)), make.tenant("zoe", status=status))) is orphaned


@pytest.mark.parametrize(("cell", "orphaned"), [("cell-1", False), (None, False), ("cell-2", True)])
def test_a_tenant_that_lives_here_or_may_yet_be_found_here_owns_it(cell: str | None, orphaned: bool) -> None:
    found = inventory(resource(), grants=(grant(),), identities=(identity(),))
    assert bool(kinds(found, make.tenant("zoe", status={"cell": cell}))) is orphaned


def test_a_tenant_that_is_being_deleted_is_still_there() -> None:
    leaving = make.tenant("zoe", meta={"deletionTimestamp": NOW}, status={"cell": "cell-1"})
    assert kinds(inventory(resource()), leaving) == []


def test_a_grant_to_an_identity_that_is_gone_counts_for_ever() -> None:
    here = make.tenant("zoe", status={"cell": "cell-1"})
    grants = (grant(principal="p1"), grant(principal="old"), grant(principal="oncall", kind="User"))
    found = find(inventory(identities=(identity(),), grants=grants), "test", "cell-1", [Packer().of(here)], NOW)
    assert [(stray.kind, stray.id) for stray in found] == [("roleAssignment", f"g-{ID}-old")]


@pytest.mark.parametrize(
    ("annotation", "names"),
    [
        (None, set()),
        ("", set()),
        ("2026-11-25T12:00:01Z a b", {"a", "b"}),
        ("2026-11-25T14:00:01+02:00 a", {"a"}),
        ("2026-11-25T12:00:00Z a", set()),
        ("2026-11-25T13:00:00Z", set()),
    ],
)
def test_a_request_names_what_it_means_and_ends(annotation: str | None, names: set[str]) -> None:
    assert requested(annotation, NOW) == names


@pytest.mark.parametrize("annotation", ["a b", "2026-11-25T13:00:00 a", "tomorrow a"])
def test_a_request_that_cannot_be_read(annotation: str) -> None:
    with pytest.raises(ValueError, match=r"time|Invalid"):
        requested(annotation, NOW)


def test_what_depends_on_others_goes_first_and_only_what_is_named() -> None:
    strays = [Stray(kind, name, NOW, id=kind) for name in ("a", "b") for kind in REMOVAL_ORDER]
    left = list(strays)
    order = []
    while chosen := next_to_remove(left, frozenset({"a", "absent"})):
        order += [stray.kind for stray in chosen]
        left = [stray for stray in left if stray not in chosen]
    assert tuple(order) == REMOVAL_ORDER
    assert [stray for stray in left if stray.name == "b"] == left
