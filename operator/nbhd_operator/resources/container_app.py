"""The tenant's container app: OpenClaw behind an ingress that wakes it. It depends on identity, secret and role.

A PUT is fired and left to itself; the next look decides. While Azure works on the app nothing is changed. The tag
``nbhd-spec-hash`` says what was applied, the comparison in ``diff.py`` finds what somebody else changed.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from typing import TYPE_CHECKING, Any

from nbhd_crds.api import Runtime
from nbhd_crds.api.meta import seconds
from nbhd_operator import openclaw
from nbhd_operator.errors import NotFound
from nbhd_operator.resources import identity, secret
from nbhd_operator.resources.base import Body, Seen, State, Task
from nbhd_operator.resources.role_assignment import RoleAssignment

if TYPE_CHECKING:
    from nbhd_operator.azure import Azure

SPEC_HASH = "nbhd-spec-hash"
_GRACE_PERIOD = 330  # OpenClaw finishes a turn within 315 s of SIGTERM
_AT_REST = ("Succeeded", "Failed", "Canceled")
_TOO_LONG = datetime.timedelta(hours=1)  # Azure itself gives up on a change after less than half of it


class ContainerApp:
    """Microsoft.App/containerApps."""

    kind = "containerApp"
    depends_on: tuple[str, ...] = (identity.Identity.kind, secret.Secret.kind, RoleAssignment.kind)

    def name(self, task: Task) -> str:
        """Same as everything of the tenant."""
        return task.name

    def want(self, task: Task, seen: Seen) -> Body:
        """The complete body: a PUT replaces."""
        return body(task, identity_id=identity.applied(seen).resource_id, secret_url=secret.version_url(seen))

    async def observe(self, azure: Azure, task: Task, seen: Seen) -> State | None:  # noqa: ARG002
        """One GET."""
        try:
            return state(await azure.get_app(task.place, self.name(task)))
        except NotFound:
            return None

    async def apply(self, azure: Azure, task: Task, want: Body) -> State | None:
        """Fires a PUT; Azure works on it from then on."""
        answer = await azure.put_app(task.place, self.name(task), want)
        return State(answer, busy=True)

    def imagine(self, task: Task, want: Body, state: State | None) -> State:  # noqa: ARG002 - same shape for every kind
        """Azure would be at work."""
        return State(want, busy=True)

    async def remove(self, azure: Azure, task: Task, state: State) -> None:  # noqa: ARG002
        """Fires a DELETE."""
        await azure.delete_app(task.place, self.name(task))


def body(task: Task, *, identity_id: str, secret_url: str) -> dict[str, Any]:
    """The body of the PUT, with the hash of itself as a tag."""
    if task.runtime is None or task.chat_id is None:
        raise LookupError("an app needs a plan and a chat")
    runtime, place = task.runtime, task.place
    configuration = openclaw.config(
        task.tenant.spec,
        task.chat_id,
        runtime.model,
        egress_url=task.platform.egress_url,
        model_url=task.platform.model_url,
    )
    plain = {
        "location": place.location,
        "tags": task.tags,
        "identity": {
            "type": "UserAssigned",
            "userAssignedIdentities": {identity_id: {}, place.pull_identity_id: {}},
        },
        "properties": {
            "environmentId": place.environment_id,
            "configuration": {
                "activeRevisionsMode": "Single",
                "ingress": {"external": True, "targetPort": openclaw.WEBHOOK_PORT, "transport": "auto"},
                # lifecycle None: the platform uses both identities, the code in the container can use neither.
                "identitySettings": [
                    {"identity": identity_id, "lifecycle": "None"},
                    {"identity": place.pull_identity_id, "lifecycle": "None"},
                ],
                "registries": [{"server": runtime.image.split("/", 1)[0], "identity": place.pull_identity_id}],
                "secrets": [{"name": openclaw.SECRET_NAME, "keyVaultUrl": secret_url, "identity": identity_id}],
            },
            "template": {
                "containers": [
                    {
                        "name": "openclaw",
                        "image": runtime.image,
                        "resources": {"cpu": float(runtime.cpu), "memory": runtime.memory},
                        "env": openclaw.environment(configuration, secret_url.rsplit("/", 1)[1]),
                    }
                ],
                "scale": {"minReplicas": 0, "maxReplicas": 1, "cooldownPeriod": seconds(runtime.cooldown)},
                "terminationGracePeriodSeconds": _GRACE_PERIOD,
            },
        },
    }
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
    return plain | {"tags": {**task.tags, SPEC_HASH: digest}}


def runtime(found: Body) -> Runtime | None:
    """What the app was made from, for a Tenant whose status was lost; None if somebody else made it otherwise."""
    try:
        template = found["properties"]["template"]
        (container,) = template["containers"]
        variables = {variable["name"]: variable.get("value") for variable in container["env"]}
        resources = container["resources"]
        return Runtime(
            image=container["image"],
            cpu=f"{float(resources['cpu']):g}",
            memory=f"{float(resources['memory'].removesuffix('Gi')):g}Gi",
            cooldown=f"{int(template['scale']['cooldownPeriod'])}s",
            model=openclaw.model(json.loads(variables["OPENCLAW_CONFIG_JSON"])),
        )
    except (AttributeError, LookupError, TypeError, ValueError):
        return None


def started(found: Body) -> State:
    """The app as it would be if it had been started."""
    return State({**found, "properties": {**found["properties"], "runningStatus": "Running"}})


def state(found: Body) -> State:
    """An app as Azure describes it."""
    return State(found, busy=found["properties"].get("provisioningState") not in _AT_REST)


def stuck(found: Body, now: datetime.datetime) -> bool:
    """True if Azure began to work on the app over an hour ago, by its own record, and has not come to an end."""
    begun = (found.get("systemData") or {}).get("lastModifiedAt")
    try:
        return state(found).busy and now - datetime.datetime.fromisoformat(str(begun)) > _TOO_LONG
    except (ValueError, TypeError):  # no record, or one without a time zone
        return False


def failed(found: Body) -> bool:
    """True when Azure gave up on what was last applied."""
    return found["properties"].get("provisioningState") in ("Failed", "Canceled")


def stopped(found: Body) -> bool:
    """True when the app was stopped as a whole, which is more than asleep."""
    return bool(found["properties"].get("runningStatus") == "Stopped")


def ready_revision(found: Body) -> str | None:
    """The newest revision, once Azure calls it ready."""
    properties = found["properties"]
    newest = properties.get("latestRevisionName")
    return newest if newest and newest == properties.get("latestReadyRevisionName") else None


def serves(found: Body, revision: str | None) -> bool:
    """True while the revision takes messages, whatever else goes on: Azure moves them only to one that is ready."""
    ready = found["properties"].get("latestReadyRevisionName")
    deleting = found["properties"].get("provisioningState") == "Deleting"
    return revision is not None and ready == revision and not stopped(found) and not deleting


def endpoint(found: Body) -> str | None:
    """Where the app answers."""
    ingress = (found["properties"].get("configuration") or {}).get("ingress") or {}
    return f"https://{ingress['fqdn']}" if ingress.get("fqdn") else None
