"""The API server is stopped in the middle of the story: chats go on, nothing is lost, and the story ends the same."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from nbhd_local import cluster as clusters
from nbhd_local import world as worlds
from nbhd_local.people import Subscriber
from tests.e2e.conftest import QUICK


@pytest.mark.timeout(240)
async def test_the_api_server_goes_away_and_returns(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    process, cluster = await asyncio.to_thread(clusters.start, folder, subprocess.PIPE)
    port = int(cluster.server.rpartition(":")[2])
    try:
        await asyncio.to_thread(cluster.install)
        async with worlds.running(tmp_path, cluster=cluster, delays=QUICK) as world:
            alice, bob = Subscriber.meet(world, "alice", 1001), Subscriber.meet(world, "bob", 2002)
            await alice.subscribe()
            await alice.say("before")
            await bob.choose("plus")

            await asyncio.to_thread(clusters.stop, process)
            await alice.say("the router knows the way by heart")
            await bob.pay()  # Stripe keeps what webhooks cannot apply

            process, _ = await asyncio.to_thread(clusters.start, folder, subprocess.PIPE, port=port)
            for service in world.services.values():
                if service.ended:  # as its Deployment would
                    await service.start()
            await bob.link()
            await bob.say("hello after the outage")
            await alice.say("after")
            world.stripe.cancel(bob.subscription_id)
            await world.until(bob.tenant, lambda t: t is not None and t.status.phase == "Ended", "Ended")
    finally:
        await asyncio.to_thread(clusters.stop, process)
