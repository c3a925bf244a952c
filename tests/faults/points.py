"""Every outside effect of every service in the whole life of a subscription, and the points before and after each.

``test_the_list_is_complete`` compares this list with what an undisturbed life really did.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nbhd_local.traffic import Traffic
from nbhd_local.world import World

When = Literal["before", "after"]


@dataclass(frozen=True)
class Effect:
    """Something that a service does to the world outside it, seen at one gate; ``nth`` of its kind in the story."""

    service: str
    gate: str
    method: str
    path: str
    what: str
    nth: int = 1
    at_start: bool = False

    def covers(self, gate: str, method: str, path: str) -> bool:
        """True if a request is of this kind."""
        return (gate, method) == (self.gate, self.method) and re.search(self.path, path, re.IGNORECASE) is not None


@dataclass(frozen=True)
class Point:
    """Where the service is killed: the effect is held before or after it took place."""

    effect: Effect
    when: When

    def __str__(self) -> str:
        return f"{self.effect.service}: {self.when} {self.effect.what}"


def gate(world: World, name: str) -> Traffic:
    """The fault hooks of a gate."""
    runtime = world.azure.runtime
    if name == "container" and runtime is not None:
        return runtime.traffic
    emulators = {"azure": world.azure.traffic, "stripe": world.stripe.traffic, "telegram": world.telegram.traffic}
    return emulators.get(name) or world.gates[name]


_TENANT = r"/tenants/[^/?]+$"
EFFECTS = [
    Effect("operator", "operator→kubernetes", "PATCH", _TENANT, "setting the finalizer"),
    Effect("operator", "operator→kubernetes", "PATCH", r"/tenants/[^/]+/status$", "the first status"),
    Effect("operator", "operator→kubernetes", "PATCH", r"/tenants/[^/]+/status$", "the fourth status", nth=4),
    Effect("operator", "operator→kubernetes", "PATCH", r"/(plans|cells)/[^/]+/status$", "telling who runs what"),
    Effect("operator", "operator→kubernetes", "POST", r"/events$", "posting an Event"),
    Effect("operator", "azure", "PUT", r"/userAssignedIdentities/", "making the identity"),
    Effect("operator", "azure", "PUT", r"^/secrets/", "setting the secret"),
    Effect("operator", "azure", "PUT", r"/roleAssignments/", "assigning the role"),
    Effect("operator", "azure", "PUT", r"/containerApps/", "making the app"),
    Effect("operator", "azure", "POST", r"/containerApps/[^/]+/stop", "stopping the app"),
    Effect("operator", "azure", "POST", r"/containerApps/[^/]+/start", "starting the app"),
    Effect("operator", "azure", "PUT", r"/containerApps/", "changing the app", nth=2),
    Effect("operator", "azure", "DELETE", r"/containerApps/", "removing the app"),
    Effect("operator", "azure", "DELETE", r"/roleAssignments/", "removing the role"),
    Effect("operator", "azure", "DELETE", r"^/secrets/", "removing the secret"),
    Effect("operator", "azure", "DELETE", r"/userAssignedIdentities/", "removing the identity"),
    Effect("operator", "azure", "POST", r"^/deletedsecrets/[^/]+/recover", "recovering the secret"),
    Effect("router", "telegram", "POST", r"/setWebhook$", "setting the webhook", at_start=True),
    Effect("router", "telegram→router", "POST", r".", "taking the first update"),
    Effect("router", "telegram→router", "POST", r".", "taking the fourth update", nth=4),
    Effect("router", "router→kubernetes", "PATCH", _TENANT, "linking the chat"),
    Effect("router", "telegram", "POST", r"/sendMessage$", "asking for the confirmation"),
    Effect("router", "telegram", "POST", r"/answerCallbackQuery$", "answering the button"),
    Effect("router", "telegram", "POST", r"/editMessage", "taking the buttons away"),
    Effect("router", "telegram", "POST", r"/sendChatAction$", "showing that the assistant types"),
    Effect("router", "telegram", "POST", r"/sendMessage$", "passing the first reply on", nth=3),
    Effect("router", "container", "POST", r"/telegram-webhook$", "handing over the first message"),
    Effect("router", "container", "POST", r"/telegram-webhook$", "handing over the third message", nth=3),
    Effect("webhooks", "stripe", "POST", r"^/v1/checkout/sessions$", "opening the checkout"),
    Effect("webhooks", "stripe→webhooks", "POST", r"/stripe/webhook$", "taking the first event"),
    Effect("webhooks", "stripe→webhooks", "POST", r"/stripe/webhook$", "taking the ninth event", nth=9),
    Effect("webhooks", "stripe", "GET", r"^/v1/subscriptions$", "listing the subscriptions"),
    Effect("webhooks", "webhooks→kubernetes", "POST", r"/tenants$", "creating the Tenant"),
    Effect("webhooks", "webhooks→kubernetes", "PATCH", _TENANT, "the first billing"),
    Effect("webhooks", "webhooks→kubernetes", "PATCH", _TENANT, "the lapse", nth=2),
    Effect("webhooks", "webhooks→kubernetes", "PATCH", _TENANT, "the return", nth=3),
]
POINTS = [Point(effect, when) for effect in EFFECTS for when in ("before", "after")]

# A subset that meets every service on both sides of its most dangerous effect; all points take `make faults`.
QUICK = [
    point
    for point in POINTS
    if (point.effect.what, point.when)
    in {
        ("making the app", "after"),
        ("handing over the first message", "after"),
        ("the first billing", "before"),
    }
]
