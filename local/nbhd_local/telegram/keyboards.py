"""``reply_markup``: inline keyboards checked button by button; other markups by their kind."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

from .errors import bad_request
from .params import Params

Keyboard = list[list[dict[str, Any]]]

_ACTIONS = frozenset(
    {
        "callback_data",
        "callback_game",
        "copy_text",
        "login_url",
        "pay",
        "switch_inline_query",
        "switch_inline_query_chosen_chat",
        "switch_inline_query_current_chat",
        "url",
        "web_app",
    }
)
_OTHER_MARKUPS = frozenset({"keyboard", "remove_keyboard", "force_reply"})


def read(params: Params, *, inline_only: bool = False) -> Keyboard | None:
    """The inline keyboard of a call, or None: no markup, or one that a message does not show.

    Raises:
        TelegramError: the markup is malformed.
    """
    raw = params.text("reply_markup")
    if not raw:
        return None
    try:
        markup = json.loads(raw)
    except ValueError:
        raise bad_request("can't parse reply keyboard markup JSON object") from None
    if not isinstance(markup, dict):
        raise bad_request("object expected as reply markup")
    if "inline_keyboard" not in markup:
        if markup and (inline_only or not _OTHER_MARKUPS & set(markup)):
            raise bad_request("inline keyboard expected")
        return None
    rows = markup["inline_keyboard"]
    if not isinstance(rows, list):
        raise bad_request('field "inline_keyboard" must be of type Array')
    if not all(isinstance(row, list) for row in rows):
        raise bad_request('field "inline_keyboard" must be an Array of Arrays')
    return [[_button(button) for button in row] for row in rows if row]


def _button(button: Any) -> dict[str, Any]:
    if not isinstance(button, dict):
        raise _unparsable("expected an Object")
    if not isinstance(button.get("text"), str):
        raise _unparsable('Can\'t find field "text"')
    if not button["text"].strip():
        raise bad_request("BUTTON_TEXT_INVALID")
    actions = _ACTIONS & set(button)
    if not actions:
        raise _unparsable("Text buttons are unallowed in the inline keyboard")
    if "callback_data" in button:
        data = button["callback_data"]
        if not isinstance(data, str):
            raise _unparsable('Field "callback_data" must be of type String')
        if not 1 <= len(data.encode()) <= 64:
            raise bad_request("BUTTON_DATA_INVALID")
    if "url" in button:
        parsed = urllib.parse.urlsplit(str(button["url"]))
        if parsed.scheme not in {"http", "https", "tg"} or not parsed.netloc:
            raise bad_request(f"inline keyboard button URL '{button['url']}' is invalid: Wrong HTTP URL")
    return dict(button)


def _unparsable(reason: str) -> Exception:
    return bad_request(f"can't parse inline keyboard button: {reason}")
