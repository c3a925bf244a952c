"""From the container's environment to settings: the entrypoint's part, then OpenClaw's own strict validation.

``NBHD_CREDENTIALS`` becomes environment variables, which ``${VAR}`` placeholders of the configuration then name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

_VARIABLE = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)\}")
_TOP_LEVEL = frozenset(
    {
        *("$schema", "meta", "env", "wizard", "diagnostics", "logging", "cli", "update", "browser", "ui", "secrets"),
        *("auth", "acp", "models", "nodeHost", "agents", "tools", "bindings", "broadcast", "audio", "media"),
        *("messages", "commands", "approvals", "session", "cron", "hooks", "web", "channels", "discovery"),
        *("canvasHost", "talk", "gateway", "memory", "mcp", "skills", "plugins"),
    }
)
_GATEWAY = frozenset(
    {
        *("mode", "port", "bind", "auth", "controlUi", "reload", "http", "trustedProxies", "tls", "remote"),
        *("tailscale", "customBindHost", "nodes", "channelHealthCheckMinutes"),
    }
)
_TELEGRAM = frozenset(
    {
        *("enabled", "name", "botToken", "tokenFile", "apiRoot", "trustedLocalFileRoots", "webhookUrl"),
        *("webhookSecret", "webhookPath", "webhookHost", "webhookPort", "webhookCertPath", "dmPolicy", "allowFrom"),
        *("groupPolicy", "groups", "groupAllowFrom", "proxy", "network", "streaming", "commands", "customCommands"),
        *("configWrites", "actions", "replyToMode", "textChunkLimit", "mediaMaxMb", "linkPreview", "richMessages"),
        *("reactionNotifications", "errorPolicy", "healthMonitor", "accounts", "defaultAccount", "timeoutSeconds"),
    }
)
_DM_POLICIES = frozenset({"pairing", "allowlist", "open", "disabled"})
_GROUP_POLICIES = frozenset({"open", "disabled", "allowlist"})
_MERGE_MILLISECONDS = 300


class ConfigError(Exception):
    """A configuration with which OpenClaw does not start. The message holds no secret."""


@dataclass(frozen=True)
class Settings:
    """What the stand-in obeys of an OpenClaw configuration."""

    bot_token: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    api_root: str
    webhook_url: str
    webhook_path: str
    webhook_host: str
    webhook_port: int
    dm_policy: str
    allow_from: frozenset[str]
    native_commands: bool
    persona: str
    model: str
    merge_seconds: float
    retry_seconds: float
    state_dir: Path
    masked: tuple[str, ...] = field(repr=False)
    """Secrets that OpenClaw hides in what its tools print (not all of them)."""


def load(environ: MutableMapping[str, str]) -> Settings:
    """Reads the environment, which gains the members of ``NBHD_CREDENTIALS``. Raises ``ConfigError``."""
    _spread_credentials(environ)
    config = _parse(environ)
    resolved: dict[str, Any] = _substitute(config, environ)
    _check_keys("", resolved, _TOP_LEVEL)
    gateway, telegram = _section(resolved, "gateway"), _section(_section(resolved, "channels"), "telegram")
    _check_keys("gateway.", gateway, _GATEWAY)
    _check_keys("channels.telegram.", telegram, _TELEGRAM)
    _check_gateway(gateway)
    _check_telegram(telegram)
    provider_keys = [str(p.get("apiKey") or "") for p in _section(_section(resolved, "models"), "providers").values()]
    for value in provider_keys:
        _secret("models.providers.*.apiKey", value)
    agents, messages = _section(resolved, "agents"), _section(resolved, "messages")
    inbound = _section(messages, "inbound")
    return Settings(
        bot_token=_secret("channels.telegram.botToken", telegram.get("botToken")),
        webhook_secret=_secret("channels.telegram.webhookSecret", telegram.get("webhookSecret")),
        api_root=re.sub(r"/bot\d+:[^/]*$", "", str(telegram.get("apiRoot") or "https://api.telegram.org").rstrip("/")),
        webhook_url=str(telegram["webhookUrl"]),
        webhook_path=str(telegram.get("webhookPath") or "/telegram-webhook"),
        webhook_host=str(telegram.get("webhookHost") or "127.0.0.1"),
        webhook_port=int(telegram.get("webhookPort", 8787)),
        dm_policy=str(telegram.get("dmPolicy") or "pairing"),
        allow_from=frozenset(str(entry) for entry in telegram.get("allowFrom") or []),
        native_commands=_section(telegram, "commands").get("native") is not False,
        persona=_persona(agents),
        model=str(_section(_section(agents, "defaults"), "model").get("primary") or "none"),
        merge_seconds=inbound.get("debounceMs", _MERGE_MILLISECONDS) / 1000,
        retry_seconds=float(environ.get("STAND_IN_RETRY_SECONDS", "5")),
        state_dir=Path(environ.get("OPENCLAW_STATE_DIR") or Path(environ.get("HOME", ".")) / ".openclaw"),
        masked=tuple(value for value in (str(telegram.get("botToken")), *provider_keys) if value),
    )


def _spread_credentials(environ: MutableMapping[str, str]) -> None:
    text = environ.pop("NBHD_CREDENTIALS", None)
    if text is None:
        return
    try:
        members = json.loads(text)
    except ValueError:
        raise ConfigError("NBHD_CREDENTIALS is not JSON") from None
    if not isinstance(members, dict) or not all(isinstance(value, str) for value in members.values()):
        raise ConfigError("NBHD_CREDENTIALS is not an object of strings")
    environ.update(members)


def _parse(environ: MutableMapping[str, str]) -> dict[str, Any]:
    text, path = environ.get("OPENCLAW_CONFIG_JSON"), environ.get("OPENCLAW_CONFIG_PATH")
    if text is None and path:
        if not Path(path).is_file() or Path(path).is_symlink():
            raise ConfigError("OPENCLAW_CONFIG_PATH is not a regular file")
        text = Path(path).read_text()
    try:
        config = json.loads(text or "")
    except ValueError:
        raise ConfigError("the configuration is missing or not JSON") from None
    if not isinstance(config, dict):
        raise ConfigError("the configuration is not an object")
    return config


def _substitute(value: Any, environ: MutableMapping[str, str]) -> Any:
    """Fills placeholders; one without a variable stays, which makes the value unusable."""
    fill: Callable[[re.Match[str]], str] = lambda found: environ.get(found[1], found[0])  # noqa: E731
    if isinstance(value, str):
        return _VARIABLE.sub(fill, value)
    if isinstance(value, dict):
        return {name: _substitute(inner, environ) for name, inner in value.items()}
    if isinstance(value, list):
        return [_substitute(inner, environ) for inner in value]
    return value


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{name} must be an object")
    return found


def _check_keys(prefix: str, section: dict[str, Any], known: frozenset[str]) -> None:
    unknown = set(section) - known
    if unknown:
        raise ConfigError(f"unknown key {prefix}{min(unknown)}")


def _check_gateway(gateway: dict[str, Any]) -> None:
    if gateway.get("mode") != "local":
        raise ConfigError("gateway.mode must be set to local")
    if "token" in _section(gateway, "auth"):
        _secret("gateway.auth.token", gateway["auth"]["token"])


def _check_telegram(telegram: dict[str, Any]) -> None:
    if telegram.get("enabled") is False or not telegram:
        raise ConfigError("channels.telegram is not enabled")
    _one_of("dmPolicy", telegram.get("dmPolicy", "pairing"), _DM_POLICIES)
    _one_of("groupPolicy", telegram.get("groupPolicy", "allowlist"), _GROUP_POLICIES)
    if telegram.get("dmPolicy") == "allowlist" and not telegram.get("allowFrom"):
        raise ConfigError("channels.telegram.dmPolicy allowlist needs a non-empty allowFrom")
    if not telegram.get("webhookUrl"):
        raise ConfigError("channels.telegram.webhookUrl is missing, and the stand-in does not poll")
    if not str(telegram.get("webhookPath", "/")).startswith("/"):
        raise ConfigError("channels.telegram.webhookPath must start with /")
    port = telegram.get("webhookPort", 8787)
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise ConfigError("channels.telegram.webhookPort must be a port number")
    if _VARIABLE.search(str(telegram.get("webhookHost", ""))):
        raise ConfigError("channels.telegram.webhookHost names a variable that is not set")


def _one_of(key: str, value: Any, known: frozenset[str]) -> None:
    if value not in known:
        raise ConfigError(f"channels.telegram.{key} must be one of {sorted(known)}")


def _secret(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value or _VARIABLE.search(value):
        _fail_missing(key)
    return value


def _fail_missing(key: str) -> NoReturn:
    raise ConfigError(f"{key} has no value: is its variable set?")


def _persona(agents: dict[str, Any]) -> str:
    listed = agents.get("list") or []
    first = listed[0] if listed and isinstance(listed[0], dict) else {}
    return str(_section(first, "identity").get("name") or first.get("name") or "Assistant")
