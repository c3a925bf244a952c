"""What makes a container app's body acceptable, beyond its types (``app_schema.py``).

Pure: the body, the subscription's records and the app's name in, ``AzureError`` out. Whether secrets can be read is
asked later, by ``container_apps.py``, for that depends on time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from nbhd_local.azure.errors import AzureError
from nbhd_local.azure.state import JSON, Subscription, same_region

_APP_NAME = re.compile(r"^[a-z](?!.*--)[a-z0-9-]{0,30}[a-z0-9]$")
_SECRET_NAME = re.compile(r"^[a-z0-9]([a-z0-9-.]*[a-z0-9])?$")
_ENV_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]*$")
_VAULT_URL = re.compile(r"^https://[^/]+/secrets/[0-9A-Za-z-]{1,127}(/[0-9a-f]{32})?$")
_MEMORY = re.compile(r"^(\d+(?:\.\d+)?)Gi$")
_MAX_GRACE = 600


def check_name(name: str) -> None:
    """Names have 2 to 32 characters: lower case, digits, single hyphens, a letter first."""
    if not _APP_NAME.match(name):
        text = (
            f"Invalid ContainerApp name '{name}'. A name must consist of lower case alphanumeric characters or '-', "
            "start with a letter, end with an alphanumeric character and cannot have '--'. The length must not be "
            "more than 32 characters."
        )
        raise AzureError(400, "ContainerAppInvalidName", text)


def check(subscription: Subscription, name: str, body: JSON) -> None:
    """Raises for the first rule that the body breaks."""
    check_name(name)
    properties = body.get("properties") or {}
    configuration, template = properties.get("configuration") or {}, properties.get("template") or {}
    _check_place(subscription, body, properties)
    attached = _check_identity(subscription, name, body.get("identity") or {})
    _check_configuration(configuration, attached)
    _check_template(template, {secret["name"] for secret in configuration.get("secrets") or []})
    _refuse_what_is_not_emulated(properties, configuration, template)


def _check_place(subscription: Subscription, body: JSON, properties: JSON) -> None:
    if not body.get("location"):
        raise AzureError(400, "LocationRequired", "The location property is required for this definition.")
    wanted = properties.get("environmentId") or properties.get("managedEnvironmentId") or ""
    environments = subscription.environments.values()
    found = next((e for e in environments if subscription.environment_id(e).lower() == wanted.lower()), None)
    if found is None:
        text = f"The environment '{wanted}' does not exist."
        raise AzureError(400, "ManagedEnvironmentNotFound", text)
    if not same_region(found.location, body["location"]):
        text = f"The environment is in '{found.location}', the container app must be there as well."
        raise AzureError(400, "InvalidRequestParameterWithDetails", text)


def _check_identity(subscription: Subscription, name: str, identity: JSON) -> set[str]:
    attached = identity.get("userAssignedIdentities") or {}
    if attached and "userassigned" not in str(identity.get("type")).lower():
        raise AzureError(400, "InvalidIdentityValues", "Identities are given, but the type is not 'UserAssigned'.")
    for resource_id in attached:
        if subscription.identity_by_id(resource_id) is None:
            text = (
                f"Identity operation for resource '{name}' failed with error 'Failed to perform resource identity "
                f"operation. Resource '{resource_id}' was not found.'."
            )
            raise AzureError(400, "FailedIdentityOperation", text)
    return {resource_id.lower() for resource_id in attached}


def _check_configuration(configuration: JSON, attached: set[str]) -> None:
    secrets = configuration.get("secrets") or []
    _check_unique("configuration.secrets", (secret.get("name") for secret in secrets))
    for secret in secrets:
        _check_secret(secret, attached)
    for registry in configuration.get("registries") or []:
        if not registry.get("server"):
            raise _invalid("configuration.registries", "", "a registry needs a server")
        _check_attached("configuration.registries", registry.get("identity"), attached)
    for setting in configuration.get("identitySettings") or []:
        _check_attached("configuration.identitySettings", setting.get("identity"), attached)
    ingress = configuration.get("ingress")
    if ingress and not 1 <= (ingress.get("targetPort") or 0) <= 65535:
        raise _invalid("configuration.ingress.targetPort", str(ingress.get("targetPort")), "must be 1 to 65535")


def _check_secret(secret: JSON, attached: set[str]) -> None:
    name, url = secret.get("name") or "", secret.get("keyVaultUrl")
    if not _SECRET_NAME.match(name):
        raise _invalid("configuration.secrets", name, "names are lower case letters, digits, '-' and '.'")
    if bool(url) == bool(secret.get("value")):
        raise _invalid("configuration.secrets", name, "a secret needs either a value or a keyVaultUrl")
    if not url:
        return
    if not _VAULT_URL.match(url):
        raise AzureError(400, "ContainerAppSecretKeyVaultUrlInvalid", f"Key Vault URL of secret '{name}' is invalid.")
    if not secret.get("identity"):
        raise _invalid("configuration.secrets", name, "a Key Vault reference needs an identity")
    _check_attached("configuration.secrets", secret["identity"], attached)


def _check_template(template: JSON, secrets: set[str]) -> None:
    containers = template.get("containers") or []
    if not containers:
        raise _invalid("template.containers", "", "at least one container is required")
    _check_unique("template.containers", (container.get("name") for container in containers))
    for container in containers:
        if not container.get("name") or not container.get("image"):
            raise _invalid("template.containers", str(container.get("name")), "name and image are required")
        _check_environment(container, secrets)
    _check_resources(containers)
    _check_scale(template.get("scale") or {})
    grace = template.get("terminationGracePeriodSeconds")
    if grace is not None and not 0 <= grace <= _MAX_GRACE:
        raise _invalid("template.terminationGracePeriodSeconds", str(grace), f"must be 0 to {_MAX_GRACE}")


def _check_environment(container: JSON, secrets: set[str]) -> None:
    variables = container.get("env") or []
    _check_unique("template.containers.env", (variable.get("name") for variable in variables))
    for variable in variables:
        name, reference = variable.get("name") or "", variable.get("secretRef")
        if not _ENV_NAME.match(name):
            raise _invalid("template.containers.env", name, "is not a name of an environment variable")
        if reference and variable.get("value"):
            raise _invalid("template.containers.env", name, "has both a value and a secretRef")
        if reference and reference not in secrets:
            text = f"SecretRef '{reference}' defined for container '{container['name']}' not found."
            raise AzureError(400, "ContainerAppSecretRefNotFound", text)


def _check_resources(containers: list[JSON]) -> None:
    cpu = memory = 0.0
    for container in containers:
        resources = container.get("resources") or {}
        size = _MEMORY.match(str(resources.get("memory") or "1Gi"))
        cpu += resources["cpu"] if resources.get("cpu") is not None else 0.5
        memory += float(size[1]) if size else -1.0
    if not 0.25 <= cpu <= 4 or cpu % 0.25 or memory != 2 * cpu:
        pairs = "; ".join(f"[cpu: {step / 4}, memory: {step / 2}Gi]" for step in range(1, 17))
        text = (
            f"The total requested CPU and memory resources for this application (CPU: {cpu}, memory: {memory}) is "
            f"invalid. Total CPU and memory for all containers must add up to one of: {pairs}"
        )
        raise AzureError(400, "ContainerAppInvalidResourceTotal", text)


def _check_scale(scale: JSON) -> None:
    least, most = scale.get("minReplicas") or 0, scale.get("maxReplicas")
    if least < 0 or (most is not None and not max(1, least) <= most <= 1000):
        raise _invalid("template.scale", f"{least}..{most}", "needs 0 <= minReplicas <= maxReplicas <= 1000")
    for period in ("cooldownPeriod", "pollingInterval"):
        if scale.get(period) is not None and scale[period] < 0:
            raise _invalid(f"template.scale.{period}", str(scale[period]), "must not be negative")


def _refuse_what_is_not_emulated(properties: JSON, configuration: JSON, template: JSON) -> None:
    scale = template.get("scale") or {}
    reasons = {
        "volumes": template.get("volumes"),
        "init containers": template.get("initContainers"),
        "service binds": template.get("serviceBinds"),
        "several containers": len(template["containers"]) > 1,
        "more than one replica": (scale.get("minReplicas") or 0) > 1,
        "scale rules": scale.get("rules"),
        "several active revisions": str(configuration.get("activeRevisionsMode") or "Single").lower() != "single",
        "dapr": (configuration.get("dapr") or {}).get("enabled"),
        "workload profiles": (properties.get("workloadProfileName") or "Consumption") != "Consumption",
    }
    for what, present in reasons.items():
        if present:
            raise AzureError(400, "NotEmulated", f"The local world does not know {what}.")


def _check_attached(where: str, identity: str | None, attached: set[str]) -> None:
    if identity and identity.lower() not in attached:
        raise _invalid(where, identity, "the managed identity is not assigned to the container app")


def _check_unique(where: str, names: Iterable[str | None]) -> None:
    seen: set[str | None] = set()
    for name in names:
        if name in seen:
            raise _invalid(where, str(name), "duplicate name")
        seen.add(name)


def _invalid(field: str, value: str, why: str) -> AzureError:
    text = f"Field '{field}' is invalid with details: 'Invalid value: \"{value}\": {why}'."
    return AzureError(400, "InvalidParameterValueInContainerTemplate", text)
