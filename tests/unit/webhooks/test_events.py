"""Which events are believed, and what Stripe is answered; signatures are made by Stripe's own library."""

from __future__ import annotations

import datetime
import io
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr
from stripe import WebhookSignature

from nbhd_webhooks.events import BODY_LIMIT, EventHandler, RejectedError, verify
from nbhd_webhooks.metrics import Metrics
from nbhd_webhooks.stripe_api import NotInStripeError, StripeUnavailableError
from nbhd_webhooks.sync import Outcome, UnavailableError

NOW = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)
OLD, NEW = "whsec_old", "whsec_new"
SECRETS = (SecretStr(OLD), SecretStr(NEW))


def snapshot(**changes: Any) -> dict[str, Any]:
    return {
        "id": "evt_1",
        "object": "event",
        "type": "customer.subscription.updated",
        "livemode": False,
        "data": {"object": {"object": "subscription", "id": "sub_1", "customer": "cus_1"}},
    } | changes


def thin(**changes: Any) -> dict[str, Any]:
    return {
        "id": "evt_2",
        "object": "v2.core.event",
        "type": "v1.customer.subscription.updated",
        "livemode": False,
        "created": "2026-11-25T12:00:00.000Z",
        "related_object": {"id": "sub_1", "type": "subscription", "url": "/v1/subscriptions/sub_1"},
    } | changes


def sign(body: str, secret: str = NEW, *, age: int = 0) -> str:
    header: str = WebhookSignature.generate_signature_header(body, secret, timestamp=int(NOW.timestamp()) - age)
    return header


GOOD = json.dumps(snapshot())


@pytest.mark.parametrize(
    ("header", "index"),
    [
        (sign(GOOD), 1),
        (sign(GOOD, OLD), 0),
        (sign(GOOD, "whsec_other") + "," + sign(GOOD).split(",")[1], 1),
        (sign(GOOD, age=300), 1),
        (sign(GOOD, age=-300), 1),
    ],
)
def test_verified(header: str, index: int) -> None:
    event = verify(GOOD.encode(), header, SECRETS, NOW)
    assert (event.id, event.customer, event.secret_index, event.poke) == ("evt_1", "cus_1", index, True)


@pytest.mark.parametrize(
    ("body", "header", "reason"),
    [
        (GOOD, None, "no Stripe-Signature"),
        (GOOD, "", "no Stripe-Signature"),
        (GOOD, "garbage", "matches none"),
        (GOOD, "t=,v1=", "matches none"),
        (GOOD, "t=1,v1=é", "matches none"),
        (GOOD, "t=9" + "9" * 400 + ",v1=00", "matches none"),
        (GOOD, sign(GOOD).replace("v1=", "v0="), "matches none"),
        (GOOD, sign(GOOD, "whsec_other"), "matches none"),
        (GOOD + " ", sign(GOOD), "matches none"),
        (GOOD, sign(GOOD, age=301), "timestamp"),
        (GOOD, sign(GOOD, age=-301), "timestamp"),
        ("not json", sign("not json"), "not an event"),
        ("[1,2]", sign("[1,2]"), "not an event"),
        ("null", sign("null"), "not an event"),
        ("{}", sign("{}"), "not an event"),
        (text := json.dumps(snapshot(data=None)), sign(text), "not an event"),
        (text := json.dumps(snapshot(data={"object": "sub_1"})), sign(text), "not an event"),
        (text := json.dumps(snapshot(object="charge")), sign(text), "not an event"),
        (text := json.dumps(thin(related_object="sub_1")), sign(text), "not an event"),
        (text := "[" * 100_000, sign(text), "not an event"),
    ],
)
def test_rejected(body: str, header: str | None, reason: str) -> None:
    with pytest.raises(RejectedError, match=reason) as caught:
        verify(body.encode(), header, SECRETS, NOW)
    assert OLD not in str(caught.value)
    assert NEW not in str(caught.value)


def test_a_body_that_is_not_utf8_is_rejected() -> None:
    with pytest.raises(RejectedError, match="UTF-8"):
        verify(b"\xff", sign(GOOD), SECRETS, NOW)


@pytest.mark.parametrize(
    ("event", "customer", "related"),
    [
        (snapshot(type="customer.deleted", data={"object": {"object": "customer", "id": "cus_2"}}), "cus_2", None),
        (snapshot(data={"object": {"object": "invoice", "customer": {"id": "cus_3"}}}), "cus_3", None),
        (snapshot(data={"object": {"object": "invoice", "customer": None}}), None, None),
        (thin(), None, ("subscription", "sub_1")),
        (thin(related_object=None), None, None),
    ],
)
def test_whom_it_is_about(event: dict[str, Any], customer: str | None, related: tuple[str, str] | None) -> None:
    body = json.dumps(event)
    found = verify(body.encode(), sign(body), SECRETS, NOW)
    assert (found.customer, found.related) == (customer, related)


