"""The text of the admission policies; what they refuse is tested on the real API server."""

from __future__ import annotations

from typing import Any

import pytest

from nbhd_crds.api.policies import PAID, SPEC_OWNERS, policies, service_account
from nbhd_crds.api.tenant import TenantSpec, TenantStatus

BY_NAME: dict[str, dict[str, Any]] = {
    document["metadata"]["name"]: document for document in policies() if document["kind"] == "ValidatingAdmissionPolicy"
}
BINDINGS = [document for document in policies() if document["kind"] == "ValidatingAdmissionPolicyBinding"]


def variables(name: str) -> set[str]:
    return {variable["name"] for variable in BY_NAME[name]["spec"]["variables"]}


def test_each_policy_is_bound_and_denies() -> None:
    assert sorted(binding["spec"]["policyName"] for binding in BINDINGS) == sorted(BY_NAME)
    assert all(binding["spec"]["validationActions"] == ["Deny"] for binding in BINDINGS)
    assert {policy["spec"]["failurePolicy"] for policy in BY_NAME.values()} == {"Fail"}


def test_every_field_is_watched() -> None:
    """A field that is added to a model gets an owner without a thought."""
    spec = {f"{field.alias}Changed" for field in TenantSpec.model_fields.values()}
    status = {f"{field.alias}Changed" for field in TenantStatus.model_fields.values()}
    assert variables("tenant-owners.nbhd.united") == spec | {"peopleChanged"}
    assert variables("tenant-status-owners.nbhd.united") == status


@pytest.mark.parametrize(("part", "service"), SPEC_OWNERS.items())
def test_each_part_of_a_service_names_its_owner(part: str, service: str) -> None:
    expressions = [v["expression"] for v in BY_NAME["tenant-owners.nbhd.united"]["spec"]["validations"]]
    (mine,) = [text for text in expressions if text.startswith(f"!variables.{part}Changed")]
    assert service_account(service) in mine


def test_the_part_of_people_is_the_rest() -> None:
    (people,) = [v for v in BY_NAME["tenant-owners.nbhd.united"]["spec"]["variables"] if v["name"] == "peopleChanged"]
    rest = {f"variables.{f.alias}Changed" for n, f in TenantSpec.model_fields.items() if n not in SPEC_OWNERS}
    assert set(people["expression"].split(" || ")) == rest


def test_break_glass_and_the_namespace_controller_pass() -> None:
    for policy in BY_NAME.values():
        conditions = " ".join(c["expression"] for c in policy["spec"]["matchConditions"])
        assert "nbhd:break-glass" in conditions
        assert "namespace-controller" in conditions


def test_all_that_pays_is_protected() -> None:
    (rule,) = BY_NAME["tenant-paid-deletion.nbhd.united"]["spec"]["validations"]
    assert all(f"'{status}'" in rule["expression"] for status in PAID)


def test_another_namespace_of_the_services() -> None:
    text = str(policies("elsewhere"))
    assert "system:serviceaccount:elsewhere:webhooks" in text
    assert "nbhd-system" not in text
