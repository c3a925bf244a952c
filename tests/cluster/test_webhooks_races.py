"""Two replicas of webhooks, a real API server with its policies, and Stripe: what races between them come to."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nbhd_crds.client import Tenants, connect
from nbhd_crds.identity import tenant_id
from nbhd_crds.settings import read
from nbhd_local.cluster import Cluster
from nbhd_local.stripe import DeliveryPolicy, StripeWorld
from nbhd_webhooks.resync import Resync
from nbhd_webhooks.service import Service, running
from nbhd_webhooks.settings import WebhooksSettings
from nbhd_webhooks.sync import Outcome

Kubeconfigs = Callable[[str], Path]


@pytest.fixture
async def stripe() -> AsyncIterator[StripeWorld]:
    async with StripeWorld(latency=(0.001, 0.02), policy=DeliveryPolicy(delay=(0, 0.02))) as made:
        yield made


@pytest.fixture
async def prices(stripe: StripeWorld) -> list[str]:
    made = []
    headers = {"Authorization": f"Bearer {stripe.secret_key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for name in ("basic", "plus"):
            data = {
                "unit_amount": "500",
                "currency": "usd",
                "recurring[interval]": "month",
                "product_data[name]": name,
                "lookup_key": f"nbhd-{name}",
            }
            async with session.post(f"{stripe.api_url}/v1/prices", data=data) as response:
                made.append(str((await response.json())["id"]))
    return made


@pytest.fixture
async def replicas(
    stripe: StripeWorld,
    prices: list[str],
    namespace: str,
    service_kubeconfig: Kubeconfigs,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[Service, Service]]:
    """Two services that do nothing on their own: a resync in the background would disturb the races set up here."""

    async def idle(_: Resync) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Resync, "run", idle)
    env = {
        "KUBECONFIG": str(service_kubeconfig("webhooks")),
        "NBHD_NAMESPACE": namespace,
        "NBHD_LISTEN": "127.0.0.1:0",
        "NBHD_LINK_KEYS": f"a1:{base64.urlsafe_b64encode(bytes(32)).decode().rstrip('=')}",
        "STRIPE_API_URL": stripe.api_url,
        "STRIPE_TEST_SECRET_KEY": stripe.secret_key,
        "STRIPE_WEBHOOK_SECRETS": stripe.webhook_secret,
        "STRIPE_PRICE_BASIC": prices[0],
        "STRIPE_PRICE_PLUS": prices[1],
        "FRONTEND_URL": "http://127.0.0.1:8080",
        "TELEGRAM_BOT_USERNAME": "nbhd_bot",
    }
    settings = read(WebhooksSettings, env)
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(running(settings))
        two = await stack.enter_async_context(running(settings))
        yield one, two


async def buy(stripe: StripeWorld, replica: Service) -> tuple[str, str]:
    """Checks out through the website. Customer and subscription."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{replica.url}/subscribe/basic", allow_redirects=False) as response,
    ):
        session_id = response.headers["Location"].partition("?")[0].rsplit("/", 1)[-1].partition("#")[0]
    await stripe.pay(session_id)
    found = stripe.get(session_id)
    return found["customer"], found["subscription"]


