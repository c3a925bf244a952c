from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from nbhd_local.azure import AzureWorld, Delays
from nbhd_local.ca import Authority

TEMPLATE = {"containers": [{"name": "openclaw", "image": "example.test/app:1"}]}


async def refusal(call: Any) -> tuple[int | None, str | None]:
    with pytest.raises(HttpResponseError) as refused:
        await call
    return refused.value.status_code, refused.value.error.code if refused.value.error else None


@pytest.fixture
async def slow(authority: Authority, connect: Any) -> AsyncIterator[Any]:
    """A world in which changes and role propagation never end by themselves."""
    world = AzureWorld(authority, delays=Delays(app=60, role_propagation=60), run_containers=False)
    async with world, connect(world) as clients:
        yield clients


async def test_put_answers_201_in_progress_and_is_polled_at_subscription_scope(azure: Any) -> None:
    world = azure.world

    def seen(pipeline: Any, body: Any, _headers: Any) -> Any:
        return pipeline.http_response.status_code, pipeline.http_response.headers, body

    poller = await azure.apps.container_apps.begin_create_or_update(
        world.resource_group, "nbhd-abc", azure.body(), polling=False, cls=seen
    )
    status, headers, body = await poller.result()
    assert (status, body.properties.provisioning_state, body.properties.latest_revision_name) == (201, "InProgress", "")
    assert "Retry-After" not in headers
    operation = headers["Azure-AsyncOperation"]
    prefix = f"{world.arm_url}/subscriptions/{world.subscription_id}/providers/Microsoft.App/locations/"
    assert operation.startswith(prefix)
    assert 2000 < len(operation) < 4000
    found = {"status": "InProgress"}
    while found["status"] == "InProgress":
        status, found = await azure.arm("GET", operation.removeprefix(world.arm_url))
        assert (status, set(found)) == (200, {"id", "name", "status", "startTime"})
    app = await azure.put("nbhd-abc", azure.body())
    assert app.properties.provisioning_state == "Succeeded"


async def test_a_change_during_a_change_is_refused(slow: Any) -> None:
    apps, group = slow.apps.container_apps, slow.world.resource_group
    await apps.begin_create_or_update(group, "nbhd-abc", slow.body(), polling=False)
    for call in (
        apps.begin_create_or_update(group, "nbhd-abc", slow.body(), polling=False),
        apps.begin_update(group, "nbhd-abc", {"location": "eastus2", "tags": {"a": "b"}}, polling=False),
        apps.begin_delete(group, "nbhd-abc", polling=False),
        apps.begin_stop(group, "nbhd-abc", polling=False),
    ):
        with pytest.raises(HttpResponseError) as refused:
            await call
        assert refused.value.error is not None
        assert (refused.value.status_code, refused.value.error.code) == (409, "ContainerAppOperationInProgress")
    assert isinstance(refused.value, ResourceExistsError)


async def test_patch_merges_and_delete_ends_in_404(azure: Any) -> None:
    apps, group = azure.apps.container_apps, azure.world.resource_group
    await azure.put("nbhd-abc", azure.body() | {"tags": {"a": "1"}})
    patched = await (await apps.begin_update(group, "NBHD-ABC", {"location": "eastus2", "tags": {"b": "2"}})).result()
    assert patched.tags == {"a": "1", "b": "2"}
    await (await apps.begin_delete(group, "nbhd-abc")).result()
    with pytest.raises(ResourceNotFoundError) as absent:
        await azure.app("nbhd-abc")
    assert absent.value.error is not None
    assert absent.value.error.code == "ResourceNotFound"
    assert await refusal(apps.get("nowhere", "nbhd-abc")) == (404, "ResourceGroupNotFound")
    assert (await apps.begin_delete(group, "nbhd-abc")).status() == "Succeeded"  # 204


async def test_lists_follow_next_links(azure: Any) -> None:
    azure.world.subscription.page_size = 2
    apps, group = azure.apps.container_apps, azure.world.resource_group
    for number in range(5):
        await apps.begin_create_or_update(group, f"nbhd-{number}", azure.body(), polling=False)
    before = len(azure.world.requests)
    assert [app.name async for app in apps.list_by_resource_group(group)] == [f"nbhd-{n}" for n in range(5)]
    assert len(azure.world.requests) - before == 3
    assert len([app async for app in apps.list_by_subscription()]) == 5


