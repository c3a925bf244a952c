"""How Azure's answers are classed: by their code, and never by what a status usually means."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ODataV4Format, ServiceRequestError

from nbhd_operator.errors import (
    CellFull,
    Denied,
    Disabled,
    Fault,
    NotFound,
    Retryable,
    SoftDeleted,
    Terminal,
    Throttled,
    Unreadable,
    Waiting,
    classify,
)

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
        (400, "RoleAssignmentLimitExceeded", "", CellFull),
        (400, "MaxCores", "Maximum Allowed Cores exceeded for the Managed Environment. Please check", CellFull),
        (400, "BadRequest", "", Terminal),
        (400, None, "", Retryable),
        (401, "ExpiredAuthenticationToken", "", Retryable),
        (403, "AuthorizationFailed", "", Denied),
        (403, "LinkedAuthorizationFailed", "", Denied),
        (403, "Forbidden", "", Denied),
        (403, "RequestDisallowedByPolicy", "", Terminal),
        (409, "ContainerAppOperationInProgress", "", Retryable),
        (409, "ConflictingConcurrentWriteNotAllowed", "", Retryable),
        (409, "ManagedEnvironmentOperationInProgress", "", Retryable),
        (409, "MaintenanceConfigurationLockConflict", "", Retryable),
        (409, "RoleAssignmentExists", "", Retryable),
        (409, "MissingSubscriptionRegistration", "", Terminal),
        (409, "ScopeLocked", "", Terminal),
        (409, "ReadOnlyDisabledSubscription", "", Terminal),
        (409, "ResourceGroupBeingDeleted", "", Terminal),
        (400, "FailedIdentityOperation", "", Retryable),
        (400, "ManagedEnvironmentNotFound", "", Terminal),
        (409, "Conflict", "Secret x is currently being deleted", Retryable),
        (429, "TooManyRequests", "", Throttled),
        (429, "Throttled", "", Throttled),
        (418, "Teapot", "", Retryable),
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


def test_a_disabled_secret_is_neither_absent_nor_forbidden() -> None:
    assert isinstance(classify(answered(403, "Forbidden", innererror={"code": "SecretDisabled"})), Disabled)


def test_success_that_cannot_be_read_is_unknown() -> None:
    found = classify(answered(200, None))
    assert isinstance(found, Unreadable)
    assert found.reason == "UnreadableAnswer"


@pytest.mark.parametrize("code", ["AuthorizationFailed", "ResourceGroupNotFound", "ScopeLocked"])
def test_what_a_person_must_do_comes_first(code: str) -> None:
    message = classify(answered(403, code, "something long")).message
    assert re.match(r"[A-Z].*\. Azure said: something long$", message)


def test_retry_after_may_be_a_date() -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    found = classify(answered(503, "ServiceUnavailable", headers={"Retry-After": at}))
    assert isinstance(found, Retryable)
    assert 85 < found.after <= 90


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "99999"}, 3600),
        ({"Retry-After": "-1"}, 0),
        ({"Retry-After": "soon"}, 0),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({}, 0),
    ],
)
def test_retry_after_is_obeyed_within_reason(headers: dict[str, str], after: float) -> None:
    found = classify(answered(429, "TooManyRequests", headers=headers))
    assert isinstance(found, Retryable)
    assert found.after == after


def test_no_query_of_a_url_is_repeated() -> None:
    found = classify(answered(400, "BadRequest", "see https://a.example/op?t=1&c=SECRET for more"))
    assert "SECRET" not in f"{found} {found!r} {found.message}"
    assert "https://a.example/op" in found.message
