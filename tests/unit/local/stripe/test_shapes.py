"""Every field of every object that the emulator returns is one of today's API, with its type.

``shapes.json`` names the type of each path, ``?`` meaning that it may be null; it holds types only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import stripe

from nbhd_local.stripe import StripeWorld

from .conftest import price_of, session_for

SHAPES: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "shapes.json").read_text())


def type_name(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def faults(shape: dict[str, str], value: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, member in value.items():
        yield from _faults_at(shape, member, f"{prefix}{name}")


def _faults_at(shape: dict[str, str], value: Any, path: str) -> Iterator[str]:
    if path not in shape:
        yield f"{path} does not exist"
        return
    wanted = shape[path]
    if value is None:
        if not wanted.endswith("?"):
            yield f"{path} is null"
        return
    wanted = wanted.removesuffix("?")
    if wanted == "map":
        if not isinstance(value, dict):
            yield f"{path} is not a map"
    elif type_name(value) != wanted:
        yield f"{path} is {type_name(value)}, not {wanted}"
    elif isinstance(value, dict):
        yield from faults(shape, value, f"{path}.")
    elif isinstance(value, list):
        for member in value:
            yield from _faults_at(shape, member, f"{path}[]")


def absent(shape: dict[str, str], value: dict[str, Any]) -> set[str]:
    """Top-level fields that today's object has and this one has not."""
    return {path for path in shape if "." not in path and "[" not in path} - set(value)


async def test_objects_have_exactly_todays_fields_and_types(world: StripeWorld, client: stripe.StripeClient) -> None:
    world.webhook_url = "http://127.0.0.1:9/"
    world.pause()
    await client.v1.customers.create_async({"email": "a@example.test", "metadata": {"k": "v"}})
    session = await session_for(client, await price_of(client), metadata={"k": "v"})
    world_session = world.get(session.id)
    assert list(faults(SHAPES["checkout.session"], world_session)) == []
    await world.pay(session.id, name="Ada")
    subscription = world.get(session.id)["subscription"]
    world.fail_payment(subscription)
    world.pay_again(subscription)
    await client.v1.subscriptions.update_async(subscription, {"pause_collection": {"behavior": "void"}})
    world.transition(subscription, "trialing")
    world.cancel(subscription, at_period_end=True)
    world.end_period(subscription)
    await client.v1.webhook_endpoints.create_async({"url": "http://127.0.0.1:9/", "enabled_events": ["*"]})

    seen: set[str] = set()
    lists: list[Any] = [
        await client.v1.customers.list_async(),
        await client.v1.products.list_async(),
        await client.v1.prices.list_async(),
        await client.v1.checkout.sessions.list_async(),
        await client.v1.subscriptions.list_async({"status": "all"}),
        await client.v1.invoices.list_async(),
        await client.v1.events.list_async({"limit": 100}),
        await client.v1.webhook_endpoints.list_async(),
    ]
    objects = [found for listed in lists for found in listed.to_dict(for_json=True)["data"]]
    objects += [event["data"]["object"] for event in world.events]
    objects += [item for found in objects if found["object"] == "subscription" for item in found["items"]["data"]]
    for found in objects:
        shape = SHAPES[found["object"]]
        assert list(faults(shape, found)) == [], found["object"]
        allowed = {"secret", "previous_attributes"}
        if found["object"] != "event":
            assert absent(shape, found) - allowed <= MISSING.get(found["object"], set()), found["object"]
        seen.add(found["object"])
    assert seen == set(SHAPES)


MISSING = {"subscription": {"billing_schedules"}}
