"""The API side, through the unmodified ``stripe`` library and, where that hides things, through plain HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
import stripe

from nbhd_local.ca import Authority
from nbhd_local.stripe import StripeWorld

from .conftest import client_for, close, price_of


async def test_customers_are_created_changed_listed_and_deleted(client: stripe.StripeClient) -> None:
    created = await client.v1.customers.create_async({"email": "a@example.test", "metadata": {"x": "1", "y": "2"}})
    assert created.id.startswith("cus_")
    assert not created.livemode

    changed = await client.v1.customers.update_async(created.id, {"name": "Ada", "metadata": {"x": "", "z": "3"}})
    assert changed.name == "Ada"
    assert changed.metadata is not None
    assert changed.metadata.to_dict() == {"y": "2", "z": "3"}

    listed = await client.v1.customers.list_async({"email": "a@example.test"})
    assert [found.id for found in listed.data] == [created.id]

    deleted = await client.v1.customers.delete_async(created.id)
    assert deleted.deleted is True
    assert (await client.v1.customers.retrieve_async(created.id)).deleted is True
    assert (await client.v1.customers.list_async()).data == []


async def test_prices_are_found_by_lookup_key(client: stripe.StripeClient) -> None:
    basic, plus = await price_of(client), await price_of(client, lookup_key="plus", amount=2000)
    found = await client.v1.prices.list_async({"lookup_keys": ["plus", "none"], "active": True})
    assert [price.id for price in found.data] == [plus.id]
    assert found.data[0].unit_amount == 2000

    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        await client.v1.prices.update_async(basic.id, {"lookup_key": "plus"})
    await client.v1.prices.update_async(basic.id, {"lookup_key": "plus", "transfer_lookup_key": True})
    assert (await client.v1.prices.retrieve_async(plus.id)).lookup_key is None


async def test_lists_page_through_everything_newest_first(client: stripe.StripeClient) -> None:
    made = [(await client.v1.customers.create_async({"name": str(number)})).id for number in range(7)]
    first = await client.v1.customers.list_async({"limit": 3})
    assert first.has_more
    assert [found.id for found in first.data] == made[:3:-1]
    rest = await client.v1.customers.list_async({"limit": 10, "starting_after": first.data[-1].id})
    assert not rest.has_more
    assert [found.id for found in rest.data] == made[3::-1]
    before = await client.v1.customers.list_async({"limit": 2, "ending_before": made[3]})
    assert [found.id for found in before.data] == [made[5], made[4]]
    everything = [found.id async for found in (await client.v1.customers.list_async({"limit": 2})).auto_paging_iter()]
    assert everything == made[::-1]


async def test_a_wrong_key_is_refused_without_repeating_it(world: StripeWorld) -> None:
    key = "sk_test_" + "wrongkey" * 4
    client = client_for(world, key)
    with pytest.raises(stripe.AuthenticationError) as caught:
        await client.v1.customers.list_async()
    assert caught.value.http_status == 401
    assert key not in str(caught.value)
    await close(client)


async def test_a_missing_object_is_a_404(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.subscriptions.retrieve_async("sub_none")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
    assert caught.value.user_message == "No such subscription: 'sub_none'"


@pytest.mark.parametrize(
    ("params", "param", "code"),
    [
        ({"frobnicate": "1"}, "frobnicate", "parameter_unknown"),
        ({"line_items": [{"price": "p", "colour": "red"}]}, "line_items[0][colour]", "parameter_unknown"),
        ({"success_url": "not a url"}, "success_url", "url_invalid"),
        ({"success_url": None}, "success_url", "parameter_missing"),
        ({"line_items": [{"price": "price_none", "quantity": 1}]}, "line_items[0][price]", "resource_missing"),
        ({"line_items": [{"price": "x", "quantity": "two"}]}, "line_items[0][quantity]", "parameter_invalid_integer"),
        ({"customer": "cus_none"}, "customer", "resource_missing"),
        ({"metadata": {"k" * 41: "v"}}, "metadata", None),
        ({"mode": "barter"}, "mode", None),
    ],
)
async def test_bad_parameters_are_named(
    client: stripe.StripeClient, params: dict[str, Any], param: str, code: str | None
) -> None:
    full: Any = {"mode": "subscription", "success_url": "http://127.0.0.1:9/", **params}
    full = {key: value for key, value in full.items() if value is not None}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.checkout.sessions.create_async(full)
    assert (caught.value.http_status, caught.value.param, caught.value.code) == (400, param, code)


async def test_an_idempotency_key_replays_and_refuses_other_parameters(client: stripe.StripeClient) -> None:
    first = await client.v1.customers.create_async({"name": "one"}, {"idempotency_key": "k1"})
    again = await client.v1.customers.create_async({"name": "one"}, {"idempotency_key": "k1"})
    assert again.id == first.id
    assert again.last_response is not None
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert len((await client.v1.customers.list_async()).data) == 1
    with pytest.raises(stripe.IdempotencyError):
        await client.v1.customers.create_async({"name": "two"}, {"idempotency_key": "k1"})


async def test_headers_and_unknown_urls(world: StripeWorld) -> None:
    headers = {"Authorization": f"Bearer {world.secret_key}", "Stripe-Version": "2026-10-28.endive"}
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.get(f"{world.api_url}/v1/customers") as response:
            assert response.status == 200
            assert response.headers["Stripe-Version"] == "2026-10-28.endive"
            assert response.headers["Request-Id"].startswith("req_")
        async with http.get(f"{world.api_url}/v1/unicorns") as response:
            assert response.status == 404
            assert (await response.json())["error"]["message"].startswith("Unrecognized request URL")
        async with http.post(f"{world.api_url}/v1/customers", json={"name": "x"}) as response:
            assert response.status == 400
        async with http.get(f"{world.api_url}/v1/customers", headers={"Stripe-Version": "yesterday"}) as response:
            assert response.status == 400
        async with http.get(f"{world.api_url}/v1/customers", headers={"Authorization": ""}) as response:
            assert response.status == 401


async def test_the_api_speaks_tls_when_it_is_given_an_authority(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path)
    async with StripeWorld(authority, latency=(0, 0)) as world:
        assert world.api_url.startswith("https://127.0.0.1:")
        assert world.pages_url.startswith("http://127.0.0.1:")
        connector = aiohttp.TCPConnector(ssl=authority.client_context())
        async with aiohttp.ClientSession(connector=connector) as session:
            client = stripe.StripeClient(
                world.secret_key,
                base_addresses={"api": world.api_url},
                http_client=stripe.AIOHTTPClient(timeout=5, session=session),
            )
            assert (await client.v1.customers.create_async({"name": "x"})).name == "x"


async def test_webhook_endpoints_get_their_own_secret_once(client: stripe.StripeClient) -> None:
    made = await client.v1.webhook_endpoints.create_async(
        {"url": "http://127.0.0.1:9/hook", "enabled_events": ["customer.created"]}
    )
    assert made.secret is not None
    assert made.secret.startswith("whsec_")
    listed = (await client.v1.webhook_endpoints.list_async()).data
    assert [endpoint.id for endpoint in listed] == [made.id]
    assert "secret" not in listed[0].to_dict()
    with pytest.raises(stripe.InvalidRequestError, match="private"):
        await client.v1.webhook_endpoints.create_async({"url": "https://127.evil.test/x", "enabled_events": ["*"]})
