"""The calls that we make to Stripe, in plain dicts, and their failures as a small tree of our own errors.

Used by ``sync.py``, ``resync.py``, ``events.py`` and the pages. The session is ours, so that ``SSL_CERT_FILE`` counts
and a slow answer is given up after ten seconds instead of the library's eighty.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import stripe
from pydantic import SecretStr

from nbhd_webhooks.metrics import Metrics

log = logging.getLogger(__name__)

Json = dict[str, Any]

_TIMEOUT = 10.0
_RETRIES = 1
_PAGE = 100


class StripeFailure(Exception):  # noqa: N818 - the base of the two errors below
    """A call to Stripe did not give an answer that we can use."""


class StripeUnavailableError(StripeFailure):
    """Stripe cannot be reached, is overloaded, or refuses our key: try again later."""


class NotInStripeError(StripeFailure):
    """Stripe has no such object in this account and mode."""


class StripeApi:
    """The Stripe API with the configured key; made by ``open_stripe``."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._v1 = client.v1

    async def subscriptions(self, customer_id: str) -> list[Json]:
        """All subscriptions of the customer, in whatever status."""
        found = await self._all(self._v1.subscriptions.list_async, {"customer": customer_id, "status": "all"})
        return [item async for item in found]

    async def invoices(self, customer_id: str) -> list[Json]:
        """All invoices of the customer, newest first."""
        return [item async for item in await self._all(self._v1.invoices.list_async, {"customer": customer_id})]

    async def all_subscriptions(self) -> AsyncIterator[Json]:
        """All subscriptions of the account, in whatever status."""
        async for item in await self._all(self._v1.subscriptions.list_async, {"status": "all"}):
            yield item

    async def undelivered_events(self, types: tuple[str, ...], since: int) -> AsyncIterator[Json]:
        """Events of these types since a moment (in seconds since 1970) that no endpoint has accepted yet."""
        params = {"types": list(types), "delivery_success": False, "created": {"gte": since}}
        async for item in await self._all(self._v1.events.list_async, params):
            yield item

    async def customer_of(self, kind: str, object_id: str) -> str | None:
        """Customer id of the object that a thin event points at; None if it has none or is of another kind."""
        if kind == "customer":
            return object_id
        customer: str | stripe.Customer | None
        with _mapped(kind):
            match kind:
                case "subscription":
                    customer = (await self._v1.subscriptions.retrieve_async(object_id)).customer
                case "invoice":
                    customer = (await self._v1.invoices.retrieve_async(object_id)).customer
                case "checkout.session":
                    customer = (await self._v1.checkout.sessions.retrieve_async(object_id)).customer
                case _:
                    customer = None
        return customer.id if isinstance(customer, stripe.Customer) else customer

    async def checkout_session(self, session_id: str) -> Json:
        """One Checkout session."""
        with _mapped("checkout session"):
            return (await self._v1.checkout.sessions.retrieve_async(session_id)).to_dict()

    async def create_checkout_session(self, *, price_id: str, platform: str, success_url: str, cancel_url: str) -> Json:
        """A new Checkout session that sells one subscription; its ``url`` is where the buyer goes."""
        with _mapped("checkout session"):
            made = await self._v1.checkout.sessions.create_async(
                {
                    "mode": "subscription",
                    "line_items": [{"price": price_id, "quantity": 1}],
                    "success_url": success_url,
                    "cancel_url": cancel_url,
                    "metadata": {"nbhd-platform": platform},
                }
            )
            return made.to_dict()

    async def price(self, price_id: str) -> Json:
        """One price, with its product."""
        with _mapped("price"):
            return (await self._v1.prices.retrieve_async(price_id, {"expand": ["product"]})).to_dict()

    async def _all(self, listing: Any, params: Json) -> AsyncIterator[Json]:
        async def pages() -> AsyncIterator[Json]:
            with _mapped("list"):
                first = await listing({**params, "limit": _PAGE})
                async for item in first.auto_paging_iter():
                    yield item.to_dict()

        return pages()


def reference(value: object) -> str | None:
    """The id in a field that holds either an id or the expanded object."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


@asynccontextmanager
async def open_stripe(url: str, api_key: SecretStr, metrics: Metrics) -> AsyncIterator[StripeApi]:
    """The API at ``url`` while the context lasts; each request is counted in ``metrics``."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context())
    async with aiohttp.ClientSession(connector=connector, trace_configs=[_counting(metrics)]) as session:
        client = stripe.StripeClient(
            api_key.get_secret_value(),
            base_addresses={"api": url},
            http_client=stripe.AIOHTTPClient(timeout=_TIMEOUT, session=session),
            max_network_retries=_RETRIES,
        )
        yield StripeApi(client)


def _counting(metrics: Metrics) -> aiohttp.TraceConfig:
    async def start(_: object, context: SimpleNamespace, __: object) -> None:
        context.started = time.monotonic()

    async def end(_: object, context: SimpleNamespace, call: aiohttp.TraceRequestEndParams) -> None:
        seconds = time.monotonic() - context.started
        metrics.called(call.method, call.url.path, call.response.status, seconds)

    async def failed(_: object, context: SimpleNamespace, call: aiohttp.TraceRequestExceptionParams) -> None:
        metrics.called(call.method, call.url.path, None, time.monotonic() - context.started)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(start)
    trace.on_request_end.append(end)
    trace.on_request_exception.append(failed)
    return trace


@contextmanager
def _mapped(what: str) -> Iterator[None]:
    """Turns the library's errors into ours. Messages of Stripe may quote what we sent, so they are never passed on."""
    try:
        yield
    except stripe.InvalidRequestError as error:
        if error.code == "resource_missing":
            raise NotInStripeError(what) from None
        _say(what, error)
        raise StripeUnavailableError(f"{what}: refused ({error.code or error.http_status})") from None
    except stripe.StripeError as error:
        _say(what, error)
        raise StripeUnavailableError(f"{what}: {type(error).__name__}") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # The library reads the body outside its own error handling, so a cut answer arrives here raw.
        raise StripeUnavailableError(f"{what}: {type(error).__name__}") from None


def _say(what: str, error: stripe.StripeError) -> None:
    log.warning(
        "call to Stripe failed",
        extra={
            "call": what,
            "error": type(error).__name__,
            "status": error.http_status,
            "code": error.code,
            "request": error.request_id,
        },
    )
