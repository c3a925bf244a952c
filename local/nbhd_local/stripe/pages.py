"""The pages for a browser: Checkout, where a person pays a session, and a dashboard of subscriptions.

Plain HTML forms over `lifecycle`, served without TLS so that a browser needs no certificate.
"""

from __future__ import annotations

import datetime
import html
from http import HTTPStatus
from string import Template
from typing import Any

from aiohttp import web

from . import lifecycle
from .account import Account, Json
from .errors import StripeError

_LAYOUT = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>$title</title>
<style>
 :root { color-scheme: light dark; --link: #4b45d6 } a { color: var(--link) }
 :focus-visible { outline: 2px solid var(--link); outline-offset: 2px }
 body { font: 16px/1.5 system-ui, sans-serif; background: #f6f8fa; color: #1a1f36; margin: 0 }
 main { width: min($width, 100% - 2rem); box-sizing: border-box; margin: 8vh auto; background: #fff; padding: 2rem;
        border-radius: 12px;
        box-shadow: 0 4px 24px #1a1f3618 }
 h1 { font-size: 1.1rem; font-weight: 500; margin: 0; color: #4f566b } .price { font-size: 2.2rem; font-weight: 600 }
 label { display: block; margin: 1rem 0 .3rem; font-weight: 500 }
 input, select { width: 100%; box-sizing: border-box; padding: .6rem; font: inherit; border: 1px solid #8f98a6;
                 border-radius: 6px; background: #fff; color: inherit }
 button { font: inherit; font-weight: 600; border: 0; border-radius: 6px; padding: .6rem 1rem; cursor: pointer;
          background: #4b45d6; color: #fff }
 .pay { width: 100%; margin-top: 1.5rem; padding: .8rem } .quiet { background: #e6e9f0; color: #1a1f36 }
 .error { background: #fdecec; color: #a01818; padding: .7rem 1rem; border-radius: 6px; margin-top: 1rem }
 .note { color: #5b6474; font-size: .85rem; text-align: center; margin: 1.5rem 0 0; text-wrap: balance }
 table { width: 100%; border-collapse: collapse; font-size: .9rem } td, th { text-align: left; padding: .5rem .4rem;
         border-bottom: 1px solid #e6e9f0 } .actions { display: flex; flex-wrap: wrap; gap: .4rem }
 .actions button { padding: .4rem .7rem; font-weight: 500 } th, td:nth-child(4) { white-space: nowrap }
 @media (max-width: 44rem) { main { padding: 1.25rem } table, tbody, tr, td { display: block }
   tr { padding: .6rem 0; border-bottom: 1px solid #e6e9f0 } tr:first-child { display: none }
   td { border: 0; padding: .1rem 0 } .actions { margin-top: .5rem } }
 @media (prefers-color-scheme: dark) { :root { --link: #a5a8ff }
   body { background: #12151f; color: #e4e8f1 } main { background: #1c2130 }
   h1, .note { color: #9aa4b8 } input, select { background: #12151f; border-color: #646e85 }
   .quiet { background: #333b50; color: inherit } td, th, tr { border-color: #333b50 }
   .error { background: #3d2026; color: #ffb3b3 } }
</style></head><body><main>$body</main></body></html>
""")

_CHECKOUT = Template("""<h1>Subscribe to $product</h1>
<div><span class="price">$price</span> $interval</div>$error
<form method="post">
 <label for="email">E-mail</label>
 <input id="email" name="email" type="email" required value="$email" $locked autofocus autocomplete="email">
 <label for="card">Card</label>
 <select id="card" name="card">
  <option value="works">4242 4242 4242 4242 (works)</option>
  <option value="declined">4000 0000 0000 0002 (is declined)</option>
 </select>
 <button class="pay" type="submit">Pay $price</button>
</form>
<p class="note">$cancel Local Stripe: no card is charged, no money moves.</p>
""")

_ACTIONS = {
    "cancel": ("Cancel now", "The subscription ends at once"),
    "cancel_at_period_end": ("Cancel at period end", "The subscription ends with its present period"),
    "end_period": ("End the period", "The present period ends now, and the subscription with it or renewed"),
    "fail_payment": ("Card fails", "The renewal is declined: past due"),
    "pay_again": ("Card works", "What is open is paid: active again"),
}
_NO_CENTS = frozenset({"jpy", "krw", "vnd"})


class Pages:
    """Serves ``/c/pay/<session id>`` and, at ``/``, the dashboard."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application()
        app.router.add_get("/", self._dashboard)
        app.router.add_post("/subscriptions/{id}/{action}", self._act)
        app.router.add_get("/c/pay/{id}", self._show)
        app.router.add_post("/c/pay/{id}", self._pay)
        return app

    async def _show(self, request: web.Request) -> web.Response:
        return self._checkout(request.match_info["id"])

    async def _pay(self, request: web.Request) -> web.Response:
        session_id = request.match_info["id"]
        form = await request.post()
        email = str(form.get("email", ""))
        if form.get("card") == "declined":
            return self._checkout(session_id, email=email, error="Your card was declined. Try another card.")
        if "@" not in email:
            return self._checkout(session_id, email=email, error="Enter an e-mail address.")
        try:
            with self._account.changes():
                target = lifecycle.complete_checkout(self._account, session_id, email=email)
        except (lifecycle.CheckoutClosedError, StripeError):
            return self._checkout(session_id)
        raise web.HTTPSeeOther(target)

    def _checkout(self, session_id: str, *, email: str = "", error: str = "") -> web.Response:
        try:
            with self._account.changes():
                session = lifecycle.open_session(self._account, session_id)
        except StripeError:
            return _page("Checkout", "<h1>There is no such Checkout page.</h1>", status=HTTPStatus.NOT_FOUND)
        except lifecycle.CheckoutClosedError as closed:
            done = closed.args[0] == "complete"
            text = "You are all done here: this was paid." if done else "This Checkout page has expired."
            return _page("Checkout", f"<h1>{text}</h1>", status=HTTPStatus.OK if done else HTTPStatus.GONE)
        order = self._account.orders[session_id]
        price = self._account.prices[order.price]
        known = session["customer_email"] or self._customer_email(session)
        cancel = session["cancel_url"]
        body = _CHECKOUT.substitute(
            product=html.escape(self._account.products[price["product"]]["name"]),
            price=html.escape(money(price["unit_amount"] * order.quantity, price["currency"])),
            interval=html.escape(_interval(price["recurring"])),
            email=html.escape(known or email),
            locked="readonly" if known else "",
            error=f'<div class="error" role="alert">{html.escape(error)}</div>' if error else "",
            cancel=f'<a href="{html.escape(cancel)}">Back</a> · ' if cancel else "",
        )
        return _page("Checkout", body, status=HTTPStatus.PAYMENT_REQUIRED if error else HTTPStatus.OK)

    def _customer_email(self, session: Json) -> str | None:
        customer: Json = self._account.customers.get(session["customer"] or "", {})
        email: str | None = customer.get("email")
        return email

    async def _dashboard(self, _request: web.Request) -> web.Response:
        rows = "".join(self._row(found) for found in reversed(self._account.subscriptions.values()))
        heads = "".join(f"<th>{head}</th>" for head in ("Customer", "Price", "Status", "Period", "Make happen"))
        body = (
            f"<table><tr>{heads}</tr>{rows}</table>"
            if rows
            else '<p class="note">None yet. Buy one on the website.</p>'
        )
        return _page("Local Stripe", f"<h1>Local Stripe: subscriptions</h1>{body}", width="64rem")

    def _row(self, subscription: Json) -> str:
        item = subscription["items"]["data"][0]
        price = item["price"]
        customer: Json = self._account.customers[subscription["customer"]]
        ends = datetime.datetime.fromtimestamp(item["current_period_end"], datetime.UTC)
        status = subscription["status"] + (", ends then" if subscription["cancel_at_period_end"] else "")
        cells = [
            customer.get("email") or subscription["customer"],
            money(price["unit_amount"] * item["quantity"], price["currency"]) + " " + _interval(price["recurring"]),
            status,
            f"until {ends:%Y-%m-%d}",
        ]
        buttons = "".join(
            f'<form method="post" action="/subscriptions/{subscription["id"]}/{action}">'
            f'<button class="quiet" title="{hint}">{label}</button></form>'
            for action, (label, hint) in _ACTIONS.items()
        )
        if subscription["status"] in lifecycle.ENDED:
            buttons = ""
        facts = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        return f'<tr>{facts}<td><div class="actions">{buttons}</div></td></tr>'

    async def _act(self, request: web.Request) -> web.Response:
        subscription = self._account.subscriptions.get(request.match_info["id"])
        action = request.match_info["action"]
        if subscription is None or action not in _ACTIONS:
            raise web.HTTPNotFound
        options: dict[str, Any] = {"planned": True} if action == "cancel_at_period_end" else {}
        try:
            with self._account.changes():
                getattr(lifecycle, action)(self._account, subscription, **options)
        except StripeError as error:
            return _page(
                "Local Stripe", f'<h1>{html.escape(error.message)}</h1><p><a href="/">Back</a></p>', status=error.status
            )
        raise web.HTTPSeeOther("/")


def money(amount: int, currency: str) -> str:
    """``$5.00`` or ``5.00 CHF``; currencies without cents keep whole numbers."""
    number = f"{amount:,}" if currency in _NO_CENTS else f"{amount / 100:,.2f}"
    symbol = {"usd": "$", "eur": "€", "gbp": "£"}.get(currency)
    return f"{symbol}{number}" if symbol else f"{number} {currency.upper()}"


def _interval(recurring: Json) -> str:
    count = recurring["interval_count"]
    return f"per {recurring['interval']}" if count == 1 else f"every {count} {recurring['interval']}s"


def _page(title: str, body: str, *, status: int = HTTPStatus.OK, width: str = "26rem") -> web.Response:
    text = _LAYOUT.substitute(title=title, body=body, width=width)
    return web.Response(text=text, content_type="text/html", status=status)
