"""The pages as HTML: pure functions from what is known to text. ``pages.py`` decides which one is shown.

No script, nothing loaded from elsewhere; the one style sheet is allowed by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib import resources
from urllib.parse import quote

import segno

STYLE = resources.files(__package__).joinpath("style.css").read_text()
_SHAPE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="5" fill="#0f6b5c"/>'
    '<path d="M5 11.5V8a3 3 0 0 1 6 0v3.5" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round"/></svg>'
)
_ICON = f"data:image/svg+xml,{quote(_SHAPE)}"
STYLE_HASH = f"'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"

# https://docs.stripe.com/currencies#zero-decimal
_ZERO_DECIMAL = frozenset(
    ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf")
)
_SIGNS = {"usd": "$", "eur": "€", "gbp": "£"}


@dataclass(frozen=True)
class Offer:
    """One plan on the first page."""

    plan: str
    name: str
    description: str
    price: str


@dataclass(frozen=True)
class Invitation:
    """What a subscriber needs to connect their Telegram."""

    url: str
    bot: str
    code: str
    minutes: int
    taken: bool
    """True: the account that they connected serves another subscription already."""


def money(amount: int, currency: str, interval: str | None) -> str:
    """``500, "usd", "month"`` → ``$5 / month``; amounts are in the currency's smallest unit, as Stripe gives them."""
    value = str(amount) if currency in _ZERO_DECIMAL else f"{amount // 100}.{amount % 100:02}".removesuffix(".00")
    text = f"{_SIGNS[currency]}{value}" if currency in _SIGNS else f"{value} {currency.upper()}"
    return f"{text} / {interval}" if interval else text


def plans(offers: Iterable[Offer]) -> str:
    """The first page: what can be bought."""
    cards = "".join(
        f"""<li class="card offer">
<h2>{escape(o.name)}</h2>
<p class="price">{escape(o.price)}</p>
{f'<p class="muted">{escape(o.description)}</p>' if o.description else ""}
<form method="post" action="/subscribe/{quote(o.plan)}"><button
aria-label="Subscribe to {escape(o.name)}">Subscribe</button></form>
</li>"""
        for o in offers
    )
    return _page(
        "A private assistant",
        f"""<h1>An assistant of your own, in Telegram</h1>
<p class="lead">It runs for you alone, remembers what you tell it, and answers where you chat anyway.</p>
<ul class="offers">{cards}</ul>
<p class="muted">Payment is handled by Stripe. Afterwards you connect your Telegram and start to write.</p>""",
    )


def preparing() -> str:
    """Paid, and the Tenant is not there yet."""
    return _page(
        "Setting up",
        """<div class="card"><h1>Thank you!</h1>
<p class="lead">Your payment is being confirmed and your assistant is being prepared.</p>
<p class="muted" role="status">This page goes on by itself, usually within a few seconds.</p></div>""",
        refresh=3,
    )


def connect(invitation: Invitation) -> str:
    """The deep link, as a button and as a QR code."""
    warning = (
        """<p class="warning" role="alert">That Telegram account already belongs to another subscription.
Please connect a different one.</p>"""
        if invitation.taken
        else ""
    )
    return _page(
        "Connect Telegram",
        f"""<div class="card"><h1>Connect your Telegram</h1>{warning}
<p class="lead">{"" if invitation.taken else "Thank you! "}One step is left: open the chat and confirm.</p>
<p><a class="button" href="{escape(invitation.url)}" rel="noopener noreferrer">Open Telegram</a></p>
<p>@{escape(invitation.bot)} will ask whether to connect account<br>
<strong class="code">{escape(invitation.code)}</strong></p>
<p class="muted">Confirm only if it names exactly this code. Do not share the link: whoever confirms it gets your
assistant.</p>
<p class="or muted">or scan this with your phone</p>
<div class="qr" role="img" aria-label="QR code of the link">{_qr(invitation.url)}</div>
<p class="muted">The link works for {invitation.minutes} minutes. This page renews it while it is open, and goes on by
itself once you are connected.</p></div>""",
        refresh=20,
    )


def connected(bot: str, chat_url: str) -> str:
    """The chat is linked."""
    return _page(
        "Connected",
        f"""<div class="card"><h1>You are connected</h1>
<p class="lead">Your assistant is waiting in your chat with @{escape(bot)}. Write your first message!</p>
<p><a class="button" href="{escape(chat_url)}" rel="noopener noreferrer">Open Telegram</a></p></div>""",
    )


def message(title: str, text: str, *, refresh: int | None = None) -> str:
    """A page that says one thing and leads back to the first page."""
    return _page(
        title,
        f"""<div class="card"><h1>{escape(title)}</h1><p class="lead">{escape(text)}</p>
<p><a href="/">To the plans</a></p></div>""",
        refresh=refresh,
    )


def _qr(url: str) -> str:
    out = io.BytesIO()
    code = segno.make(url, error="m", micro=False)
    code.save(out, kind="svg", xmldecl=False, svgns=True, omitsize=True, border=2, svgclass=None, lineclass=None)
    return out.getvalue().decode()


def _page(title: str, body: str, *, refresh: int | None = None) -> str:
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{again}<link rel="icon" href="{_ICON}">
<title>{escape(title)} · nbhd united</title>
<style>{STYLE}</style>
</head>
<body>
<header><a href="/">nbhd united</a></header>
<main>{body}</main>
</body>
</html>
"""
