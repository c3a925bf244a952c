"""Settings from the environment: what the services share.

A service subclasses ``Settings`` with the settings that it needs and calls ``load``. A secret ``NAME`` may also be
given as ``NAME_FILE``, the path of a file that holds it. A missing or malformed setting stops the service with one
line, which names it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from nbhd_crds.identity import Keyring, Purpose

S = TypeVar("S", bound="Settings")


class Settings(BaseSettings):
    """What every service reads."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True, env_ignore_empty=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """``read`` has resolved everything already; pydantic's own reading would take a keyring for JSON."""
        return (init_settings,)

    platform_id: str = Field("nbhd", validation_alias="NBHD_PLATFORM_ID", pattern="^[a-z0-9-]{1,32}$")
    kubeconfig: Path | None = Field(None, validation_alias="KUBECONFIG")
    namespace: str = Field("", validation_alias="NBHD_NAMESPACE")
    log_level: str = Field("INFO", validation_alias="NBHD_LOG_LEVEL", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    azure_mock: bool = Field(False, validation_alias="AZURE_MOCK")
    clock_file: Path | None = Field(None, validation_alias="NBHD_CLOCK_FILE")
    health_listen: str | None = Field(None, validation_alias="NBHD_HEALTH_LISTEN", pattern=r"^[^:]+:\d+$")

    @field_validator("clock_file")
    @classmethod
    def _only_locally(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path and not info.data.get("azure_mock"):
            raise ValueError("needs AZURE_MOCK=true: only the local world may move a service's clock")
        return path


def keyring(purpose: Purpose) -> Any:
    """Validator for a setting that holds the keys of one purpose, ``id:base64url[,id:base64url]``."""

    def read(value: object) -> object:
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        return Keyring.parse(purpose, value) if isinstance(value, str) else value

    return BeforeValidator(read)


BotKeys = Annotated[Keyring, keyring("bot")]
WebhookKeys = Annotated[Keyring, keyring("webhook")]
GatewayKeys = Annotated[Keyring, keyring("gateway")]
ModelKeys = Annotated[Keyring, keyring("model")]
LinkKeys = Annotated[Keyring, keyring("link")]


def load(settings: type[S]) -> S:
    """Reads the environment, or exits with status 2 and one line on stderr that names the setting."""
    try:
        return read(settings)
    except ValueError as problem:
        sys.stderr.write(f"{problem}\n")
        raise SystemExit(2) from None


def read(settings: type[S], environ: dict[str, str] | None = None) -> S:
    """Reads ``environ`` (default: the process's). Raises ``ValueError`` with one line that names the setting."""
    env = dict(os.environ if environ is None else environ)
    names = [str(field.validation_alias) for field in settings.model_fields.values() if field.validation_alias]
    values: dict[str, str] = {}
    for name in names:
        file = env.get(f"{name}_FILE")
        if file and env.get(name):
            raise ValueError(f"{name} and {name}_FILE are both set: keep one")
        if file:
            try:
                values[name] = Path(file).read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"{name}_FILE: cannot read {file}: {type(error).__name__}") from None
        elif env.get(name):
            values[name] = env[name]
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        if name in settings.model_fields:  # pydantic's name for a default that is not valid
            name = str(settings.model_fields[name].validation_alias)
        reason = "is required" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{name}: {reason} (see .env.example)") from None
