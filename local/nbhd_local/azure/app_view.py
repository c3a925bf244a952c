"""How the service shows a container app: never quite as it was put.

Casing changes, defaults that appear late, explicit nulls and added fields follow recorded answers of the service. A
client that compares what it sent with what it reads must cope with each of them.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from nbhd_local.azure.state import JSON, ContainerApp, Revision, Subscription, region_title, stamp

_COOLDOWN, _POLLING, _MAX_REPLICAS = 300, 30, 10
_CALLER = {"By": "nbhd-operator", "ByType": "Application"}


def app_id(subscription: Subscription, app: ContainerApp) -> str:
    """The id as this service spells it: ``containerapps`` in lower case."""
    return f"{subscription.group_id(app.group)}/providers/Microsoft.App/containerapps/{app.name}"


def render(subscription: Subscription, app: ContainerApp) -> JSON:
    """A container app as GET answers it."""
    body, settled = app.body, app.provisioning_state != "InProgress"
    properties = body.get("properties") or {}
    environment = properties.get("environmentId") or properties.get("managedEnvironmentId")
    domain = next(iter(subscription.environments.values())).default_domain
    return {
        "id": app_id(subscription, app),
        "name": app.name,
        "type": "Microsoft.App/containerApps",
        "location": region_title(body["location"]),
        "tags": body.get("tags"),
        "systemData": {
            **{f"created{suffix}": text for suffix, text in _CALLER.items()},
            "createdAt": stamp(app.created),
            **{f"lastModified{suffix}": text for suffix, text in _CALLER.items()},
            "lastModifiedAt": stamp(app.modified),
        },
        "identity": _identity(subscription, body.get("identity")),
        "properties": {
            "provisioningState": app.provisioning_state,
            "runningStatus": "Stopped" if app.stopped else "Running",
            "managedEnvironmentId": environment,
            "environmentId": environment,
            "workloadProfileName": "Consumption",
            "outboundIpAddresses": ["127.0.0.1"],
            "latestRevisionName": app.latest_revision,
            "latestReadyRevisionName": app.latest_ready_revision,
            "latestRevisionFqdn": app.fqdn or "",
            "customDomainVerificationId": subscription.id.replace("-", "").upper(),
            "configuration": _configuration(app, properties.get("configuration") or {}),
            "template": _template(properties.get("template") or {}, settled=settled),
            "eventStreamEndpoint": f"https://{domain}{app_id(subscription, app)}/eventstream",
            "delegatedIdentities": [],
        },
    }


def render_revision(subscription: Subscription, app: ContainerApp, revision: Revision, replicas: int) -> JSON:
    """A revision as GET answers it."""
    ready = revision.provisioned and not revision.error
    state = "Failed" if revision.error else "Provisioned" if ready else "Provisioning"
    running = "Failed" if revision.error else "Processing" if not ready else "Running" if replicas else "ScaledToZero"
    return {
        "id": f"{app_id(subscription, app)}/revisions/{revision.name}",
        "name": revision.name,
        "type": "Microsoft.App/containerapps/revisions",
        "properties": {
            "createdTime": stamp(revision.created),
            "fqdn": app.fqdn or "",
            "template": _template(revision.template, settled=True),
            "active": revision.active,
            "replicas": replicas,
            "trafficWeight": 100 if revision.active else 0,
            "healthState": "Unhealthy" if revision.error else "Healthy" if ready else "None",
            "provisioningState": state,
            "provisioningError": revision.error,
            "runningState": running,
        },
    }


def merge_patch(target: JSON, patch: JSON) -> JSON:
    """RFC 7386: null removes, objects merge, everything else replaces."""
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merge_patch(result[name] if isinstance(result.get(name), dict) else {}, value)
        else:
            result[name] = copy.deepcopy(value)
    return result


def same_template(one: JSON, other: JSON) -> bool:
    """Whether two templates are one revision: defaults count as given, nulls as absent."""
    return _fingerprint(one) == _fingerprint(other)


def _fingerprint(template: JSON) -> str:
    return json.dumps(_without_nulls(_template(template, settled=True)), sort_keys=True)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner not in (None, "", [])}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _identity(subscription: Subscription, identity: JSON | None) -> JSON:
    if not identity or str(identity.get("type")).lower() == "none":
        return {"type": "None"}
    attached = {}
    for resource_id in identity.get("userAssignedIdentities") or {}:
        found = subscription.identity_by_id(resource_id)
        shown = resource_id.replace("/resourceGroups/", "/resourcegroups/")
        attached[shown] = {"principalId": found.principal_id, "clientId": found.client_id} if found else {}
    return {"type": identity["type"], "userAssignedIdentities": attached}


def _configuration(app: ContainerApp, configuration: JSON) -> JSON:
    secrets, registries = configuration.get("secrets"), configuration.get("registries")
    mode = str(configuration.get("activeRevisionsMode") or "Single").title()
    default_inactive = None if app.patched else 100
    return {
        "secrets": [_secret(s) for s in sorted(secrets, key=lambda s: str(s["name"]))] if secrets else None,
        "activeRevisionsMode": mode,
        "ingress": _ingress(app, configuration["ingress"]) if configuration.get("ingress") else None,
        "registries": [_registry(registry) for registry in registries] if registries else None,
        "identitySettings": copy.deepcopy(configuration.get("identitySettings") or []),
        "dapr": configuration.get("dapr"),
        "runtime": configuration.get("runtime"),
        "maxInactiveRevisions": configuration.get("maxInactiveRevisions") or default_inactive,
        "service": configuration.get("service"),
    }


def _secret(secret: JSON) -> JSON:
    shown = {"name": secret["name"]}
    if secret.get("keyVaultUrl"):
        shown |= {"keyVaultUrl": secret["keyVaultUrl"], "identity": secret["identity"]}
    return shown


def _registry(registry: JSON) -> JSON:
    return {
        "server": registry["server"],
        "username": registry.get("username") or "",
        "passwordSecretRef": registry.get("passwordSecretRef") or "",
        "identity": registry.get("identity") or "",
    }


def _ingress(app: ContainerApp, ingress: JSON) -> JSON:
    transport = str(ingress.get("transport") or "auto")
    return {
        "fqdn": app.fqdn,
        "external": bool(ingress.get("external")),
        "targetPort": ingress["targetPort"],
        "exposedPort": ingress.get("exposedPort") or 0,
        "transport": transport[:1].upper() + transport[1:],
        "traffic": ingress.get("traffic") or [{"weight": 100, "latestRevision": True}],
        "customDomains": ingress.get("customDomains"),
        "allowInsecure": bool(ingress.get("allowInsecure")),
        "ipSecurityRestrictions": ingress.get("ipSecurityRestrictions"),
        "corsPolicy": ingress.get("corsPolicy"),
        "clientCertificateMode": ingress.get("clientCertificateMode") or "Ignore",
        "stickySessions": ingress.get("stickySessions"),
        "additionalPortMappings": ingress.get("additionalPortMappings"),
        "targetPortHttpScheme": None,
    }


def _template(template: JSON, *, settled: bool) -> JSON:
    return {
        "revisionSuffix": template.get("revisionSuffix") or "",
        "terminationGracePeriodSeconds": template.get("terminationGracePeriodSeconds"),
        "containers": [_container(c, settled=settled) for c in template.get("containers") or []],
        "initContainers": None,
        "scale": _scale(template.get("scale"), settled=settled),
        "volumes": None,
        "serviceBinds": None,
    }


def _container(container: JSON, *, settled: bool) -> JSON:
    shown = copy.deepcopy(container)
    if settled:
        resources = {"cpu": 0.5, "memory": "1Gi"} | {k: v for k, v in (shown.get("resources") or {}).items() if v}
        cpu = float(resources["cpu"])
        disk = next((size for limit, size in ((0.25, "1Gi"), (0.5, "2Gi"), (1.0, "4Gi")) if cpu <= limit), "8Gi")
        shown["resources"] = {**resources, "cpu": cpu, "ephemeralStorage": disk}
    return shown


def _scale(scale: JSON | None, *, settled: bool) -> JSON | None:
    if scale is None and not settled:
        return None
    defaults = {
        "minReplicas": None,
        "maxReplicas": _MAX_REPLICAS,
        "cooldownPeriod": _COOLDOWN,
        "pollingInterval": _POLLING,
        "rules": None,
    }
    return defaults | {name: value for name, value in (scale or {}).items() if value is not None}


def cooldown_seconds(template: JSON) -> float:
    """How long a replica stays without requests."""
    given = (template.get("scale") or {}).get("cooldownPeriod")
    return float(_COOLDOWN if given is None else given)
