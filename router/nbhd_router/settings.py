"""The router's settings, read once at start; ``main`` hands each part only what it needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from nbhd_crds.settings import BotKeys, LinkKeys, Settings, WebhookKeys

_LISTEN = r"^[^:]+:\d+$"


def _base_url(value: str) -> str:
    return value.rstrip("/")


BaseUrl = Annotated[str, Field(pattern=r"^https?://[^/\s?#]+[^\s?#]*$"), AfterValidator(_base_url)]


def _bot_token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[0-9]{1,19}:[A-Za-z0-9_-]{20,}", value.get_secret_value()):
        raise ValueError("a bot token looks like digits:letters")
    return value


def _webhook_secrets(value: SecretStr) -> SecretStr:
    for secret in value.get_secret_value().split(","):
        if not re.fullmatch(r"[A-Za-z0-9_-]{16,256}", secret):
            raise ValueError("a secret has 16 to 256 characters of A-Z a-z 0-9 _ -; the first of a comma list is set")
    return value


BotToken = Annotated[SecretStr, AfterValidator(_bot_token)]
WebhookSecrets = Annotated[SecretStr, AfterValidator(_webhook_secrets)]


class RouterSettings(Settings):
    """What the router reads from the environment."""

    bot_token: BotToken = Field(validation_alias="TELEGRAM_BOT_TOKEN")
    webhook_secrets: WebhookSecrets = Field(validation_alias="TELEGRAM_WEBHOOK_SECRET")
    telegram_url: BaseUrl = Field("https://api.telegram.org", validation_alias="TELEGRAM_API_URL")
    public_url: BaseUrl = Field(validation_alias="NBHD_PUBLIC_URL")
    frontend_url: BaseUrl = Field(validation_alias="FRONTEND_URL")
    listen: str = Field("0.0.0.0:8080", validation_alias="NBHD_LISTEN", pattern=_LISTEN)
    egress_listen: str = Field("0.0.0.0:8081", validation_alias="NBHD_EGRESS_LISTEN", pattern=_LISTEN)
    tls_cert: Path | None = Field(None, validation_alias="NBHD_TLS_CERT")
    tls_key: Path | None = Field(None, validation_alias="NBHD_TLS_KEY")
    spool_path: Path = Field(validation_alias="NBHD_SPOOL_PATH")
    max_connections: int = Field(100, validation_alias="NBHD_TELEGRAM_CONNECTIONS", ge=1, le=100)
    bot_keys: BotKeys = Field(validation_alias="NBHD_BOT_KEYS")
    webhook_keys: WebhookKeys = Field(validation_alias="NBHD_WEBHOOK_KEYS")
    link_keys: LinkKeys = Field(validation_alias="NBHD_LINK_KEYS")

    @property
    def bot_id(self) -> int:
        """The real bot's numeric id, which every token of it begins with."""
        return int(self.bot_token.get_secret_value().partition(":")[0])

    @property
    def accepted_secrets(self) -> tuple[str, ...]:
        """Webhook secrets that count; the first is the one that Telegram is told."""
        return tuple(self.webhook_secrets.get_secret_value().split(","))
