"""Alert rules ask for metrics that exist, with label values that exist."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from nbhd_crds.api.policies import SERVICES
from nbhd_crds.api.tenant import Phase
from nbhd_local.chart import helm
from nbhd_operator.cache import Cache, Key
from nbhd_operator.metrics import Metrics as OperatorMetrics
from nbhd_operator.queue import WorkQueue
from nbhd_router.metrics import Metrics as RouterMetrics
from nbhd_webhooks.metrics import PASSES
from nbhd_webhooks.metrics import Metrics as WebhooksMetrics
from tests.unit.operator import make

# label → values that an alert may compare it with, where they are not free
VALUES = {
    "job": set(SERVICES),
    "namespace": {helm.NAMESPACE},
    "phase": set(typing.get_args(Phase)),
    "kind": set(PASSES),
    "code": {"429"},
    "result": {"not_stored"},  # nbhd_router/intake.py
    "outcome": {"unavailable"},  # nbhd_webhooks/events.py
}


@pytest.fixture(scope="module")
def alerts() -> dict[str, dict[str, Any]]:
    (rules,) = (one for one in helm.installed("monitoring") if one["kind"] == "PrometheusRule")
    return {rule["alert"]: rule for group in rules["spec"]["groups"] for rule in group["rules"]}


def exposed(registry: CollectorRegistry) -> Iterator[str]:
    """Names of all series, also of those that have no value yet."""
    for family in registry.collect():
        yield family.name + ("_total" if family.type == "counter" else "")
        yield from (sample.name for sample in family.samples)


async def test_every_metric_exists(alerts: dict[str, dict[str, Any]]) -> None:
    operator, router, webhooks = OperatorMetrics(), RouterMetrics(), WebhooksMetrics()
    cache: Cache = make.cache(make.tenant())
    queue: WorkQueue[Key] = WorkQueue()
    operator.read(queue, cache, lambda: True)
    there = {"up", *(name for each in (operator, router, webhooks) for name in exposed(each.registry))}
    asked = {name for alert in alerts.values() for name in re.findall(r"\b(?:nbhd_\w+|up\b)", alert["expr"])}
    assert len(asked) > 10
    assert asked <= there, asked - there


def test_every_label_can_have_the_value(alerts: dict[str, dict[str, Any]]) -> None:
    for name, alert in alerts.items():
        for label, value in re.findall(r'(\w+)="([^"]*)"', alert["expr"]):
            assert value in VALUES[label], f"{name}: {label}={value}"
        assert f'namespace="{helm.NAMESPACE}"' in alert["expr"], name


def test_every_alert_says_what_is_the_matter(alerts: dict[str, dict[str, Any]]) -> None:
    for name, alert in alerts.items():
        assert alert["annotations"]["summary"].endswith("."), name
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert alert["expr"].count("(") == alert["expr"].count(")")
        assert alert["expr"].count("{") == alert["expr"].count("}")
