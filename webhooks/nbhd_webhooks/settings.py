"""Settings of the webhooks service, read once at start by ``main.py``; every other module is given what it needs.

Secrets may also come from files (``NAME_FILE``); a missing or malformed setting stops the service with one line.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from nbhd_crds.settings import LinkKeys, Settings

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _web_url(value: str, info: ValidationInfo) -> str:
    """An https URL, or http on loopback or in a local world; no trailing slash, so that paths can be appended."""
    parts = urlsplit(value)
    if parts.query or parts.fragment or not parts.hostname or parts.username:
        raise ValueError("must be a plain URL such as https://example.com")
    plain = parts.scheme == "http" and (parts.hostname in LOOPBACK or info.data.get("azure_mock"))
    if parts.scheme != "https" and not plain:
        raise ValueError("must begin with https:// (http:// is for loopback only)")
    return value.rstrip("/")


def _secrets(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    if not all(part.startswith("whsec_") and len(part) > len("whsec_") for part in parts):
        raise ValueError("must be a comma-separated list of signing secrets that begin with whsec_")
    return tuple(SecretStr(part) for part in parts)


WebUrl = Annotated[str, AfterValidator(_web_url)]
SigningSecrets = Annotated[tuple[SecretStr, ...], BeforeValidator(_secrets)]


class WebhooksSettings(Settings):
    """What the webhooks service needs."""

    live_mode: bool = Field(False, validation_alias="STRIPE_LIVE_MODE")
    test_key: SecretStr | None = Field(None, validation_alias="STRIPE_TEST_SECRET_KEY", validate_default=True)
    live_key: SecretStr | None = Field(None, validation_alias="STRIPE_LIVE_SECRET_KEY", validate_default=True)
    signing_secrets: SigningSecrets = Field(validation_alias="STRIPE_WEBHOOK_SECRETS")
    price_basic: str = Field(validation_alias="STRIPE_PRICE_BASIC", pattern="^price_[A-Za-z0-9_]+$")
    price_plus: str = Field(validation_alias="STRIPE_PRICE_PLUS", pattern="^price_[A-Za-z0-9_]+$")
    stripe_url: WebUrl = Field("https://api.stripe.com", validation_alias="STRIPE_API_URL")
    frontend_url: WebUrl = Field(validation_alias="FRONTEND_URL")
    bot_username: str = Field(validation_alias="TELEGRAM_BOT_USERNAME", pattern="^[A-Za-z][A-Za-z0-9_]{3,31}$")
    telegram_link_url: WebUrl = Field("https://t.me", validation_alias="TELEGRAM_LINK_URL")
    link_keys: LinkKeys = Field(validation_alias="NBHD_LINK_KEYS")
    namespace: str = Field(validation_alias="NBHD_NAMESPACE", pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    listen: str = Field("127.0.0.1:8080", validation_alias="NBHD_LISTEN", pattern=r"^[^:]+:\d{1,5}$")
    resync_seconds: int = Field(600, validation_alias="NBHD_RESYNC_SECONDS", ge=1, le=86400)

    @field_validator("live_mode")
    @classmethod
    def _no_real_money_for_an_emulated_cloud(cls, live: bool, info: ValidationInfo) -> bool:
        if live and info.data.get("azure_mock"):
            raise ValueError("must not be true with AZURE_MOCK=true: real money must not buy an emulated cloud")
        return live

    @field_validator("test_key", "live_key")
    @classmethod
    def _key_of_its_mode(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        mode = "live" if info.field_name == "live_key" else "test"
        wanted = "live" if info.data.get("live_mode") else "test"
        if key is None and mode == wanted:
            message = f"is required when STRIPE_LIVE_MODE is {'true' if mode == 'live' else 'false'}"
            raise ValueError(message)
        if key is not None and not key.get_secret_value().startswith((f"sk_{mode}_", f"rk_{mode}_")):
            message = f"must begin with sk_{mode}_ or rk_{mode}_"
            raise ValueError(message)
        return key

    @field_validator("price_plus")
    @classmethod
    def _two_prices(cls, price: str, info: ValidationInfo) -> str:
        if price == info.data.get("price_basic"):
            raise ValueError("must be another price than STRIPE_PRICE_BASIC")
        return price

    @property
    def api_key(self) -> SecretStr:
        """The Stripe key of the configured mode."""
        key = self.live_key if self.live_mode else self.test_key
        if key is None:
            raise AssertionError("checked when the settings were read")
        return key

    @property
    def plan_prices(self) -> dict[str, str]:
        """Plan → price id; the plan's name is also the lookup key of a price that has none."""
        return {"basic": self.price_basic, "plus": self.price_plus}
