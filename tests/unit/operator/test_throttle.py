"""The operator counts what Azure says is left, waits its turn, and is not refused twice for one reason."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nbhd_local.azure import AzureWorld, Delays, Limits
from nbhd_local.azure.limits import Rate
from nbhd_local.ca import Authority
from nbhd_operator.throttle import Bucket, Gates, Pass, operation_of
from tests.unit.operator.conftest import connected


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
    bucket.hold(0.2)
    assert bucket.wait() == 0.2
    now[0] = 0.2  # two tokens have come to Azure's bucket since it was empty
    assert [round(bucket.reserve(), 3) for _ in range(3)] == [0, 0, 0.1]
    bucket.hold(9999)
    assert bucket.wait() == 120


def test_what_is_short_at_azure_is_not_had_before_it_is_there() -> None:
    now = [0.0]
    bucket = Bucket(rate=10, burst=10, clock=lambda: now[0])
    bucket.hold(0.01)
    now[0] = 0.01
    assert bucket.wait() == pytest.approx(0.09)


def test_taking_never_waits() -> None:
    now = [0.0]
    bucket = Bucket(rate=1, burst=2, clock=lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, False, False]
    now[0] = 1
    assert [bucket.take() for _ in range(2)] == [True, False]


def test_what_azure_says_is_left_counts_whatever_was_counted_here() -> None:
    now = [0.0]
    bucket = Bucket(rate=10, burst=3, clock=lambda: now[0])
    bucket.learn(1)  # another replica used the rest
    assert [bucket.take() for _ in range(2)] == [True, False]
    bucket.learn(500)
    assert all(bucket.take() for _ in range(500))
    assert not bucket.take()
    now[0] = 100  # and so large it is
    assert all(bucket.take() for _ in range(500))
    assert not bucket.take()


def test_no_limit_is_presumed_of_a_provider_until_it_refuses() -> None:
    now = [0.0]
    bucket = Bucket(rate=2, burst=40, clock=lambda: now[0], known=False, guessed=True)
    assert all(bucket.take() for _ in range(1000))
    bucket.hold(3)
    assert bucket.wait() == 3
    now[0] = 3
    assert [bucket.take() for _ in range(2)] == [True, False]
    assert bucket.wait() == 0.5


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


IDENTITY = f"{ARM}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
APP = f"{ARM}/providers/Microsoft.App/containerApps/a"
LEFT = "x-ms-ratelimit-remaining-subscription"


async def passes(gates: Gates, method: str, url: str) -> bool:
    """Whether a request may go at once."""
    way = gates.of(method, url)
    if way is None:
        return True
    try:
        async with asyncio.timeout(0.01):
            await way.enter()
    except TimeoutError:
        return False
    way.leave(200, {})
    return True


@pytest.mark.parametrize(
    ("refused", "headers", "held"),
    [
        # The provider refuses, for ARM says that there is more: only requests of its kind wait.
        (("PUT", IDENTITY), {f"{LEFT}-writes": "150"}, {("PUT", IDENTITY)}),
        (("PUT", APP), {f"{LEFT}-writes": "150", f"{LEFT}-resource-requests": "0"}, {("PUT", APP)}),
        # ARM refuses: all changes wait.
        (("PUT", APP), {f"{LEFT}-writes": "0"}, {("PUT", APP), ("PUT", IDENTITY)}),
        (("PUT", APP), {f"{LEFT}-writes": "9", f"{LEFT}-global-writes": "0"}, {("PUT", APP), ("PUT", IDENTITY)}),
        (("PUT", APP), {}, {("PUT", APP), ("PUT", IDENTITY)}),
        (("GET", APP), {f"{LEFT}-reads": "0"}, {("GET", APP)}),
        (("PUT", f"{VAULT}/secrets/nbhd-a"), {}, {("PUT", f"{VAULT}/secrets/nbhd-a")}),
    ],
)
async def test_who_waits_after_a_refusal(
    refused: tuple[str, str], headers: dict[str, str], held: set[tuple[str, str]]
) -> None:
    gates = Gates()
    way = gates.of(*refused)
    assert way is not None
    await way.enter()
    way.leave(429, {"Retry-After": "60", **headers})
    requests = {("PUT", IDENTITY), ("PUT", APP), ("GET", APP), ("PUT", f"{VAULT}/secrets/nbhd-a"), ("DELETE", APP)}
    assert {request for request in requests if not await passes(gates, *request)} == held


async def two_under_way() -> tuple[Gates, Pass, Pass]:
    """Two requests that count against the same limits, on their way in this order."""
    gates = Gates()
    first, second = gates.of("PUT", APP), gates.of("PUT", APP)
    assert first
    assert second
    await first.enter()
    await second.enter()
    return gates, first, second


async def test_what_is_under_way_is_not_left_any_more() -> None:
    gates, first, second = await two_under_way()
    first.leave(200, {f"{LEFT}-writes": "1"})  # and the second is for that one
    assert not await passes(gates, "PUT", IDENTITY)
    second.leave(None, {})


async def test_an_answer_that_was_overtaken_tells_nothing_new() -> None:
    gates, first, second = await two_under_way()
    second.leave(200, {f"{LEFT}-writes": "1"})
    first.leave(200, {f"{LEFT}-writes": "2"})  # when it arrived, the second had not taken one
    assert sum([await passes(gates, "PUT", IDENTITY) for _ in range(3)]) <= 1


async def test_sixty_at_once_are_not_refused(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(writes=Rate(5, 100), identities=Rate(100, 100))
    world = AzureWorld(authority, delays=Delays(app=0.01), run_containers=False, limits=limits)
    async with world, connected(world, authority, tmp_path, monkeypatch) as (azure, place, metrics):
        body = {"location": world.location, "tags": {}}
        await azure.put_identity(place, "first", body)  # tells how much is left
        await asyncio.gather(*(azure.put_identity(place, f"nbhd-{number}", body) for number in range(59)))
        assert [request.status for request in world.requests if request.status == 429] == []
        assert metrics.registry.get_sample_value("nbhd_operator_azure_throttle_wait_seconds_total")
