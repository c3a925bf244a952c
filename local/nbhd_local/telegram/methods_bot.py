"""Methods about the bot itself: who it is, its commands, the chats that it knows."""

from __future__ import annotations

import json
import re

from .bot import Bot
from .errors import bad_request
from .params import Params, parse_integer
from .updates import Json

_COMMAND = re.compile(r"[a-z0-9_]{1,32}")


def get_me(bot: Bot, _params: Params) -> Json:
    return bot.user | {
        "can_join_groups": True,
        "can_read_all_group_messages": False,
        "supports_inline_queries": False,
        "can_connect_to_business": False,
        "has_main_web_app": False,
        "has_topics_enabled": False,
        "allows_users_to_create_topics": False,
        "can_manage_bots": False,
    }


def get_chat(bot: Bot, params: Params) -> Json:
    if not params.text("chat_id"):
        raise bad_request("chat_id is empty")
    chat = bot.chat(parse_integer(params.text("chat_id")))
    gifts = dict.fromkeys(
        ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels"),
        chat.private,
    )
    return chat.wire | {"accent_color_id": 0, "max_reaction_count": 11, "accepted_gift_types": gifts}


def set_my_commands(bot: Bot, params: Params) -> bool:
    commands = params.json("commands", list, "commands")
    if commands is None:
        raise bad_request('parameter "commands" is required')
    if len(commands) > 100:
        raise bad_request("BOT_COMMANDS_TOO_MUCH")
    bot.commands[_scope(params)] = [_command(one) for one in commands]
    return True


def get_my_commands(bot: Bot, params: Params) -> list[Json]:
    return bot.commands.get(_scope(params), [])


def delete_my_commands(bot: Bot, params: Params) -> bool:
    bot.commands.pop(_scope(params), None)
    return True


def _command(given: object) -> Json:
    if not isinstance(given, dict) or not isinstance(given.get("command"), str):
        raise bad_request("can't parse BotCommand: expected an Object")
    command = given["command"].removeprefix("/").lower()
    if not _COMMAND.fullmatch(command):
        raise bad_request("BOT_COMMAND_INVALID")
    description = given.get("description")
    if not isinstance(description, str) or not 1 <= len(description) <= 256:
        raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
    return {"command": command, "description": description}


def _scope(params: Params) -> tuple[str, str]:
    scope = params.json("scope", dict, "BotCommandScope") or {"type": "default"}
    return json.dumps(scope, sort_keys=True), params.text("language_code")
