"""The one tree of errors that talking to Azure may raise, and the one place where they are classed.

The class follows Azure's ``error.code``, never the SDK's exception type or the bare HTTP status: a role that has not
spread yet looks like a validation error, and "not found" may mean a missing resource group. What cannot be read is
``Retryable``, never ``NotFound``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from azure.core.exceptions import AzureError, HttpResponseError

ROLE_PROPAGATION = timedelta(minutes=15)
"""How long after the role assignment was made Azure may refuse the secret that it allows to read."""

_ABSENT = {
    "DeletedSecretNotFound",
    "NotFound",
    "ResourceNotFound",
    "RoleAssignmentNotFound",
    "SecretNotFound",
}
_WAITING = {
    "ContainerAppSecretKeyVaultUrlInvalid",
    "InvalidParameterValueInContainerTemplate",
}
_GRANT = "Give the operator's identity the roles that the installation guide lists."
_ADVICE = {
    "AuthorizationFailed": _GRANT,
    "Forbidden": _GRANT,
    "InvalidSubscriptionId": "Correct the Cell's subscriptionId.",
    "LinkedAuthorizationFailed": _GRANT,
    "ManagedEnvironmentNotFound": "Create the Cell's Container Apps environment or correct the Cell.",
    "MissingSubscriptionRegistration": "Register the provider that is named here in the Cell's subscription.",
    "ReadOnlyDisabledSubscription": "Enable the Cell's subscription again.",
    "RequestDisallowedByPolicy": "Exempt the Cell's resource group from the Azure Policy that is named here.",
    "ResourceGroupBeingDeleted": "The Cell's resource group is being deleted: create it again or add a Cell.",
    "ResourceGroupNotFound": "Create the Cell's resource group or correct the Cell.",
    "RoleAssignmentLimitExceeded": "The Cell's subscription is full for good: add a Cell and mark this unschedulable.",
    "ScopeLocked": "Remove the lock on the Cell's resource group.",
    "SubscriptionNotFound": "Correct the Cell's subscriptionId.",
    "VaultNotFound": "Create the Cell's vault or correct the Cell.",
}
_DENIED = {code for code, advice in _ADVICE.items() if advice is _GRANT}
_TERMINAL = _ADVICE.keys() - _DENIED
_FULL = {"RoleAssignmentLimitExceeded"}
_RETRYABLE_400 = {"PrincipalNotFound", "FailedIdentityOperation", "InvalidResourceReference"}
_NO_CORES = re.compile(r"maximum allowed cores", re.IGNORECASE)
_KEY_VAULT_READ = re.compile(r"managed identity.+secret|secret.+managed identity", re.IGNORECASE | re.DOTALL)
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*")
_CAMEL = re.compile(r"[^A-Za-z0-9]")
_MESSAGE = 400


class Fault(Exception):  # noqa: N818 - this and its kinds are named for what follows from them
    """Azure did not do what was asked. ``reason`` is its error code, ``message`` is fit for a status."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class NotFound(Fault):
    """The thing itself is not there."""


class SoftDeleted(Fault):
    """The secret's name is taken by a deleted secret, which must be recovered first."""


class Retryable(Fault):
    """May work later without anybody's doing; ``after`` is Azure's Retry-After in seconds, or 0."""

    def __init__(self, reason: str, message: str, after: float = 0.0) -> None:
        super().__init__(reason, message)
        self.after = after


class Throttled(Retryable):
    """Too many requests. ``throttle.py`` holds all of their kind back, so one's own bad luck says nothing."""


class Unreadable(Retryable):
    """Azure did answer, and what it says is unknown: never taken for absence, or for a whole list."""

    def __init__(self) -> None:
        super().__init__("UnreadableAnswer", "Azure's answer cannot be read.")


class Denied(Retryable):
    """Azure has not given us the right. A new right takes minutes to spread; if it lasts, a person must grant it."""


class Disabled(Fault):
    """The secret is there and may not be read: a new version can."""


class Waiting(Fault):
    """Will work when a change has spread through Azure; the caller knows the deadline."""


class Terminal(Fault):
    """Will not work until a person changes something."""


class CellFull(Terminal):
    """Nothing more fits into the cell."""


def classify(error: AzureError) -> Fault:
    """The fault that an SDK exception stands for. Never quotes a URL's query, which may carry a token."""
    if not isinstance(error, HttpResponseError):
        return Retryable(type(error).__name__, "Azure could not be reached")
    if error.status_code is not None and error.status_code < 300:
        return Unreadable()
    details = error.error
    inner = _inner_code(details.innererror if details else None)
    code = (details.code if details else None) or ""
    said = _plain((details.message if details else None) or "")
    status = error.status_code or 0
    reason = _word(code) or (f"Http{status}" if status else type(error).__name__)
    message = " ".join(part for part in (_ADVICE.get(code), f"Azure said: {said}" if said else "") if part)
    message = message or f"Azure answered {status} without an explanation"
    if inner == "ObjectIsDeletedButRecoverable" or (status == 409 and "deleted but recoverable" in said):
        return SoftDeleted(inner or reason, message)
    if inner == "SecretDisabled":
        return Disabled(inner, message)
    if code in _FULL or _NO_CORES.search(said):
        return CellFull(reason, message)
    if code in _TERMINAL:
        return Terminal(reason, message)
    if code in _DENIED:
        return Denied(reason, message, _retry_after(error))
    if status == 404 and code in _ABSENT:
        return NotFound(reason, message)
    if code in _WAITING and _KEY_VAULT_READ.search(said):
        return Waiting(reason, message)
    if status in (400, 405, 413, 422) and code and code not in _RETRYABLE_400:
        return Terminal(reason, message)
    kind = Throttled if status == 429 else Retryable
    return kind(reason, message, _retry_after(error))


def _inner_code(inner: object) -> str | None:
    code = inner.get("code") if isinstance(inner, dict) else None
    return code if isinstance(code, str) else None


def _retry_after(error: HttpResponseError) -> float:
    headers = getattr(error.response, "headers", None) or {}
    for name, unit in (("Retry-After", 1.0), ("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001)):
        if text := headers.get(name):
            return min(max(_seconds(text) * unit, 0.0), 3600.0)
    return 0.0


def _seconds(text: str) -> float:
    """A number of seconds, or the time until a date (RFC 9110, section 10.2.3)."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def _plain(text: str) -> str:
    return _QUERY.sub(r"\1", " ".join(text.split()))[:_MESSAGE]


def _word(code: str) -> str:
    word = _CAMEL.sub("", code)
    return word if word[:1].isalpha() else ""
