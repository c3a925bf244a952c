"""What a scrape of the operator shows, and that no name of a tenant is in it."""

from __future__ import annotations

from prometheus_client import generate_latest

from nbhd_operator.metrics import Metrics
from tests.unit.operator import make
from tests.unit.operator.conftest import Stage
from tests.unit.operator.test_controller import SERVED


async def test_a_life_in_numbers(stage: Stage) -> None:
    stage.store.put(make.tenant(**SERVED))
    stage.store.put(make.tenant("bert", billing=make.billing("active")))
    stage.world.traffic.fail_next("PUT", "userAssignedIdentities", 503, "ServiceUnavailable")
    operator = stage.operator()
    metrics = operator.metrics
    leading = [False]
    metrics.read(operator.queue, operator.cache, lambda: leading[0])

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"nbhd_operator_{name}", labels)

    await stage.phase("Ready")
    await stage.phase("AwaitingLink", "bert")
    await stage.until(lambda _: not operator.queue.running)
    assert value("tenants", phase="Ready") is None  # one that stands by does not count them again
    leading[0] = True
    assert value("tenants", phase="Ready") == 1
    assert value("tenants", phase="AwaitingLink") == 1
    assert value("reconcile_errors_total", reason="ServiceUnavailable") == 1
    assert (value("reconciles_total", outcome="failed"), value("queue_depth")) == (1, 0)
    assert (value("reconcile_seconds_count") or 0) >= 3
    assert round(value("cost_ceiling_usd_per_hour", plan="basic") or 0, 4) == round(3600 * (0.000024 + 2 * 0.000003), 4)
    (key, cell), *_ = operator.cache.cells.items()
    status = cell.status.model_copy(update={"orphan_count": 3})
    operator.cache.cells[key] = cell.model_copy(update={"status": status})
    assert value("orphans", cell="cell-1") == 3
    assert 0 <= (value("last_success_age_seconds") or -1) < 60
    text = generate_latest(metrics.registry).decode()
    assert "anna" not in text
    assert "bert" not in text


async def test_calls_to_azure_are_counted(stage: Stage) -> None:
    stage.world.traffic.fail_next("PUT", "containerApps", 409, "ContainerAppOperationInProgress")
    stage.world.traffic.reset_next("PUT", "userAssignedIdentities")
    stage.store.put(make.tenant(**SERVED))
    stage.operator()
    await stage.phase("Ready")

    def calls(operation: str, code: str) -> float | None:
        labels = {"operation": operation, "code": code}
        return stage.metrics.registry.get_sample_value("nbhd_operator_azure_calls_total", labels)

    assert calls("PUT containerApps", "409") == 1
    assert calls("PUT containerApps", "201") == 1
    assert calls("PUT userAssignedIdentities", "Unreachable") == 1
    assert calls("POST token", "200")
    assert "anna" not in generate_latest(stage.metrics.registry).decode()


def test_words_of_azure_are_kept_few() -> None:
    metrics = Metrics()
    for number in range(300):
        metrics.failed(f"Code{number}")
    (errors,) = [family for family in metrics.registry.collect() if family.name == "nbhd_operator_reconcile_errors"]
    assert len(errors.samples) == 101
