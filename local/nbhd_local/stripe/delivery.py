"""The delivery engine: signed events, POSTed to webhook endpoints, retried until a 2xx answer or the last try.

Takes the batches that `account` publishes. Order is not kept, on purpose: Stripe does not keep it either.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import random
import ssl
from dataclasses import dataclass
from typing import Literal

import aiohttp

from . import signing
from .account import Account, Json


@dataclass(frozen=True)
class DeliveryPolicy:
    """How deliveries go. Probabilities are between 0 and 1, times in seconds.

    Stripe retries over hours and days; the default ``retries`` do so within a minute and a half.
    """

    delay: tuple[float, float] = (0.02, 0.25)
    """Before the first attempt of each event."""
    reorder: bool = True
    """Events of one change go out in another order than they were made in."""
    duplicate: float = 0.0
    """An event that was accepted is sent once more."""
    drop: float = 0.0
    """An event is never sent; the API lists it among those not delivered."""
    retries: tuple[float, ...] = (0.25, 0.5, 1, 2, 4, 8, 15, 30, 30)
    timeout: float = 10.0
    shape: Literal["snapshot", "thin"] = "snapshot"
    livemode: bool | None = None
    """Overrides the events' own flag, which is false."""


@dataclass(frozen=True)
class Delivery:
    """One attempt. ``status`` is the HTTP status, or None when no answer came."""

    event_id: str
    type: str
    attempt: int
    status: int | None
    at: datetime.datetime
    url: str


class Deliverer:
    """One task for each event and endpoint until it is delivered, given up or dropped."""

    def __init__(self, account: Account, policy: DeliveryPolicy, *, rng: random.Random) -> None:
        self._account = account
        self._rng = rng
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = asyncio.Event()
        self._running.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.policy = policy
        self.deliveries: list[Delivery] = []

    def open(self, tls: ssl.SSLContext | None) -> None:
        """Starts; ``tls`` is what the client trusts for https endpoints."""
        connector = aiohttp.TCPConnector(limit=0, ssl=tls if tls is not None else True)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        """Stops at once; what is not delivered stays so."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def pause(self) -> None:
        """No attempt starts until `resume`."""
        self._running.clear()

    def resume(self) -> None:
        """Attempts start again."""
        self._running.set()

    async def settled(self) -> None:
        """Returns when every event was accepted, given up or dropped."""
        await self._idle.wait()

    def publish(self, batch: list[Json]) -> None:
        """Sends a batch of events to the endpoints that want them."""
        order = list(batch)
        while self.policy.reorder and len(batch) > 1 and order == batch:
            self._rng.shuffle(order)
        delays = sorted(self._rng.uniform(*self.policy.delay) for _ in order)
        for event, delay in zip(order, delays, strict=True):
            for endpoint in list(self._account.endpoints.values()):
                if endpoint["status"] == "enabled" and {"*", event["type"]} & set(endpoint["enabled_events"]):
                    event["pending_webhooks"] += 1
                    if self._rng.random() >= self.policy.drop:
                        self.send(event, endpoint, delay=delay)

    def send(self, event: Json, endpoint: Json, *, delay: float = 0.0) -> None:
        """Delivers one event to one endpoint, with retries, in the background."""
        task = asyncio.get_running_loop().create_task(self._deliver(event, endpoint, delay))
        self._tasks.add(task)
        self._idle.clear()
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._tasks:
            self._idle.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler({"message": "delivery failed", "exception": error})

    async def _deliver(self, event: Json, endpoint: Json, delay: float) -> None:
        await asyncio.sleep(delay)
        for attempt, pause in enumerate((*self.policy.retries, None), start=1):
            await self._running.wait()
            if await self._attempt(event, endpoint, attempt):
                event["pending_webhooks"] = max(0, event["pending_webhooks"] - 1)
                if self._rng.random() < self.policy.duplicate:
                    await asyncio.sleep(self._rng.uniform(*self.policy.delay))
                    await self._running.wait()
                    await self._attempt(event, endpoint, attempt + 1)
                return
            if pause is not None:
                await asyncio.sleep(pause)

    async def _attempt(self, event: Json, endpoint: Json, attempt: int) -> bool:
        if self._session is None:
            message = "the deliverer is not open"
            raise RuntimeError(message)
        body = json.dumps(self._shaped(event), indent=2, ensure_ascii=False).encode()
        secrets = self._account.endpoint_secrets[endpoint["id"]]
        status: int | None = None
        try:
            async with self._session.post(
                endpoint["url"],
                data=body,
                headers={
                    "Content-Type": "application/json; charset=utf-8",
                    "Stripe-Signature": signing.header(body, secrets, self._account.now()),
                    "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
                },
                timeout=aiohttp.ClientTimeout(total=self.policy.timeout),
                allow_redirects=False,
            ) as response:
                await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError):
            pass
        self.deliveries.append(
            Delivery(event["id"], event["type"], attempt, status, self._account.clock(), endpoint["url"])
        )
        return status is not None and 200 <= status < 300

    def _shaped(self, event: Json) -> Json:
        livemode = event["livemode"] if self.policy.livemode is None else self.policy.livemode
        return event | {"livemode": livemode} if self.policy.shape == "snapshot" else thin(event, livemode=livemode)


_URLS = {
    "checkout.session": "/v1/checkout/sessions",
    "customer": "/v1/customers",
    "invoice": "/v1/invoices",
    "price": "/v1/prices",
    "product": "/v1/products",
    "subscription": "/v1/subscriptions",
}


def thin(event: Json, *, livemode: bool = False) -> Json:
    """The thin notification of a snapshot event: it names the object and does not carry it."""
    related = event["data"]["object"]
    created = datetime.datetime.fromtimestamp(event["created"], datetime.UTC)
    return {
        "id": f"evt_test_65{event['id'][-21:]}",
        "object": "v2.core.event",
        "context": None,
        "created": created.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "livemode": livemode,
        "reason": None,
        "related_object": {
            "id": related["id"],
            "type": related["object"],
            "url": f"{_URLS[related['object']]}/{related['id']}",
        },
        "snapshot_event": event["id"],
        "type": f"v1.{event['type']}",
    }