class Backend:
    """What the handler calls, and how that goes."""

    def __init__(self) -> None:
        self.synced: list[str] = []
        self.failure: Exception | None = None
        self.holders: dict[tuple[str, str], str | None] = {("subscription", "sub_1"): "cus_1"}

    async def sync(self, customer: str) -> Outcome:
        self.synced.append(customer)
        if self.failure:
            raise self.failure
        return Outcome.APPLIED

    async def customer_of(self, kind: str, object_id: str) -> str | None:
        if isinstance(self.failure, StripeUnavailableError):
            raise self.failure
        if (kind, object_id) not in self.holders:
            raise NotInStripeError(kind)
        return self.holders[kind, object_id]


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def handler(backend: Backend, metrics: Metrics) -> EventHandler:
    return EventHandler(
        backend.sync, backend.customer_of, secrets=SECRETS, live=False, clock=lambda: NOW, metrics=metrics
    )


Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(handler: EventHandler) -> AsyncIterator[Client]:
    app = web.Application(client_max_size=BODY_LIMIT)
    app.router.add_post("/stripe/webhook", handler.handle)
    async with TestClient(TestServer(app)) as made:
        yield made


async def post(client: Client, event: dict[str, Any], secret: str = NEW) -> tuple[int, str]:
    body = json.dumps(event)
    headers = {"Stripe-Signature": sign(body, secret)}
    async with client.post("/stripe/webhook", data=body, headers=headers) as response:
        return response.status, (await response.text()).strip()


@pytest.mark.parametrize(
    ("event", "result", "synced"),
    [
        (snapshot(), "applied", ["cus_1"]),
        (thin(), "applied", ["cus_1"]),
        (thin(type="v1.customer.subscription.past_due"), "applied", ["cus_1"]),
        (snapshot(type="charge.succeeded"), "ignored type", []),
        (snapshot(type="a.type.of.tomorrow"), "ignored type", []),
        (snapshot(livemode=True), "wrong mode", []),
        (snapshot(livemode=None), "applied", ["cus_1"]),
        (snapshot(account="acct_1"), "another account", []),
        (thin(context="acct_1"), "another account", []),
        (snapshot(data={"object": {"object": "invoice", "customer": None}}), "no customer", []),
        (thin(related_object={"id": "in_9", "type": "invoice", "url": ""}), "no customer", []),
    ],
)
async def test_what_is_done_for_an_event(
    client: Client, backend: Backend, metrics: Metrics, event: dict[str, Any], result: str, synced: list[str]
) -> None:
    assert await post(client, event) == (200, result)
    assert backend.synced == synced
    counted = [sample for family in metrics.registry.collect() for sample in family.samples if sample.value]
    (sample,) = [sample for sample in counted if sample.name == "nbhd_webhooks_events_total"]
    assert (sample.labels["outcome"], sample.value) == (result, 1)


@pytest.mark.parametrize("failure", [UnavailableError("Kubernetes: 500"), StripeUnavailableError("down")])
@pytest.mark.parametrize("event", [snapshot(), thin()])
async def test_what_we_could_not_do_is_asked_for_again(
    client: Client, backend: Backend, failure: Exception, event: dict[str, Any]
) -> None:
    backend.failure = failure
    assert (await post(client, event))[0] == 503
    backend.failure = None
    assert (await post(client, event))[0] == 200


async def test_a_bad_signature_is_400_and_loud_and_no_secret_is_shown(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    status, text = await post(client, snapshot(), "whsec_other")
    assert status == 400
    assert "matches none" in text
    assert await post(client, snapshot())
    everything = text + "".join(str(vars(record)) for record in caplog.records)
    assert "event rejected" in caplog.messages
    assert [record.__dict__["secret_index"] for record in caplog.records if "secret_index" in vars(record)] == [1]
    assert not [secret for secret in (OLD, NEW, "whsec_other") if secret in everything]


async def test_a_body_over_the_limit_is_refused(client: Client, backend: Backend) -> None:
    async with client.post("/stripe/webhook", data=io.BytesIO(b" " * (BODY_LIMIT + 1))) as response:
        assert response.status == 413
    assert backend.synced == []
