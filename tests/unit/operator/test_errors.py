"""How Azure's answers are classed: by their code, and never by what a status usually means."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ODataV4Format, ServiceRequestError

from nbhd_operator.errors import Fault, NotFound, Retryable, SoftDeleted, Terminal, Waiting, classify

KEY_VAULT_REF = (
    "Field 'configuration.secrets' is invalid with details: 'Invalid value: \"credentials\": Unable to get value using "
    "Managed identity /subscriptions/s/x for secret credentials. Error: unable to fetch secret'"
)


def answered(status: int, code: str | None, message: str = "m", **more: Any) -> HttpResponseError:
    """The exception that the SDK makes of such an answer."""
    error = HttpResponseError("whole response with https://a.example/x?sig=SECRET")
    error.status_code = status
    error.response = SimpleNamespace(headers=more.pop("headers", {}))
    if code is not None:
        error.error = ODataV4Format(json.loads(json.dumps({"code": code, "message": message, **more})))
    return error


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (404, "ResourceNotFound", "", NotFound),
        (404, "SecretNotFound", "", NotFound),
        (404, "RoleAssignmentNotFound", "", NotFound),
        (404, "ResourceGroupNotFound", "", Terminal),
        (404, "SubscriptionNotFound", "", Terminal),
        (404, None, "", Retryable),  # unreadable: unknown, never absent
        (404, "SomethingElse", "", Retryable),
        (400, "InvalidParameterValueInContainerTemplate", KEY_VAULT_REF, Waiting),
        (400, "InvalidParameterValueInContainerTemplate", "cpu and memory do not fit", Terminal),
        (400, "PrincipalNotFound", "", Retryable),
        (400, "RoleAssignmentLimitExceeded", "", Terminal),
        (400, "BadRequest", "", Terminal),
        (400, None, "", Retryable),
        (403, "AuthorizationFailed", "", Retryable),
        (403, "RequestDisallowedByPolicy", "", Terminal),
        (409, "ContainerAppOperationInProgress", "", Retryable),
        (409, "Conflict", "Secret x is currently being deleted", Retryable),
        (429, "TooManyRequests", "", Retryable),
        (500, "InternalServerError", "", Retryable),
        (503, None, "", Retryable),
    ],
)
def test_each_answer_has_its_class(status: int, code: str | None, message: str, kind: type[Fault]) -> None:
    found = classify(answered(status, code, message or "m"))
    assert type(found) is kind
    assert found.reason == (code or f"Http{status}")


def test_a_deleted_but_recoverable_secret_is_told_apart_from_other_conflicts() -> None:
    found = classify(answered(409, "Conflict", innererror={"code": "ObjectIsDeletedButRecoverable"}))
    assert isinstance(found, SoftDeleted)


def test_what_never_arrived_is_retried() -> None:
    assert isinstance(classify(ServiceRequestError("cannot connect to https://a.example?token=x")), Retryable)


@pytest.mark.parametrize(("headers", "after"), [({"Retry-After": "7"}, 7), ({"Retry-After": "99999"}, 3600), ({}, 0)])
def test_retry_after_is_obeyed_within_reason(headers: dict[str, str], after: float) -> None:
    found = classify(answered(429, "TooManyRequests", headers=headers))
    assert isinstance(found, Retryable)
    assert found.after == after


def test_no_query_of_a_url_is_repeated() -> None:
    found = classify(answered(400, "BadRequest", "see https://a.example/op?t=1&c=SECRET for more"))
    assert "SECRET" not in f"{found} {found!r} {found.message}"
    assert "https://a.example/op" in found.message
