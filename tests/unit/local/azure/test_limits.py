"""Throttling: buckets that refill, headers that say what is left, 429 with the time to come back."""

from __future__ import annotations

import pytest

from nbhd_local.azure import Limits
from nbhd_local.azure.errors import AzureError
from nbhd_local.azure.limits import Meter, Rate

GROUP = "/subscriptions/s/resourceGroups/g/providers"
APP = f"{GROUP}/Microsoft.App/containerApps/a"
IDENTITY = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/i"
LEFT = "x-ms-ratelimit-remaining-subscription"


def refusal(meter: Meter, method: str, path: str) -> AzureError:
    with pytest.raises(AzureError) as refused:
        meter.arm(method, path)
    assert refused.value.status == 429
    return refused.value


def test_each_kind_has_its_own_bucket_and_headers_count_down() -> None:
    now = [0.0]
    meter = Meter(Limits(reads=Rate(2, 1), writes=Rate(1, 0.5)), lambda: now[0])
    assert meter.arm("GET", APP) == {f"{LEFT}-reads": "1", f"{LEFT}-global-reads": "29"}
    meter.arm("GET", APP)
    assert refusal(meter, "GET", APP).headers == {
        "Retry-After": "1",
        f"{LEFT}-reads": "0",
        f"{LEFT}-global-reads": "27",
    }
    assert meter.arm("PUT", APP) == {
        f"{LEFT}-writes": "0",
        f"{LEFT}-global-writes": "14",
        f"{LEFT}-resource-requests": "699",
    }
    assert refusal(meter, "POST", APP).headers["Retry-After"] == "2"
    assert meter.arm("DELETE", APP)[f"{LEFT}-deletes"] == "199"
    now[0] = 1
    assert meter.arm("GET", APP)[f"{LEFT}-reads"] == "0"


def test_providers_have_budgets_of_their_own() -> None:
    meter = Meter(Limits(provider_writes=Rate(1, 1), identities=Rate(1, 0.1)), lambda: 0.0)
    meter.arm("PUT", APP)
    by_provider = refusal(meter, "PUT", APP)
    assert (by_provider.headers[f"{LEFT}-writes"], by_provider.headers[f"{LEFT}-resource-requests"]) == ("198", "0")
    meter.arm("PUT", IDENTITY)
    assert refusal(meter, "PUT", IDENTITY).headers["Retry-After"] == "10"
    meter.arm("GET", IDENTITY)


def test_the_vault_says_only_that_it_was_too_much() -> None:
    meter = Meter(Limits(vault_sets=Rate(1, 1)), lambda: 0.0)
    meter.vault("PUT", "/secrets/a")
    with pytest.raises(AzureError) as refused:
        meter.vault("PUT", "/secrets/a")
    assert (refused.value.status, refused.value.headers) == (429, {})
    meter.vault("GET", "/secrets/a/")


def test_without_limits_everything_is_left() -> None:
    meter = Meter(None)
    for _ in range(1000):
        assert meter.arm("PUT", APP)[f"{LEFT}-writes"] == "200"
        meter.vault("PUT", "/secrets/a")