async def test_a_revision_is_made_by_a_changed_template_only(azure: Any) -> None:
    world, revisions = azure.world, azure.apps.container_apps_revisions
    first = (await azure.put("nbhd-abc", azure.body())).properties.latest_revision_name
    assert first.startswith("nbhd-abc--")
    same = azure.body(
        template={**copy.deepcopy(TEMPLATE), "revisionSuffix": None, "scale": {"maxReplicas": 10}},
        configuration={"ingress": {"external": True, "targetPort": 80}},
    )
    assert (await azure.put("nbhd-abc", same)).properties.latest_revision_name == first
    changed = azure.body(template={**TEMPLATE, "scale": {"maxReplicas": 1}})
    second = (await azure.put("nbhd-abc", changed)).properties.latest_revision_name
    assert second != first
    assert [r.name async for r in revisions.list_revisions(world.resource_group, "nbhd-abc")] == [second]
    old = await revisions.get_revision(world.resource_group, "nbhd-abc", first)
    assert (old.properties.active, old.properties.provisioning_state) == (False, "Provisioned")
    assert await refusal(revisions.get_revision(world.resource_group, "nbhd-abc", "x")) == (404, "RevisionNotFound")


async def test_ready_revision_lags_behind_success(authority: Authority, connect: Any) -> None:
    world = AzureWorld(authority, delays=Delays(app=0, ready_lag=60), run_containers=False)
    async with world, connect(world) as azure:
        properties = (await azure.put("nbhd-abc", azure.body())).properties
        assert properties.provisioning_state == "Succeeded"
        assert (properties.latest_ready_revision_name, bool(properties.latest_revision_name)) == ("", True)


async def test_stop_and_start(azure: Any) -> None:
    apps, group = azure.apps.container_apps, azure.world.resource_group
    await azure.put("nbhd-abc", azure.body())
    assert (await (await apps.begin_stop(group, "nbhd-abc")).result()).properties.running_status == "Stopped"
    assert (await (await apps.begin_start(group, "nbhd-abc")).result()).properties.running_status == "Running"


@pytest.mark.parametrize("name", ["a", "Nbhd", "1abc", "nbhd--abc", "nbhd-", "n" * 33, "n_b"])
async def test_bad_names_are_refused(azure: Any, name: str) -> None:
    assert await refusal(azure.put(name, azure.body())) == (400, "ContainerAppInvalidName")


def container(**changes: Any) -> dict[str, Any]:
    return {"containers": [{**TEMPLATE["containers"][0], **changes}]}


TOTAL = "ContainerAppInvalidResourceTotal"
INVALID = "InvalidParameterValueInContainerTemplate"
CONTENT = "InvalidRequestContent"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"bogus": 1}, CONTENT),
        ({"template": {**TEMPLATE, "scale": {"minReplicas": "zero"}}}, CONTENT),
        ({"template": {**TEMPLATE, "scale": {"cooldownPeriod": 60.0}}}, CONTENT),
        ({"template": {**TEMPLATE, "scale": {"cooldown": 60}}}, CONTENT),
        ({"configuration": {"ingress": {"targetPort": 80, "transport": "pigeon"}}}, CONTENT),
        ({"template": {**TEMPLATE, "scale": {"cooldownPeriod": -1}}}, INVALID),
        ({"template": {**TEMPLATE, "scale": {"minReplicas": 2, "maxReplicas": 1}}}, INVALID),
        ({"template": {**TEMPLATE, "terminationGracePeriodSeconds": 601}}, INVALID),
        ({"template": {"containers": []}}, INVALID),
        ({"template": container(image=None)}, INVALID),
        ({"template": container(resources={"cpu": 0.3, "memory": "0.6Gi"})}, TOTAL),
        ({"template": container(resources={"cpu": 1, "memory": "1Gi"})}, TOTAL),
        ({"template": container(resources={"cpu": 4.25, "memory": "8.5Gi"})}, TOTAL),
        ({"template": container(resources={"cpu": 1, "memory": "2048Mi"})}, TOTAL),
        ({"template": container(env=[{"name": "A", "secretRef": "none"}])}, "ContainerAppSecretRefNotFound"),
        ({"template": container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])}, INVALID),
        ({"configuration": {"ingress": {"external": True}}}, INVALID),
        ({"configuration": {"secrets": [{"name": "UPPER", "value": "x"}]}}, INVALID),
        ({"configuration": {"secrets": [{"name": "a", "keyVaultUrl": "https://v/secrets/x"}]}}, INVALID),
        (
            {"configuration": {"secrets": [{"name": "a", "keyVaultUrl": "https://v/keys/x", "identity": "/y"}]}},
            "ContainerAppSecretKeyVaultUrlInvalid",
        ),
        (
            {"configuration": {"secrets": [{"name": "a", "keyVaultUrl": "https://v/secrets/x", "identity": "/y"}]}},
            INVALID,
        ),
        ({"configuration": {"registries": [{"server": "x", "identity": "/y"}]}}, INVALID),
        ({"environmentId": "/nowhere"}, "ManagedEnvironmentNotFound"),
        ({"template": {**TEMPLATE, "volumes": [{"name": "a", "storageType": "EmptyDir"}]}}, "NotEmulated"),
    ],
)
async def test_bad_bodies_are_refused(azure: Any, changes: dict[str, Any], code: str) -> None:
    assert await refusal(azure.put("nbhd-abc", azure.body(**changes))) == (400, code)
    assert azure.world.inventory()["apps"] == {}


