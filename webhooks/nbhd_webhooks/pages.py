"""What people see: the plans, the way to Checkout, and the welcome page that connects their Telegram.

Whoever holds the id of a finished Checkout session is its buyer: Stripe makes it unguessable and shows it to
them alone. ``views.py`` renders; links are minted here and nothing about them is stored.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from nbhd_crds.api.tenant import Tenant
from nbhd_crds.identity import LINK_LIFETIME, Keyring, account_code, mint_link
from nbhd_webhooks import views
from nbhd_webhooks.billing import ENTITLED
from nbhd_webhooks.stripe_api import NotInStripeError, StripeApi, StripeUnavailableError, reference
from nbhd_webhooks.sync import Sync, UnavailableError

log = logging.getLogger(__name__)

_SESSION = re.compile(r"^cs_[A-Za-z0-9_]{8,250}$")
_OFFERS_FRESH = 300.0  # seconds that prices are kept
_KNOWN_SESSIONS = 1000  # finished sessions never change, and the welcome page asks again every few seconds
_BUDGET = 8.0


class Pages:
    """The handlers of the website."""

    def __init__(
        self,
        stripe: StripeApi,
        sync: Sync,
        *,
        plans: Mapping[str, str],
        live: bool,
        frontend_url: str,
        platform: str,
        bot_username: str,
        telegram_link_url: str,
        link_keys: Keyring,
        clock: Callable[[], datetime.datetime],
    ) -> None:
        self._stripe, self._sync = stripe, sync
        self._plans, self._live, self._frontend = plans, live, frontend_url
        self._platform, self._bot, self._link_keys, self._clock = platform, bot_username, link_keys, clock
        self._chat_url = f"{telegram_link_url}/{bot_username}"
        self._offers: list[views.Offer] = []
        self._offers_until = 0.0
        self._buyers: dict[str, str] = {}

    async def plans(self, _: web.Request) -> web.Response:
        """``GET /``."""
        if time.monotonic() >= self._offers_until:
            self._offers = [await self._offer(plan, price) for plan, price in self._plans.items()]
            self._offers_until = time.monotonic() + _OFFERS_FRESH
        return _html(views.plans(self._offers))

    async def subscribe(self, request: web.Request) -> web.StreamResponse:
        """``POST /subscribe/{plan}``: on to Stripe's Checkout."""
        price = self._plans.get(request.match_info["plan"])
        if price is None:
            return _html(views.message("No such plan", "Please choose one of the plans that are offered."), 404)
        session = await self._stripe.create_checkout_session(
            price_id=price,
            platform=self._platform,
            success_url=f"{self._frontend}/welcome?session_id={{CHECKOUT_SESSION_ID}}",
            cancel_url=f"{self._frontend}/",
        )
        return web.Response(status=303, headers={"Location": session["url"]})

    async def welcome(self, request: web.Request) -> web.Response:
        """``GET /welcome?session_id=``: where Checkout sends the buyer."""
        customer = await self._buyer(request.query.get("session_id", ""))
        if customer is None:
            text = "This page opens after a finished checkout. Please use the link that Stripe led you to."
            return _html(views.message("Nothing to see here", text), 404)
        tenant = await self._sync.tenant(customer)
        if tenant is None:
            # The event may be late, or lost; the buyer is here now.
            async with asyncio.timeout(_BUDGET):
                await self._sync.customer(customer)
            tenant = await self._sync.tenant(customer)
        return _html(self._state(tenant))

    def _state(self, tenant: Tenant | None) -> str:
        billing = tenant.spec.billing if tenant else None
        if tenant is None or billing is None or billing.status == "incomplete":
            return views.preparing()
        if tenant.deleting or billing.status not in ENTITLED:
            return views.message("No active subscription", "There is no active subscription for this checkout.")
        linked = tenant.condition("Linked")
        taken = linked is not None and linked.status == "False" and linked.reason == "ChatTaken"
        if tenant.spec.telegram and not taken:
            return views.connected(self._bot, self._chat_url)
        generation = tenant.spec.telegram.generation if tenant.spec.telegram else 0
        token = mint_link(self._link_keys, self._platform, tenant.spec.id, generation, self._clock())
        return views.connect(
            views.Invitation(
                url=f"{self._chat_url}?start={token}",
                bot=self._bot,
                code=account_code(tenant.spec.id),
                minutes=int(LINK_LIFETIME.total_seconds()) // 60,
                taken=taken,
            )
        )

    async def _buyer(self, session_id: str) -> str | None:
        """The customer of a finished Checkout session of ours."""
        if session_id in self._buyers:
            return self._buyers[session_id]
        if not _SESSION.match(session_id):
            return None
        try:
            session = await self._stripe.checkout_session(session_id)
        except NotInStripeError:
            return None
        customer = reference(session.get("customer"))
        ours = (session.get("metadata") or {}).get("nbhd-platform") == self._platform
        done = session.get("status") == "complete" and session.get("mode") == "subscription"
        if not (ours and done and customer and session.get("livemode") is self._live):
            return None
        if len(self._buyers) >= _KNOWN_SESSIONS:
            del self._buyers[next(iter(self._buyers))]
        self._buyers[session_id] = customer
        return customer

    async def _offer(self, plan: str, price_id: str) -> views.Offer:
        price = await self._stripe.price(price_id)
        product = price.get("product")
        described = product if isinstance(product, dict) else {}
        return views.Offer(
            plan=plan,
            name=described.get("name") or price.get("nickname") or plan.capitalize(),
            description=described.get("description") or "",
            price=views.money(
                price.get("unit_amount") or 0, price["currency"], (price.get("recurring") or {}).get("interval")
            ),
        )


def guard(frontend_url: str) -> Middleware:
    """Middleware: headers that keep every answer to itself, and a page where Stripe or Kubernetes is down.

    Browsers apply ``form-action`` to the redirect that follows a form too, so Checkout's address must be in it: https,
    and plain loopback where the pages themselves are on loopback.
    """
    local = " http://127.0.0.1:* http://localhost:*" if urlsplit(frontend_url).scheme == "http" else ""
    policy = (
        f"default-src 'none'; style-src {views.STYLE_HASH}; img-src data:; form-action 'self' https:{local};"
        " base-uri 'none'; frame-ancestors 'none'"
    )

    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Opener-Policy": "same-origin",
    }

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            response = await handler(request)
        except web.HTTPException as error:
            if request.method == "GET" and error.status in (404, 405):
                error.text = views.message("No such page", "There is nothing at this address.")
                error.content_type = "text/html"
            error.headers.update(headers)
            raise
        except (StripeUnavailableError, NotInStripeError, UnavailableError, TimeoutError) as error:
            log.warning("page not served", extra={"path": request.path, "error": repr(error)})
            text = "Something that we depend on does not answer. Nothing is lost; please try again in a minute."
            response = _html(views.message("One moment", text, refresh=10 if request.method == "GET" else None), 503)
        except Exception:
            log.exception("page failed", extra={"path": request.path})
            response = _html(views.message("That did not work", "The fault is ours and has been recorded."), 500)
        response.headers.update(headers)
        return response

    return middleware


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/html", charset="utf-8")
