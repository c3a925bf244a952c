"""The chart's values: each one has an effect, wrong ones are refused in words, lint finds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from nbhd_local.chart import CHART
from nbhd_local.chart.helm import template_command, values
from tests.chart.conftest import Helm

SETS = ["minimal", "ha", "strict", "monitoring", "local"]


@pytest.mark.parametrize("name", SETS)
def test_lint_finds_nothing(helm: Helm, name: str) -> None:
    helm("lint", "--strict", str(CHART), *values(name))


SOME_ID = "/subscriptions/s/resourceGroups/g/providers/P/a/b"
OTHER_CELL = ",".join(
    f"cells.b.{name}={value}"
    for name, value in {
        "resourceGroup": "g",
        "location": "eastus2",
        "environmentId": SOME_ID,
        "pullIdentityId": SOME_ID,
    }.items()
)
# (setting, part of the message)
MISTAKES = [
    ("operator.replica=2", "additional properties 'replica' not allowed"),
    ("webhook.replicas=2", "additional properties 'webhook' not allowed"),
    ("operator.replicas=two", "at '/operator/replicas': got string, want integer"),
    ("operator.replicas=-1", "at '/operator/replicas': minimum: got -1, want 0"),
    ("ingress.enabled=yes", "at '/ingress/enabled': got string, want boolean"),
    ("router.replicas=2", "additional properties 'replicas' not allowed"),
    ("platform.logLevel=debug", "at '/platform/logLevel': value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
    ("uninstall.withTenants=delete", "at '/uninstall/withTenants': value must be one of 'refuse', 'keep'"),
    ("secrets.provider=vault", "at '/secrets/provider': value must be one of 'existing', 'keyVault'"),
    ("urls.website=http://example.com", 'urls.website is "http://example.com": it must be https and a host'),
    ("urls.telegram=https://bot.example.com/telegram/webhook", "it must be https and a host, without a path"),
    ("azure.clientId=nbhd-operator", 'azure.clientId is "nbhd-operator": it must be a GUID, as `az identity show'),
    ("azure.keyVaultName=https://v.vault.azure.net", "it must be the name of a vault, not its URL"),
    ("telegram.botUsername=@example_bot", "it must be the bot's name without @"),
    ("telegram.botId=7000001:AAH", "at '/telegram/botId': got string, want integer"),
    ("stripe.prices.basic=prod_1", "it must be the id of a price (price_...), not of a product"),
    ("openclaw.image=example.azurecr.io/openclaw:latest", "it must be an image by digest, registry/name@sha256:..."),
    ("plans.basic.cooldwon=60s", "additional properties 'cooldwon' not allowed"),
    ("plans.basic.memory=2G", "at '/plans/basic/memory'"),
    ("cells.eastus2-1.region=eastus2", "additional properties 'region' not allowed"),
    ("cells.eastus2-1.location=East US 2", "at '/cells/eastus2-1/location'"),
    ("operator.resources.requests.memory=lots", "at '/operator/resources/requests/memory'"),
    ("networkPolicy.internetCidrs={api.stripe.com}", "at '/networkPolicy/internetCidrs/0'"),
    # what depends on other values
    ("urls.egress=", "urls.egress: where the tenants' containers reach the router, such as https://egress.example.com"),
    ("azure.clientId=", "azure.clientId: the client id of the operator's managed identity"),
    ("telegram.botId=0", "telegram.botId: the bot's numeric id: what is before the colon of its token"),
    ("openclaw.image=", "openclaw.image: the image of the tenants' containers, by digest (plan basic names none)"),
    ("secrets.provider=keyVault", "secrets.keyVault.name: the vault that holds the platform's secrets"),
    (OTHER_CELL, "cells.b.subscriptionId, or azure.subscriptionId for all cells"),
    (OTHER_CELL, "cells.b.vault.name, or azure.keyVaultName for all cells"),
    ("azure.mock=true", "azure.tenantId and azure.authorityHost: those of the emulator"),
    ("tenants.namespace=nbhd-system", "tenants.namespace must be another namespace than the release's (nbhd-system)"),
    ("stripe.prices.plus=price_basic", "stripe.prices.basic and stripe.prices.plus must differ"),
    ("clock.existingClaim=clock", "clock.existingClaim needs azure.mock"),
]


@pytest.mark.parametrize(("setting", "message"), MISTAKES)
def test_a_mistake_is_explained(helm: Helm, setting: str, message: str) -> None:
    done = helm.run(*template_command(settings=[setting]))
    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())


def test_all_that_is_missing_is_said_at_once(helm: Helm) -> None:
    done = helm.run("template", "nbhd", str(CHART))
    assert done.returncode != 0
    assert "These values are needed:" in done.stderr
    for name in ("urls.website", "azure.clientId", "telegram.botId", "stripe.prices.basic", "openclaw.image"):
        assert f"- {name}: " in done.stderr


def test_real_money_never_buys_an_emulated_cloud(helm: Helm) -> None:
    done = helm.run(*template_command("local", settings=["stripe.liveMode=true"]))
    assert "real money must not buy an emulated cloud" in done.stderr


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths and defaults of all values; an empty map or a list is one value."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, node


def other(value: Any) -> Any:
    """A value that must make a difference."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 7
    if isinstance(value, list):
        return ["192.0.2.0/24"] if value == ["0.0.0.0/0"] else [443] if 443 in value else [{"podSelector": {}}]
    if isinstance(value, dict):
        return {"example.com/changed": "yes"}
    return "changed"