async def test_a_place_is_needed_and_identities_must_exist(azure: Any) -> None:
    body = azure.body()
    del body["location"]
    assert await refusal(azure.put("nbhd-abc", body)) == (400, "LocationRequired")
    assert await refusal(azure.put("nbhd-abc", azure.body() | {"location": "westeurope"})) == (
        400,
        "InvalidRequestParameterWithDetails",
    )
    absent = {"type": "UserAssigned", "userAssignedIdentities": {"/nobody": {}}}
    assert await refusal(azure.put("nbhd-abc", azure.body() | {"identity": absent})) == (400, "FailedIdentityOperation")


def with_secret(azure: Any, identity_id: str, url: str) -> dict[str, Any]:
    body: dict[str, Any] = azure.body()
    body["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {identity_id: {}}}
    body["properties"]["configuration"]["secrets"] = [
        {"name": "credentials", "keyVaultUrl": url, "identity": identity_id}
    ]
    return body


async def test_a_reference_that_the_identity_cannot_read_yet_is_refused_like_a_bad_body(slow: Any) -> None:
    identity, url = await slow.tenant("nbhd-abc")
    with pytest.raises(HttpResponseError, match="Unable to get value using Managed identity") as refused:
        await slow.put("nbhd-abc", with_secret(slow, identity.id, url))
    assert refused.value.error is not None
    assert (refused.value.status_code, refused.value.error.code) == (400, INVALID)


async def test_a_reference_is_accepted_once_the_role_is_effective_and_only_for_its_own_secret(azure: Any) -> None:
    mine, url = await azure.tenant("nbhd-abc")
    _, theirs = await azure.tenant("nbhd-other")
    assert await refusal(azure.put("nbhd-abc", with_secret(azure, mine.id, theirs))) == (400, INVALID)
    assert await refusal(azure.put("nbhd-abc", with_secret(azure, mine.id, url[:-32] + "0" * 32))) == (400, INVALID)
    app = await azure.put("nbhd-abc", with_secret(azure, mine.id, url))
    assert app.properties.configuration.secrets[0].key_vault_url == url


async def test_secret_values_are_never_shown(azure: Any) -> None:
    body = azure.body()
    body["properties"]["configuration"]["secrets"] = [{"name": "plain", "value": "hush-hush"}]
    app = await azure.put("nbhd-abc", body)
    assert "hush-hush" not in str(app.as_dict())
    assert "hush-hush" not in str(azure.world.inventory()) + str(azure.world.requests)


async def test_a_change_can_be_stuck(azure: Any) -> None:
    apps, world = azure.apps.container_apps, azure.world
    stuck = world.stick("nbhd-abc")
    await apps.begin_create_or_update(world.resource_group, "nbhd-abc", azure.body(), polling=False)
    await stuck.reached()
    assert (await azure.app("nbhd-abc")).properties.provisioning_state == "InProgress"
    assert await refusal(apps.begin_delete(world.resource_group, "nbhd-abc", polling=False)) == (
        409,
        "ContainerAppOperationInProgress",
    )
    stuck.release()
    while (await azure.app("nbhd-abc")).properties.provisioning_state == "InProgress":
        pass
    await azure.put("nbhd-abc", azure.body())


async def test_a_caller_without_rights_at_the_subscription_cannot_follow_an_operation(
    authority: Authority, connect: Any
) -> None:
    async with (
        AzureWorld(authority, run_containers=False, operations_readable=False) as world,
        connect(world) as azure,
    ):
        poller = azure.apps.container_apps.begin_create_or_update(world.resource_group, "nbhd-abc", azure.body())
        assert await refusal((await poller).result()) == (403, "AuthorizationFailed")
        assert (await azure.app("nbhd-abc")).name == "nbhd-abc"


async def test_apps_may_be_well_without_running(authority: Authority, connect: Any) -> None:
    async with AzureWorld(authority, run_containers=False, healthy=True) as world, connect(world) as azure:
        await azure.apps.container_apps.begin_create_or_update(
            world.resource_group, "nbhd-abc", azure.body(), polling=False
        )
        fqdn = (await azure.app("nbhd-abc")).properties.configuration.ingress.fqdn
        async with azure.session.get(f"https://{fqdn}/healthz") as answer:
            assert await answer.text() == "ok"
