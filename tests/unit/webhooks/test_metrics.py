"""What is counted, and under which names: never an id."""

from __future__ import annotations

import pytest

from nbhd_local.stripe import StripeWorld
from nbhd_webhooks.metrics import Metrics, operation_of
from nbhd_webhooks.stripe_api import NotInStripeError, StripeApi


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("GET", "/v1/subscriptions", "GET subscriptions"),
        ("GET", "/v1/subscriptions/sub_1N3T00", "GET subscriptions/id"),
        ("POST", "/v1/checkout/sessions", "POST checkout/sessions"),
        ("GET", "/v1/checkout/sessions/cs_test_a1", "GET checkout/sessions/id"),
        ("GET", "/v1/customers/cus_9/anything", "GET customers/id/id"),
    ],
)
def test_operations(method: str, path: str, operation: str) -> None:
    assert operation_of(method, path) == operation


async def test_calls_to_stripe_are_counted(api: StripeApi, metrics: Metrics, world: StripeWorld, price: str) -> None:
    before = dict(_calls(metrics))
    await api.price(price)
    with pytest.raises(NotInStripeError):
        await api.price("price_none")
    world.traffic.reset_next("GET", "/v1/prices", times=2)  # the library tries once more
    with pytest.raises(Exception, match="price"):
        await api.price(price)
    counted = {key: value - before.get(key, 0) for key, value in _calls(metrics).items()}
    assert {key: value for key, value in counted.items() if value} == {
        ("GET prices/id", "200"): 1,
        ("GET prices/id", "404"): 1,
        ("GET prices/id", "Unreachable"): 2,
    }


def _calls(metrics: Metrics) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["operation"], sample.labels["code"]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "nbhd_webhooks_stripe_calls_total"
    }


def test_age_of_the_resync() -> None:
    now = [100.0]
    metrics = Metrics(lambda: now[0])

    def age(kind: str) -> float | None:
        return metrics.registry.get_sample_value("nbhd_webhooks_resync_age_seconds", {"kind": kind})

    now[0] = 130.0
    assert (age("undelivered"), age("sweep")) == (30, 30)
    metrics.resynced("sweep")
    now[0] = 135.0
    assert (age("undelivered"), age("sweep")) == (35, 5)
