"""The quota of vCPUs of an environment: replicas that are up use it, and one that does not fit is not started.

A new revision starts beside the old one, so it needs as much again. ``container_apps.py`` and ``runtime.py`` ask before
they start something; ``cell.py`` shows what is in use.
"""

from __future__ import annotations

from collections.abc import Iterable

from nbhd_local.azure.state import JSON, ContainerApp, Environment, Subscription

EXCEEDED = (
    "Maximum Allowed Cores exceeded for the Managed Environment. "
    "Please check https://learn.microsoft.com/en-us/azure/container-apps/quotas for resource limits"
)


def in_use(subscription: Subscription, environment: Environment, running: Iterable[ContainerApp]) -> float:
    """vCPUs of the apps that have a replica up."""
    there = [app for app in running if _environment_of(subscription, app) is environment]
    return sum(_cores(app.body["properties"]["template"]) for app in there)


def has_room(subscription: Subscription, app: ContainerApp, template: JSON, running: Iterable[ContainerApp]) -> bool:
    """Whether one more replica of the app fits into its environment."""
    environment = _environment_of(subscription, app)
    if environment is None:
        return True
    return in_use(subscription, environment, running) + _cores(template) <= environment.cores


def _environment_of(subscription: Subscription, app: ContainerApp) -> Environment | None:
    wanted = str(app.body["properties"].get("environmentId")).lower()
    found = subscription.environments.values()
    return next((one for one in found if subscription.environment_id(one).lower() == wanted), None)


def _cores(template: JSON) -> float:
    return sum(float((one.get("resources") or {}).get("cpu", 0.5)) for one in template["containers"])
