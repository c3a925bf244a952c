"""Methods that write in chats: send, edit and delete messages, chat actions, answers to tapped buttons."""

from __future__ import annotations

from . import formatting, keyboards
from .bot import CALLBACK_LIFETIME, Bot, Chat, text_content
from .errors import bad_request
from .params import Params, parse_integer
from .updates import Json

TEXT_LIMIT = 4096
_ACTIONS = frozenset(
    {
        "choose_sticker",
        "find_location",
        "record_video",
        "record_video_note",
        "record_voice",
        "typing",
        "upload_document",
        "upload_photo",
        "upload_video",
        "upload_video_note",
        "upload_voice",
    }
)


def send_message(bot: Bot, params: Params) -> Json:
    chat = writable(bot, params)
    return bot.say(chat, _text(params) | options(chat, params))


def edit_message_text(bot: Bot, params: Params) -> Json:
    chat, message = _own_message(bot, params, "edit")
    changed = _text(params) | keyboard(params, inline_only=True)
    _refuse_unchanged(message, changed, ("text", "entities", "reply_markup"))
    for name in ("entities", "link_preview_options", "reply_markup"):
        message.pop(name, None)
    return _edited(bot, chat, message, changed)


def edit_message_reply_markup(bot: Bot, params: Params) -> Json:
    chat, message = _own_message(bot, params, "edit")
    changed = keyboard(params, inline_only=True)
    _refuse_unchanged(message, changed, ("reply_markup",))
    message.pop("reply_markup", None)
    return _edited(bot, chat, message, changed)


def delete_message(bot: Bot, params: Params) -> bool:
    chat = writable(bot, params)
    message = chat.messages.pop(params.integer("message_id"), None)
    if message is None:
        raise bad_request("message to delete not found")
    bot.tell("delete", chat.id, message)
    return True


def send_chat_action(bot: Bot, params: Params) -> bool:
    chat = writable(bot, params)
    action = params.text("action")
    if action not in _ACTIONS:
        raise bad_request("wrong parameter action in request")
    bot.tell("action", chat.id, {"action": action})
    return True


def answer_callback_query(bot: Bot, params: Params) -> bool:
    callback = bot.callbacks.pop(params.text("callback_query_id"), None)
    if callback is None or bot.now() - callback.asked_at > CALLBACK_LIFETIME:
        raise bad_request("query is too old and response timeout expired or query ID is invalid")
    text = params.text("text")
    if len(text) > 200:
        raise bad_request("MESSAGE_TOO_LONG")
    answer: Json = {"text": text, "show_alert": params.boolean("show_alert"), "url": params.text("url")}
    bot.tell("answer", callback.chat_id, answer)
    return True


def writable(bot: Bot, params: Params) -> Chat:
    """The chat of ``chat_id``, given as a number or as text that is one."""
    given = params.text("chat_id")
    if not given:
        raise bad_request("chat_id is empty")
    return bot.chat_to_write(parse_integer(given))


def options(chat: Chat, params: Params) -> Json:
    """What all sending methods share: reply, topic, keyboard, flags."""
    for flag in ("disable_notification", "protect_content", "allow_paid_broadcast", "disable_web_page_preview"):
        params.boolean(flag)
    content = keyboard(params)
    thread = params.integer("message_thread_id")
    if thread:
        content |= {"message_thread_id": thread, "is_topic_message": True}
    reply = params.json("reply_parameters", dict, "reply parameters")
    target = reply.get("message_id") if reply else params.integer("reply_to_message_id") or None
    if target is not None:
        lenient = (reply or {}).get("allow_sending_without_reply", params.boolean("allow_sending_without_reply"))
        replied = chat.messages.get(target) if isinstance(target, int) else None
        if replied is None and not lenient:
            raise bad_request("message to be replied not found")
        if replied is not None:
            quoted = {name: member for name, member in replied.items() if name != "reply_to_message"}
            content["reply_to_message"] = quoted
    preview = params.json("link_preview_options", dict, "link preview options")
    if preview:
        content["link_preview_options"] = preview
    return content


def keyboard(params: Params, *, inline_only: bool = False) -> Json:
    """``reply_markup`` as a message shows it: inline keyboards only."""
    rows = keyboards.read(params, inline_only=inline_only)
    return {"reply_markup": {"inline_keyboard": rows}} if rows else {}


def formatted(params: Params, name: str, *, limit: int) -> tuple[str, list[Json]]:
    """A text parameter with its entities, from ``parse_mode`` or given beside it."""
    prefix = "" if name == "text" else f"{name}_"
    text, entities = formatting.parse(params.text(name), params.text("parse_mode"))
    given = params.json(f"{prefix}entities", list, "message entities")
    if given and not params.text("parse_mode"):
        entities = [_entity(one) for one in given]
    text = text.rstrip()
    if len(text) > limit:
        raise bad_request("message is too long" if name == "text" else "message caption is too long")
    units = formatting.utf16_length(text)
    for one in entities:
        one["length"] = min(one["length"], units - one["offset"])
    return text, [one for one in entities if one["length"] > 0]


def _entity(given: object) -> Json:
    if not isinstance(given, dict) or not isinstance(given.get("type"), str):
        raise bad_request("can't parse MessageEntity: expected an Object")
    if not all(type(given.get(name)) is int and given[name] >= 0 for name in ("offset", "length")):
        raise bad_request("can't parse MessageEntity: offset and length must be Integers")
    return dict(given)


def _text(params: Params) -> Json:
    text, entities = formatted(params, "text", limit=TEXT_LIMIT)
    if not text.strip():
        raise bad_request("message text is empty")
    return text_content(text, entities)


def _own_message(bot: Bot, params: Params, verb: str) -> tuple[Chat, Json]:
    if params.text("inline_message_id"):
        raise bad_request(f"message to {verb} not found")
    chat = writable(bot, params)
    message = chat.messages.get(params.integer("message_id"))
    if message is None:
        raise bad_request(f"message to {verb} not found")
    if message["from"]["id"] != bot.id:
        raise bad_request("message can't be edited")
    return chat, message


def _refuse_unchanged(message: Json, changed: Json, names: tuple[str, ...]) -> None:
    if all(message.get(name) == changed.get(name) for name in names):
        raise bad_request(
            "message is not modified: specified new message content and reply markup are exactly the same as a current "
            "content and reply markup of the message"
        )


def _edited(bot: Bot, chat: Chat, message: Json, changed: Json) -> Json:
    message |= changed | {"edit_date": int(bot.now())}
    bot.tell("edit", chat.id, message)
    return message
