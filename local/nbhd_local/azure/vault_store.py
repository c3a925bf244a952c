"""A key vault's secrets: versions, soft delete, and the windows in which a name is being deleted or recovered.

Rules only; ``vault.py`` puts HTTP and authorisation in front.
"""

from __future__ import annotations

import datetime
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

from nbhd_local.azure.errors import AzureError
from nbhd_local.azure.state import Age, Delays
from nbhd_local.clock import Clock

_NAME = re.compile(r"^[0-9A-Za-z-]{1,127}$")
_MAX_VALUE_BYTES = 25 * 1024
_MAX_TAGS = 15
RETENTION_DAYS = 90


@dataclass
class Version:
    """One version of a secret."""

    id: str
    value: str = field(repr=False)
    content_type: str | None
    tags: dict[str, str]
    created: datetime.datetime
    updated: datetime.datetime
    enabled: bool = True
    not_before: int | None = None
    expires: int | None = None


@dataclass
class Secret:
    """A named secret with its versions, newest last. ``moved`` begins a deletion's or a recovery's window."""

    name: str
    versions: dict[str, Version] = field(default_factory=dict)
    deleted: datetime.datetime | None = None
    moved: Age | None = None

    @property
    def latest(self) -> Version:
        """The newest version."""
        return next(reversed(self.versions.values()))


class SecretStore:
    """All secrets of one vault. Names compare without case."""

    def __init__(self, clock: Clock, delays: Delays, *, purge_protection: bool) -> None:
        self._clock = clock
        self._window = delays.secret_transition
        self._secrets: dict[str, Secret] = {}
        self.purge_protection = purge_protection

    def active(self) -> list[Secret]:
        """Secrets that a list shows."""
        return [s for s in self._all() if s.deleted is None and not self._settling(s)]

    def deleted(self) -> list[Secret]:
        """Soft-deleted secrets that the list of deleted ones shows."""
        return [s for s in self._all() if s.deleted is not None and not self._settling(s)]

    def set(self, name: str, body: dict[str, Any]) -> tuple[Secret, Version]:
        """Adds a version. A soft-deleted or moving name is refused with 409."""
        check_name(name)
        secret = self._find(name)
        if secret is not None:
            self._refuse_unusable(secret)
        version = self._read(body)
        if secret is None:
            secret = self._secrets[name.lower()] = Secret(name)
        secret.versions[version.id] = version
        return secret, version

    def get(self, name: str, version: str = "") -> tuple[Secret, Version]:
        """The given version, or the newest."""
        check_name(name)
        secret = self._find(name)
        if secret is None or secret.deleted is not None or self._settling(secret):
            raise _not_found(name)
        found = secret.versions.get(version) if version else secret.latest
        if found is None:
            raise _not_found(f"{name}/{version}")
        return secret, found

    def update(self, name: str, version: str, body: dict[str, Any]) -> tuple[Secret, Version]:
        """Changes attributes, tags or content type of a version, never its value."""
        secret, found = self.get(name, version)
        _check_fields(body, {"contentType", "attributes", "tags"})
        _apply(found, body)
        found.updated = self._clock()
        return secret, found

    def delete(self, name: str) -> Secret:
        """Soft-deletes all versions: the name leaves at once, and shows among the deleted after a while."""
        secret, _ = self.get(name)
        secret.deleted, secret.moved = self._clock(), Age()
        return secret

    def get_deleted(self, name: str) -> Secret:
        """A soft-deleted secret; 404 while its deletion is still under way."""
        check_name(name)
        secret = self._find(name)
        if secret is None or secret.deleted is None or self._settling(secret):
            raise AzureError(404, "SecretNotFound", f"Deleted Secret not found: {name}")
        return secret

    def recover(self, name: str) -> Secret:
        """Starts bringing a soft-deleted secret back; it answers 404 until that is done."""
        check_name(name)
        secret = self._find(name)
        if secret is not None and secret.deleted is not None and self._settling(secret):
            raise _conflict(f"Secret {name} is currently being deleted.", "ObjectIsBeingDeleted")
        secret = self.get_deleted(name)
        secret.deleted, secret.moved = None, Age()
        return secret

    def purge(self, name: str) -> None:
        """Removes a soft-deleted secret for good, unless purge protection forbids it."""
        secret = self.get_deleted(name)
        if self.purge_protection:
            text = 'Operation "purge" is not enabled for this vault.'
            raise AzureError(403, "Forbidden", text, inner="ForbiddenByPolicy")
        del self._secrets[secret.name.lower()]

    def _all(self) -> list[Secret]:
        """What the vault holds; the service purges what was deleted for longer than it retains."""
        return [secret for name in list(self._secrets) if (secret := self._find(name)) is not None]

    def _find(self, name: str) -> Secret | None:
        secret = self._secrets.get(name.lower())
        if secret is None or secret.deleted is None:
            return secret
        if secret.deleted <= self._clock() - datetime.timedelta(days=RETENTION_DAYS):
            del self._secrets[name.lower()]
            return None
        return secret

    def _settling(self, secret: Secret) -> bool:
        return secret.moved is not None and secret.moved() < self._window

    def _refuse_unusable(self, secret: Secret) -> None:
        name = secret.name
        if self._settling(secret):
            doing, inner = (
                ("deleted", "ObjectIsBeingDeleted") if secret.deleted else ("recovered", "ObjectIsBeingRecovered")
            )
            raise _conflict(f"Secret {name} is currently being {doing} and cannot be re-created; retry later.", inner)
        if secret.deleted is not None:
            text = (
                f"Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; "
                "in this state, the secret can only be recovered or purged."
            )
            raise _conflict(text, "ObjectIsDeletedButRecoverable")

    def _read(self, body: dict[str, Any]) -> Version:
        _check_fields(body, {"value", "contentType", "attributes", "tags"})
        value = body.get("value")
        if not isinstance(value, str):
            raise bad_parameter("Property value has an invalid value.")
        if len(value.encode()) > _MAX_VALUE_BYTES:
            raise bad_parameter(f"Secret value exceeds the maximum length of {_MAX_VALUE_BYTES} bytes.")
        now = self._clock()
        version = Version(uuid.uuid4().hex, value, None, {}, now, now)
        _apply(version, body)
        return version