def changed(path: tuple[str, ...], default: Any) -> dict[str, Any]:
    """Values that differ from the defaults in this one."""
    result = SPECIAL.get(".".join(path), other(default))
    for key in reversed(path):
        result = {key: result}
    nested: dict[str, Any] = result
    return nested


GUID = "99999999-9999-4999-8999-999999999999"
SPECIAL: dict[str, Any] = {
    **dict.fromkeys(("urls.website", "urls.telegram", "urls.egress", "urls.models"), "https://other.example.com"),
    **dict.fromkeys(("azure.armUrl", "azure.authorityHost", "stripe.apiUrl"), "https://other.example.com"),
    **dict.fromkeys(("telegram.apiUrl", "telegram.linkUrl"), "https://other.example.com"),
    **dict.fromkeys(("azure.clientId", "azure.tenantId", "azure.subscriptionId"), GUID),
    **dict.fromkeys(("secrets.keyVault.tenantId", "secrets.keyVault.clientId"), GUID),
    **dict.fromkeys(("stripe.prices.basic", "stripe.prices.plus"), "price_other"),
    "image.digest": "sha256:" + "1" * 64,
    "openclaw.image": "example.com/other@sha256:" + "1" * 64,
    "image.pullSecrets": ["registry"],
    "secrets.provider": "keyVault",
    "uninstall.withTenants": "keep",
    "cells": {"other": {"vault": {"name": "v"}, "subscriptionId": "s"}},
    "plans.basic.lookupKeys": ["other"],
    "plans.plus.lookupKeys": ["other"],
    "pods.tolerations": [{"operator": "Exists"}],
    "telegram.botUsername": "other_bot",
    "tenants.namespace": "elsewhere",
}
# A value without a line here must make a difference to the default install.
WHERE = {
    "clock.existingClaim": ["azure.mock=true", f"azure.tenantId={GUID}", "azure.authorityHost=https://a"],
    "azure.mock": [f"azure.tenantId={GUID}", "azure.authorityHost=https://a"],
    "secrets.provider": [
        "secrets.keyVault.name=vault",
        f"secrets.keyVault.tenantId={GUID}",
        f"secrets.keyVault.clientId={GUID}",
    ],
    "pods.topologySpread": ["operator.replicas=2"],
}


def test_every_value_makes_a_difference(helm: Helm, tmp_path: Path) -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())

    @cache
    def rendered(extra: tuple[str, ...], given: tuple[str, ...]) -> str:
        done = helm.run(*template_command(*given, settings=extra), "--skip-schema-validation")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def idle(leaf: tuple[tuple[str, ...], Any]) -> str | None:
        path, default = leaf
        name = ".".join(path)
        given = ("local",) if path[0] == "local" else ("monitoring",)
        if name in ("secrets.provider", "secrets.platform") or path[-1] == "enabled":
            given = ("minimal",)
        file = tmp_path / f"{name.replace('/', '-')}.yaml"
        file.write_text(yaml.safe_dump(changed(path, default)))
        extra = WHERE.get(name, [])
        command = [*template_command(*given, settings=extra), "--skip-schema-validation", f"--values={file}"]
        done = helm.run(*command)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        before = rendered(tuple(extra), given)
        return name if stable(before) == stable(done.stdout) else None

    with ThreadPoolExecutor(2) as pool:
        found = [name for name in pool.map(idle, leaves(defaults)) if name]
    assert found == []


def stable(text: str) -> list[str]:
    """Documents, as text, without those in which Helm makes something up at random."""
    documents = text.split("\n---\n")
    return [one for one in documents if "\nkind: Secret\n" not in one and "\n  name: local-ca\n" not in one]
