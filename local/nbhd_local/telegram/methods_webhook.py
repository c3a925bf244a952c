"""Methods about how updates reach the bot: setWebhook, deleteWebhook, getWebhookInfo, getUpdates."""

from __future__ import annotations

import asyncio
import re
import urllib.parse
from dataclasses import dataclass
from http import HTTPStatus

from nbhd_local.web import is_private

from .bot import Bot, Webhook
from .errors import TelegramError, bad_request
from .params import Params
from .updates import Json, Update

_SECRET = re.compile(r"[A-Za-z0-9_-]*")
_KINDS = re.compile(r"[a-z_]+")


@dataclass(frozen=True)
class Described:
    """A result with a description beside it."""

    result: object
    description: str


def set_webhook(bot: Bot, params: Params) -> Described:
    url = params.text("url").strip()
    if not url:
        return delete_webhook(bot, params)
    secret = params.text("secret_token")
    if len(secret) > 256:
        raise bad_request("secret token is too long")
    if not _SECRET.fullmatch(secret):
        raise bad_request("secret token contains unallowed characters")
    _check_url(url)
    changed = Webhook(
        url=url,
        secret=secret,
        max_connections=params.integer("max_connections", 40, least=1, most=100),
        allowed=_allowed(params, bot.webhook.allowed),
    )
    if params.boolean("drop_pending_updates"):
        bot.updates.clear()
    before = bot.webhook
    same = (before.url, before.secret, before.max_connections, before.allowed) == (
        changed.url,
        changed.secret,
        changed.max_connections,
        changed.allowed,
    )
    if same:
        return Described(True, "Webhook is already set")
    bot.webhook = changed
    return Described(True, "Webhook was set")


def delete_webhook(bot: Bot, params: Params) -> Described:
    if params.boolean("drop_pending_updates"):
        bot.updates.clear()
    was_set = bool(bot.webhook.url)
    bot.webhook = Webhook(allowed=bot.webhook.allowed)
    return Described(True, "Webhook was deleted" if was_set else "Webhook is already deleted")


def get_webhook_info(bot: Bot, _params: Params) -> Json:
    webhook = bot.webhook
    info: Json = {
        "url": webhook.url,
        "has_custom_certificate": False,
        "pending_update_count": len(bot.updates.waiting),
    }
    if webhook.url:
        info |= {"max_connections": webhook.max_connections, "ip_address": "127.0.0.1"}
    if webhook.allowed:
        info["allowed_updates"] = list(webhook.allowed)
    if webhook.last_error_date is not None:
        info |= {"last_error_date": webhook.last_error_date, "last_error_message": webhook.last_error_message}
    return info


async def get_updates(bot: Bot, params: Params) -> list[Json]:
    if bot.webhook.url:
        raise TelegramError(
            HTTPStatus.CONFLICT,
            "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook "
            "first",
        )
    offset = params.integer("offset", least=-(2**31))
    limit = params.integer("limit", 100, least=1, most=100)
    timeout = params.integer("timeout", most=50)
    bot.webhook.allowed = _allowed(params, bot.webhook.allowed)
    ids = sorted(bot.updates.waiting)
    first = ids[max(0, len(ids) + offset)] if offset < 0 and ids else offset
    for update_id in ids:
        if update_id < first:
            bot.updates.remove(update_id)
    if not bot.updates.waiting and timeout:
        await _next_update(bot, timeout)
    return [bot.updates.waiting[one].body for one in sorted(bot.updates.waiting)[:limit]]


async def _next_update(bot: Bot, timeout: float) -> None:
    came = asyncio.Event()

    def wake(_update: Update) -> None:
        came.set()

    bot.updates.added.append(wake)
    try:
        await asyncio.wait_for(came.wait(), timeout)
    except TimeoutError:
        pass
    finally:
        bot.updates.added.remove(wake)


def _allowed(params: Params, before: tuple[str, ...]) -> tuple[str, ...]:
    """``allowed_updates``: absent keeps what was set before, an empty list is the default."""
    given = params.json("allowed_updates", list, "allowed updates")
    if given is None:
        return before
    if not all(isinstance(one, str) and _KINDS.fullmatch(one) for one in given):
        raise bad_request("allowed_updates must be an Array of String")
    return tuple(given)


def _check_url(url: str) -> None:
    """The real server wants https and a name that resolves; this one adds that nothing leaves the machine."""
    try:
        parsed = urllib.parse.urlsplit(url)
        _ = parsed.port
    except ValueError:
        raise bad_request("bad webhook: invalid webhook URL specified") from None
    private = is_private(url)
    if parsed.scheme != "https" and not (private and parsed.scheme == "http"):
        raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
    if not private:
        raise bad_request("bad webhook: Failed to resolve host: the local Telegram reaches private addresses only")
