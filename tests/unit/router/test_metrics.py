"""The spool's gauges, and what a scrape never shows."""

from __future__ import annotations

import math

from nbhd_router.spool import Incoming, Lane

from .conftest import ALICE, BOT, Kit


async def test_depth_and_age_of_the_spool(kit: Kit) -> None:
    def gauges() -> tuple[float | None, float | None]:
        read = kit.metrics.registry.get_sample_value
        return read("nbhd_router_spool_depth"), read("nbhd_router_spool_oldest_seconds")

    await kit.metrics.look_at(kit.spool)
    assert gauges() == (0, 0)
    for number in (1, 2):
        await kit.spool.put(Incoming(Lane(BOT, ALICE), number, "message", b"{}"))
    first = await kit.spool.next(Lane(BOT, ALICE))
    assert first
    await kit.metrics.look_at(kit.spool, lambda: first.received + 30)
    assert gauges() == (2, 30)
    await kit.spool.done(first)
    await kit.metrics.look_at(kit.spool, lambda: first.received - 30)  # the clock was put back
    assert gauges() == (1, 0)
    await kit.database.close()
    await kit.metrics.look_at(kit.spool)
    assert all(math.isnan(value or 0) for value in gauges())
