"""What probes and Prometheus are told."""

from __future__ import annotations

from aiohttp import ClientSession
from prometheus_client import Counter, Gauge
from prometheus_client.parser import text_string_to_metric_families

from nbhd_crds import metrics
from nbhd_crds.health import Readiness, health_app
from nbhd_crds.listener import listening


async def test_alive_and_ready_are_two_things() -> None:
    readiness, stuck = Readiness("no list yet"), [""]
    async with (
        listening(health_app(readiness, stuck=lambda: stuck[0]), "127.0.0.1:0") as url,
        ClientSession() as session,
    ):

        async def ask(path: str) -> tuple[int, str]:
            async with session.get(url + path) as answer:
                return answer.status, await answer.text()

        assert await ask("/healthz") == (200, "ok")
        assert await ask("/readyz") == (503, "no list yet")
        readiness.serving()
        assert await ask("/readyz") == (200, "ok")
        stuck[0] = "a look has lasted an hour"
        assert await ask("/healthz") == (503, "a look has lasted an hour")
        readiness.stopping()
        assert await ask("/readyz") == (503, "shutting down")
        assert (await ask("/metrics"))[0] == 404


async def test_metrics_are_as_prometheus_reads_them_and_refreshed_first() -> None:
    registry = metrics.registry()
    calls = Counter("calls", "Calls.", ("code",), registry=registry)
    depth = Gauge("depth", "Depth.", registry=registry)
    calls.labels("200").inc()

    async def refresh() -> None:
        depth.set(7)

    app = health_app(Readiness(), metrics=registry, refresh=refresh)
    async with (
        listening(app, "127.0.0.1:0") as url,
        ClientSession() as session,
        session.get(f"{url}/metrics") as answer,
    ):
        assert answer.content_type == "text/plain"
        families = {family.name: family for family in text_string_to_metric_families(await answer.text())}
    assert [(sample.labels, sample.value) for sample in families["calls"].samples] == [({"code": "200"}, 1)]
    assert families["depth"].samples[0].value == 7
    assert "process_resident_memory_bytes" in families
    assert not [name for name in families if name.endswith("_created")]


def test_two_registries_share_nothing() -> None:
    for _ in range(2):
        Counter("same", "Same.", registry=metrics.registry())


def test_words_of_others_stay_few_and_short() -> None:
    word = metrics.Words(most=2)
    assert [word(name) for name in ("Conflict", "TooMany", "Conflict", "Third")] == [
        "Conflict",
        "TooMany",
        "Conflict",
        "Other",
    ]
    assert metrics.Words()("https://host/a?token=1") == "Other"
    assert metrics.Words()("A" * 65) == "Other"
