"""``docs/install-aks.md`` as far as it can be checked without Azure: rights, values, secrets, events, shell."""

from __future__ import annotations

import json
import re
import string
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nbhd_local import tools
from nbhd_local.chart import CHART
from nbhd_local.chart.helm import documents
from nbhd_local.traffic import Request
from nbhd_webhooks.events import POKES
from tests.chart.conftest import Helm
from tests.unit.operator.conftest import Stage

GUIDE = (tools.ROOT / "docs" / "install-aks.md").read_text()
SHELL = "\n".join(re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL))
METHODS = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
# https://learn.microsoft.com/azure/key-vault/general/rbac-guide
VAULT = {
    ("GET", "secrets"): "secrets/getSecret/action",
    ("PUT", "secrets"): "secrets/setSecret/action",
    ("DELETE", "secrets"): "secrets/delete",
    ("POST", "deletedsecrets"): "secrets/recover/action",
    ("GET", "deletedsecrets"): "secrets/readMetadata/action",
}
# What Azure checks besides, for what the body of a PUT names.
LINKED = {
    "Microsoft.App/containerApps/write": {
        "Microsoft.App/managedEnvironments/join/action",
        "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
    }
}


def heredoc(name: str) -> str:
    """What the guide writes into a file."""
    (text,) = re.findall(rf"^cat > {re.escape(name)} <<'?END'?\n(.*?)^END$", SHELL, re.DOTALL | re.MULTILINE)
    return str(text)


def action(call: Request) -> str:
    """The right that a call needs."""
    if call.service == "vault":
        listing = call.path.rstrip("/") == "/secrets"
        return (
            "Microsoft.KeyVault/vaults/" + VAULT[call.method, "deletedsecrets" if listing else call.path.split("/")[1]]
        )
    provider, *parts = call.path.rpartition("/providers/")[2].rstrip("/").split("/")
    kind = "/".join([provider, *parts[0 : None if call.method == "GET" else 1 : 2]])
    return f"{kind}/{parts[2]}/action" if call.method == "POST" else f"{kind}/{METHODS[call.method]}"


def test_the_role_allows_the_calls_that_the_operator_makes_and_no_others(
    story: tuple[Stage, list[dict[str, Any]]],
) -> None:
    stage, _ = story
    made = {action(call) for call in stage.world.traffic.log if call.service != "entra"}
    for one in made & set(LINKED):
        made |= LINKED[one]
    role = json.loads(heredoc("operator-role.json"))
    data = {one for one in made if "/vaults/secrets/" in one}
    assert (set(role["Actions"]), set(role["DataActions"])) == (made - data, data)


def test_the_table_explains_each_right() -> None:
    role = json.loads(heredoc("operator-role.json"))
    rows = re.findall(r"^\| operator \| `([^`]+)` \| (.+) \|$", GUIDE, re.MULTILINE)
    assert [name for name, _ in rows] == [*role["Actions"], *role["DataActions"]]


def test_the_shell_is_shell_and_names_only_what_it_set() -> None:
    done = subprocess.run(["bash", "-n"], input=SHELL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    known = set(re.findall(r"(?:^export |^for )(\w+)", SHELL, re.MULTILINE))
    shell = SHELL.replace(heredoc("openclaw/start.mjs"), "")
    assert set(re.findall(r"\$\{?([A-Za-z]\w*)", shell)) <= known


def test_the_values_install(helm: Helm, tmp_path: Path) -> None:
    given = dict.fromkeys(re.findall(r"\$(\w+)", heredoc("values.yaml")), "x")
    given |= dict(re.findall(r"^export (\w+)=([\w.:/-]+)(?: |$)", SHELL, re.MULTILINE))
    guid, group = "33333333-3333-4333-8333-333333333333", "/subscriptions/s/resourceGroups/g/providers"
    given |= {
        "CELL_GROUP": "nbhd-eastus2-1",
        "VAULT": "contoso-eastus2-1",
        "OPERATOR_CLIENT_ID": guid,
        "SUBSCRIPTION": guid,
        "BOT_ID": "8000002",
        "PRICE_BASIC": "price_1",
        "PRICE_PLUS": "price_2",
        "OPENCLAW_IMAGE": "contosonbhd.azurecr.io/openclaw@sha256:" + "0" * 64,
        "ENVIRONMENT_ID": f"{group}/Microsoft.App/managedEnvironments/e",
        "PULL_IDENTITY_ID": f"{group}/Microsoft.ManagedIdentity/userAssignedIdentities/i",
    }
    (tmp_path / "values.yaml").write_text(string.Template(heredoc("values.yaml")).substitute(given))
    rendered = documents(helm("template", "nbhd", str(CHART), f"--values={tmp_path}/values.yaml"))
    deployments = {one["metadata"]["name"]: one["spec"] for one in rendered if one["kind"] == "Deployment"}
    assert deployments["webhooks"]["replicas"] == 2
    mounted = {
        item["key"]
        for one in deployments.values()
        for volume in one["template"]["spec"]["volumes"]
        if volume["name"] == "secrets"
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }
    assert set(re.findall(r"--from-literal=(\w+)=", SHELL)) == mounted


def test_stripe_sends_the_events_that_are_looked_at() -> None:
    assert tuple(re.findall(r'enabled_events\[\]=([\w.]+)"', SHELL)) == POKES


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:charts|manifests|docs)/[\w./-]*\w", GUIDE))))
def test_files_that_it_names_exist(path: str) -> None:
    assert (tools.ROOT / path).exists()
