"""The token bucket: a burst, then the rate, and a hold for everybody."""

from __future__ import annotations

import pytest

from nbhd_operator.throttle import Bucket, operation_of


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    now = [0.0]
    bucket = Bucket(rate=10, burst=3, clock=lambda: now[0])
    assert [bucket.reserve() for _ in range(3)] == [0, 0, 0]
    assert [round(bucket.reserve(), 3) for _ in range(2)] == [0.1, 0.2]
    now[0] = 10
    assert [bucket.reserve() for _ in range(3)] == [0, 0, 0]


def test_a_hold_counts_for_all_and_ends() -> None:
    now = [0.0]
    bucket = Bucket(rate=10, burst=10, clock=lambda: now[0])
    bucket.hold(5)
    assert bucket.reserve() == 5
    now[0] = 5
    assert bucket.reserve() == 0
    bucket.hold(9999)
    assert bucket.reserve() == 120


def test_taking_never_waits() -> None:
    now = [0.0]
    bucket = Bucket(rate=1, burst=2, clock=lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, False, False]
    now[0] = 1
    assert [bucket.take() for _ in range(2)] == [True, False]


ARM = "https://management.azure.com/subscriptions/s-1/resourceGroups/rg"
SECRET = f"{ARM}/providers/Microsoft.KeyVault/vaults/v/secrets/nbhd-a"
VAULT = "https://v.vault.azure.net"


@pytest.mark.parametrize(
    ("method", "url", "operation"),
    [
        ("PUT", f"{ARM}/providers/Microsoft.App/containerApps/nbhd-a?api-version=1", "PUT containerApps"),
        ("GET", f"{ARM}/providers/Microsoft.App/containerApps?api-version=1&$skipToken=x", "LIST containerApps"),
        ("POST", f"{ARM}/providers/Microsoft.App/containerApps/nbhd-a/stop", "POST containerApps/stop"),
        ("PUT", f"{SECRET}/providers/Microsoft.Authorization/roleAssignments/0-1", "PUT roleAssignments"),
        ("GET", f"{ARM}?api-version=1", "GET subscriptions/resourceGroups"),
        ("GET", f"{VAULT}/secrets/nbhd-a/?api-version=1", "GET secrets"),
        ("POST", f"{VAULT}/deletedsecrets/nbhd-a/recover", "POST deletedsecrets/recover"),
        ("GET", f"{VAULT}/secrets/nbhd-a/0f0f0f0f", "GET other"),
        ("POST", "https://login.microsoftonline.com/t-1/oauth2/v2.0/token", "POST token"),
        ("GET", "https://elsewhere.test/", "GET other"),
    ],
)
def test_operations_have_no_names_in_them(method: str, url: str, operation: str) -> None:
    assert operation_of(method, url) == operation