def tenants(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = cluster.get("tenants", "-n", namespace)["items"]
    return items


def writes(cluster: Cluster, namespace: str) -> list[tuple[str, int]]:
    """Verb and status of each write to Tenants of the namespace by the service, from the server's audit log."""
    if cluster.audit_log is None:
        pytest.skip("needs the audit log of our own control plane")
    found = []
    for line in cluster.audit_log.read_text().splitlines():
        event = json.loads(line)
        about = event.get("objectRef", {})
        mine = about.get("namespace") == namespace and event["user"]["username"].endswith(":webhooks")
        if mine and event["verb"] in ("create", "patch", "update", "delete") and "responseStatus" in event:
            found.append((event["verb"], event["responseStatus"]["code"]))
    return found


async def test_two_replicas_that_handle_the_first_event_create_one_tenant(
    cluster: Cluster, namespace: str, stripe: StripeWorld, replicas: tuple[Service, Service]
) -> None:
    one, two = replicas
    customer, _ = await buy(stripe, one)
    outcomes = await asyncio.gather(*(replica.sync.customer(customer) for replica in (one, two, two, one)))
    assert set(outcomes) <= {Outcome.APPLIED, Outcome.UNCHANGED}
    (tenant,) = tenants(cluster, namespace)
    assert tenant["metadata"]["name"] == tenant["spec"]["id"] == tenant_id("nbhd", customer)
    assert tenant["spec"]["billing"]["status"] == "active"
    assert tenant["spec"]["billing"]["lookupKey"] == "nbhd-basic"
    assert writes(cluster, namespace).count(("create", 201)) == 1


async def test_events_as_stripe_sends_them_make_one_tenant_and_end_it(
    cluster: Cluster, namespace: str, stripe: StripeWorld, replicas: tuple[Service, Service]
) -> None:
    """Signed, reordered, each one twice."""
    one, _ = replicas
    stripe.policy = DeliveryPolicy(delay=(0, 0.05), duplicate=1)
    stripe.webhook_url = f"{one.url}/stripe/webhook"
    _, subscription = await buy(stripe, one)
    await stripe.settled()
    (tenant,) = tenants(cluster, namespace)
    assert tenant["spec"]["billing"]["status"] == "active"
    assert not tenant["spec"]["complimentary"]
    stripe.policy = DeliveryPolicy(delay=(0, 0.05), shape="thin")
    stripe.cancel(subscription)
    await stripe.settled()
    (tenant,) = tenants(cluster, namespace)
    assert tenant["spec"]["billing"]["status"] == "canceled"
    assert {delivery.status for delivery in stripe.deliveries} == {200}
    stripe.webhook_url = None


async def test_events_with_nothing_new_write_nothing(
    cluster: Cluster, namespace: str, stripe: StripeWorld, replicas: tuple[Service, Service]
) -> None:
    one, two = replicas
    customer, _ = await buy(stripe, one)
    await one.sync.customer(customer)
    before = writes(cluster, namespace)
    for replica in (one, two, two):
        assert await replica.sync.customer(customer) is Outcome.UNCHANGED
    await two.resync.sweep()
    assert writes(cluster, namespace) == before


def between(monkeypatch: pytest.MonkeyPatch, replica: Service, step: Callable[[], Awaitable[None]]) -> None:
    """Has ``step`` happen once, between this replica's next fetch from Stripe and its apply."""
    api = replica.sync._stripe
    fetch = api.subscriptions
    first = True

    async def fetch_then_step(customer_id: str) -> list[dict[str, Any]]:
        nonlocal first
        answer = await fetch(customer_id)
        if first:
            first = False
            await step()
        return answer

    monkeypatch.setattr(api, "subscriptions", fetch_then_step)


async def test_a_stale_apply_loses(
    cluster: Cluster,
    namespace: str,
    stripe: StripeWorld,
    replicas: tuple[Service, Service],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One replica fetches, Stripe changes, the other one fetches and applies, and only then does the first apply."""
    slow, quick = replicas
    customer, subscription = await buy(stripe, slow)
    await quick.sync.customer(customer)
    stripe.fail_payment(subscription)

    async def overtaken() -> None:
        stripe.cancel(subscription)
        assert await quick.sync.customer(customer) is Outcome.APPLIED

    between(monkeypatch, slow, overtaken)
    assert await slow.sync.customer(customer) is Outcome.UNCHANGED
    (tenant,) = tenants(cluster, namespace)
    assert tenant["spec"]["billing"]["status"] == "canceled"
    assert ("patch", 409) in writes(cluster, namespace)


async def test_a_stale_first_apply_loses(
    cluster: Cluster,
    namespace: str,
    stripe: StripeWorld,
    replicas: tuple[Service, Service],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same with the very first event: the slow replica thinks that there is no Tenant yet."""
    slow, quick = replicas
    customer, subscription = await buy(stripe, slow)

    async def overtaken() -> None:
        assert await quick.sync.customer(customer) is Outcome.APPLIED
        stripe.cancel(subscription)
        assert await quick.sync.customer(customer) is Outcome.APPLIED

    between(monkeypatch, slow, overtaken)
    assert await slow.sync.customer(customer) is Outcome.UNCHANGED
    (tenant,) = tenants(cluster, namespace)
    assert tenant["spec"]["billing"]["status"] == "canceled"


async def test_another_writer_in_between_does_not_stop_an_apply(
    cluster: Cluster,
    namespace: str,
    stripe: StripeWorld,
    replicas: tuple[Service, Service],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, _ = replicas
    customer, subscription = await buy(stripe, one)
    await one.sync.customer(customer)
    name = one.sync.tenant_name(customer)
    stripe.fail_payment(subscription)

    async def suspended() -> None:
        patch = json.dumps({"spec": {"suspended": True}})
        await asyncio.to_thread(cluster.kubectl, "patch", "tenant", name, "-n", namespace, "--type=merge", "-p", patch)

    between(monkeypatch, one, suspended)
    assert await one.sync.customer(customer) is Outcome.APPLIED
    (tenant,) = tenants(cluster, namespace)
    assert (tenant["spec"]["suspended"], tenant["spec"]["billing"]["status"]) == (True, "past_due")


def delete(cluster: Cluster, namespace: str, name: str) -> None:
    cluster.kubectl("annotate", "tenant", name, "-n", namespace, "nbhd.united/allow-delete=true")
    cluster.kubectl("delete", "tenant", name, "-n", namespace, "--wait=false")


@pytest.mark.parametrize("finalizer", [True, False])
async def test_an_event_that_arrives_while_the_tenant_is_being_deleted_does_not_bring_it_back(
    cluster: Cluster,
    namespace: str,
    stripe: StripeWorld,
    replicas: tuple[Service, Service],
    service_kubeconfig: Kubeconfigs,
    monkeypatch: pytest.MonkeyPatch,
    finalizer: bool,
) -> None:
    """With our finalizer the Tenant is still there, without it is gone when the apply comes."""
    one, _ = replicas
    customer, subscription = await buy(stripe, one)
    await one.sync.customer(customer)
    name = one.sync.tenant_name(customer)
    operator = await connect(service_kubeconfig("operator"))
    try:
        store = Tenants(operator)
        seen = await store.get(namespace, name)
        assert seen is not None
        if finalizer:
            seen = await store.add_finalizer(seen)
        stripe.fail_payment(subscription)
        between(monkeypatch, one, lambda: asyncio.to_thread(delete, cluster, namespace, name))
        during = await one.sync.customer(customer)
        assert during in ((Outcome.APPLIED, Outcome.DELETING) if finalizer else (Outcome.DELETED,))
        if finalizer:
            assert await one.sync.customer(customer) is Outcome.DELETING
            gone = await store.get(namespace, name)
            assert gone is not None
            await store.remove_finalizer(gone)
        assert tenants(cluster, namespace) == []
    finally:
        await operator.close()  # type: ignore[no-untyped-call] # untyped upstream


async def test_a_tenant_that_was_deleted_after_its_subscription_ended_stays_away(
    cluster: Cluster, namespace: str, stripe: StripeWorld, replicas: tuple[Service, Service]
) -> None:
    one, two = replicas
    customer, subscription = await buy(stripe, one)
    await one.sync.customer(customer)
    stripe.cancel(subscription)
    await one.sync.customer(customer)
    cluster.kubectl("delete", "tenant", one.sync.tenant_name(customer), "-n", namespace)
    for replica in (one, two):
        assert await replica.sync.customer(customer) is Outcome.NOT_ENTITLED
    await two.resync.sweep()
    assert tenants(cluster, namespace) == []
