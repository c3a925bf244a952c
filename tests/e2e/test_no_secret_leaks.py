"""No platform secret and no derived token in any log, event, object, metric or process argument, plain or base64."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import aiohttp

from nbhd_crds.identity import Keyring, Purpose, bot_token
from nbhd_local.people import Subscriber
from nbhd_local.wiring import BOT_ID, PLATFORM
from nbhd_local.world import World
from tests.e2e.conftest import StartWorld

PURPOSES: tuple[Purpose, ...] = ("bot", "webhook", "gateway", "model")


def derived(world: World, spec_id: str) -> list[str]:
    rings = {purpose: Keyring.parse(purpose, world.secrets.keyrings[purpose.upper()]) for purpose in PURPOSES}
    tokens = [ring.derive(PLATFORM, spec_id, 1) for ring in rings.values()]
    return [*tokens, bot_token(rings["bot"], BOT_ID, PLATFORM, spec_id, 1).partition(":")[2]]


def forms(secret: str) -> list[str]:
    """How it may appear: as it is, and in base64 at each of the three alignments, without the uncertain ends."""
    encoded = [base64.b64encode(b"x" * shift + secret.encode()).decode()[4:-4] for shift in range(3)]
    return [secret, *encoded]


def process_arguments() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it ended meanwhile
    return "\n".join(found)


async def metrics(world: World) -> dict[str, str]:
    found = {}
    async with aiohttp.ClientSession() as session:
        for service in world.services.values():
            async with session.get(service.ready_url.replace("/readyz", "/metrics")) as answer:
                found[f"metrics of {service.name}"] = await answer.text()
    return found


async def test_no_secret_leaks(start_world: StartWorld) -> None:
    async with start_world() as world:
        alice, bob = Subscriber.meet(world, "alice", 1001), Subscriber.meet(world, "bob", 2002)
        await asyncio.gather(alice.subscribe("basic"), bob.subscribe("plus"))
        await asyncio.gather(alice.say("hello"), bob.say("hello"))
        # Things go wrong as well: a wrong secret, a service that dies, an error of Azure, one who leaves.
        world.azure.traffic.fail_next("GET", r"/containerApps/", 500, "InternalServerError")
        await world.router.restart()
        world.stripe.cancel(bob.subscription_id)
        await world.until(bob.tenant, lambda t: t is not None and t.status.phase == "Ended", "Ended")
        await alice.say("hello again")

        objects = await world.kubectl_wait("get", "tenants,plans,cells,events,configmaps,secrets", "-o", "yaml")
        described = await world.kubectl_wait("describe", "tenants")
        places = {"kubectl get": objects, "kubectl describe": described, "process arguments": process_arguments()}
        scraped = await metrics(world)
        for name, text in scraped.items():
            assert f"nbhd_{name.split()[-1]}_" in text
            for person in (alice, bob):
                known = (person.tenant, person.customer_id, f'"{person.telegram.id}"')
                assert not [fact for fact in known if fact in text], name
        places |= scraped
        for log in world.folder.glob("**/*.log"):
            places[log.name] = log.read_text(errors="replace")
        assert {"operator.log", "router.log", "webhooks.log"} <= places.keys()
        assert all(places[f"{s.name}.log"] for s in world.services.values()), "an empty log proves nothing"
        hidden = [*world.secrets.all(), world.stripe.secret_key]
        for person in (alice, bob):
            hidden += derived(world, person.tenant)
        leaks = [
            f"{secret[:4]}… in {place}"
            for secret in hidden
            for form in forms(secret)
            for place, text in places.items()
            if form in text
        ]
        assert leaks == []


def test_the_scan_would_find_a_leak() -> None:
    secret = "s3cret-value-of-some-length"
    text = base64.b64encode(f'{{"token": "{secret}"}}'.encode()).decode()
    assert any(form in text for form in forms(secret))
