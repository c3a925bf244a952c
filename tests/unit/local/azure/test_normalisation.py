"""What a client reads is not what it wrote: each row of the recorded differences."""

from __future__ import annotations

from typing import Any

import pytest


def at(document: Any, path: str) -> Any:
    for part in path.split("/"):
        document = document[int(part)] if part.isdigit() else document[part]
    return document


CONTAINER = "properties/template/containers/0"

SETTLED = [
    ("location", "East US 2"),
    ("type", "Microsoft.App/containerApps"),
    ("identity", {"type": "None"}),
    (f"{CONTAINER}/resources", {"cpu": 0.5, "memory": "1Gi", "ephemeralStorage": "2Gi"}),
    (
        "properties/template/scale",
        {"minReplicas": None, "maxReplicas": 10, "cooldownPeriod": 300, "pollingInterval": 30, "rules": None},
    ),
    ("properties/template/revisionSuffix", ""),
    ("properties/configuration/activeRevisionsMode", "Single"),
    ("properties/configuration/maxInactiveRevisions", 100),
    ("properties/configuration/secrets", None),
    ("properties/configuration/registries", None),
    ("properties/configuration/dapr", None),
    ("properties/configuration/service", None),
    ("properties/configuration/ingress/transport", "Auto"),
    ("properties/configuration/ingress/exposedPort", 0),
    ("properties/configuration/ingress/allowInsecure", False),
    ("properties/configuration/ingress/traffic", [{"weight": 100, "latestRevision": True}]),
    ("properties/configuration/ingress/clientCertificateMode", "Ignore"),
    ("properties/configuration/ingress/customDomains", None),
    ("properties/workloadProfileName", "Consumption"),
    ("properties/delegatedIdentities", []),
]


async def read(azure: Any, name: str = "nbhd-abc") -> Any:
    world = azure.world
    path = f"/subscriptions/{world.subscription_id}/resourceGroups/{world.resource_group}/providers/Microsoft.App"
    status, body = await azure.arm("GET", f"{path}/containerApps/{name}?api-version=2026-07-01")
    assert status == 200
    return body


async def test_defaults_casing_and_nulls(azure: Any) -> None:
    await azure.put("nbhd-abc", azure.body())
    app = await read(azure)
    assert {path: at(app, path) for path, _ in SETTLED} == dict(SETTLED)
    assert app["id"].endswith("/providers/Microsoft.App/containerapps/nbhd-abc")
    assert app["properties"]["managedEnvironmentId"] == app["properties"]["environmentId"]
    assert app["properties"]["configuration"]["ingress"]["fqdn"].startswith("nbhd-abc.")


async def test_resources_and_scale_appear_only_after_success(azure: Any) -> None:
    world = azure.world
    poller = await azure.apps.container_apps.begin_create_or_update(
        world.resource_group, "nbhd-abc", azure.body(), polling=False, cls=lambda pipeline, _b, _h: pipeline
    )
    body = (await poller.result()).http_response.json()
    assert "resources" not in at(body, CONTAINER)
    assert body["properties"]["template"]["scale"] is None


async def test_max_inactive_revisions_vanishes_with_an_unrelated_patch(azure: Any) -> None:
    await azure.put("nbhd-abc", azure.body())
    change = {"location": "eastus2", "tags": {"a": "b"}}
    await (await azure.apps.container_apps.begin_update(azure.world.resource_group, "nbhd-abc", change)).result()
    assert at(await read(azure), "properties/configuration/maxInactiveRevisions") is None


async def test_identities_registries_and_cpu(azure: Any) -> None:
    identity = await azure.identity("nbhd-abc")
    sent_id = identity.id.replace("/resourcegroups/", "/resourceGroups/")
    body = azure.body(
        template={"containers": [{"name": "a", "image": "b/c", "resources": {"cpu": 1, "memory": "2Gi"}}]}
    ) | {"identity": {"type": "UserAssigned", "userAssignedIdentities": {sent_id: {}}}}
    body["properties"]["configuration"]["registries"] = [{"server": "b", "identity": sent_id}]
    await azure.put("nbhd-abc", body)
    app = await read(azure)
    assert app["identity"]["userAssignedIdentities"] == {
        identity.id: {"principalId": identity.principal_id, "clientId": identity.client_id}
    }
    assert at(app, "properties/configuration/registries") == [
        {"server": "b", "username": "", "passwordSecretRef": "", "identity": sent_id}
    ]
    assert at(app, f"{CONTAINER}/resources") == {"cpu": 1.0, "memory": "2Gi", "ephemeralStorage": "4Gi"}


@pytest.mark.parametrize("shown", ["whole", "without nulls"])
async def test_what_is_read_can_be_put_again_without_a_new_revision(azure: Any, shown: str) -> None:
    await azure.put("nbhd-abc", azure.body())
    app = await read(azure)
    revision = app["properties"]["latestRevisionName"]
    for member in ("delegatedIdentities",):  # the service returns it, its own models do not know it
        del app["properties"][member]
    for member in ("service", "corsPolicy", "targetPortHttpScheme"):
        app["properties"]["configuration"]["ingress"].pop(member, None)
    if shown == "without nulls":
        app["properties"]["configuration"] = {k: v for k, v in app["properties"]["configuration"].items() if v}
    await azure.put("nbhd-abc", app)
    assert (await read(azure))["properties"]["latestRevisionName"] == revision