def check_name(name: str) -> None:
    """Secret names are 1 to 127 letters, digits and hyphens."""
    if not _NAME.match(name):
        raise bad_parameter(f"The request URI contains an invalid name: {name}")


def bad_parameter(message: str) -> AzureError:
    """Key Vault's 400."""
    return AzureError(400, "BadParameter", message)


def _apply(version: Version, body: dict[str, Any]) -> None:
    tags, attributes = body.get("tags"), body.get("attributes") or {}
    _check_fields(attributes, {"enabled", "nbf", "exp"})
    if tags is not None:
        strings = isinstance(tags, dict) and all(isinstance(text, str) for pair in tags.items() for text in pair)
        if not strings or len(tags) > _MAX_TAGS:
            raise bad_parameter(f"Tags must be at most {_MAX_TAGS} pairs of strings.")
        version.tags = dict(tags)
    if body.get("contentType") is not None:
        version.content_type = str(body["contentType"])
    version.enabled = bool(attributes.get("enabled", version.enabled))
    version.not_before = attributes.get("nbf", version.not_before)
    version.expires = attributes.get("exp", version.expires)


def _check_fields(body: dict[str, Any], known: set[str]) -> None:
    unknown = set(body) - known
    if unknown:
        raise bad_parameter(f"Unknown property '{min(unknown)}'.")


def _not_found(name: str) -> AzureError:
    text = f"A secret with (name/id) {name} was not found in this key vault."
    return AzureError(404, "SecretNotFound", text)


def _conflict(message: str, inner: str) -> AzureError:
    return AzureError(409, "Conflict", message, inner=inner)
