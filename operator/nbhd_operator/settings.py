"""The operator's settings, read once at start from the environment.

``main.py`` loads them; everything after it gets values, never the environment. Only the Azure identity library reads
its own AZURE_* variables, which are checked here so that a missing one is named at start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from nbhd_crds.settings import BotKeys, GatewayKeys, ModelKeys, Settings, WebhookKeys

# Hosts that are Microsoft's. Any other one gets tokens and secrets only with AZURE_MOCK=true.
_AUTHORITIES = ("login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn")
_ARM = ("management.azure.com", "management.usgovcloudapi.net", "management.chinacloudapi.cn")
_VAULTS = (".vault.azure.net", ".vault.usgovcloudapi.net", ".vault.azure.cn")


class OperatorSettings(Settings):
    """What the operator needs beyond the settings that all services share."""

    bot_keys: BotKeys = Field(validation_alias="NBHD_BOT_KEYS", repr=False)
    webhook_keys: WebhookKeys = Field(validation_alias="NBHD_WEBHOOK_KEYS", repr=False)
    gateway_keys: GatewayKeys = Field(validation_alias="NBHD_GATEWAY_KEYS", repr=False)
    model_keys: ModelKeys = Field(validation_alias="NBHD_MODEL_KEYS", repr=False)

    bot_id: int = Field(validation_alias="NBHD_BOT_ID", ge=1)
    egress_url: str = Field(validation_alias="NBHD_EGRESS_URL", pattern="^https?://")
    model_url: str = Field(validation_alias="NBHD_MODEL_URL", pattern="^https?://")

    subscription_id: str | None = Field(None, validation_alias="AZURE_SUBSCRIPTION_ID")
    key_vault_name: str | None = Field(None, validation_alias="AZURE_KEY_VAULT_NAME", pattern="^[A-Za-z0-9-]{3,24}$")
    arm_url: str = Field("https://management.azure.com", validation_alias="AZURE_ARM_URL", pattern="^https://")
    azure_tenant_id: str = Field(validation_alias="AZURE_TENANT_ID")
    azure_client_id: str = Field(validation_alias="AZURE_CLIENT_ID")
    azure_token_file: str = Field(validation_alias="AZURE_FEDERATED_TOKEN_FILE")
    authority_host: str = Field(
        "https://login.microsoftonline.com", validation_alias="AZURE_AUTHORITY_HOST", pattern="^https://"
    )

    lease_namespace: str = Field(
        "", validation_alias="NBHD_LEASE_NAMESPACE", pattern="^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$"
    )
    workers: int = Field(32, validation_alias="NBHD_OPERATOR_WORKERS", ge=1, le=1000)
    drift_seconds: float = Field(600, validation_alias="NBHD_DRIFT_SECONDS", gt=0)

    @model_validator(mode="after")
    def _only_microsoft_without_mock(self) -> Self:
        for name, url, hosts in (
            ("AZURE_AUTHORITY_HOST", self.authority_host, _AUTHORITIES),
            ("AZURE_ARM_URL", self.arm_url, _ARM),
        ):
            if not self.azure_mock and urlsplit(url).hostname not in hosts:
                raise ValueError(f"{name} is not a Microsoft host: set AZURE_MOCK=true if that is meant")
        return self

    def vault_allowed(self, url: str) -> bool:
        """False for a vault elsewhere than at Microsoft's: the tenants' secrets would go there."""
        return self.azure_mock or (urlsplit(url).hostname or "").endswith(_VAULTS)

    @property
    def platform(self) -> Platform:
        """The part that decisions about tenants depend on."""
        return Platform(
            id=self.platform_id,
            bot_id=self.bot_id,
            egress_url=self.egress_url.rstrip("/"),
            model_url=self.model_url.rstrip("/"),
            subscription_id=self.subscription_id,
            key_vault_name=self.key_vault_name,
        )


@dataclass(frozen=True)
class Platform:
    """Facts of this installation that go into every tenant's resources."""

    id: str
    bot_id: int
    egress_url: str
    model_url: str
    subscription_id: str | None
    key_vault_name: str | None
