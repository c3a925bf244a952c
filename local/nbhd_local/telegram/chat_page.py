"""A page on which a person plays a Telegram user: types, sees the bot's messages, presses buttons, opens links.

One static page over four small JSON calls, served without TLS so that a browser needs no certificate.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Collection
from http import HTTPStatus
from importlib import resources
from typing import Any

from aiohttp import web

from .people import Line, User

_POLL = 25.0
_INDEX = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Local Telegram</title>
<style>body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 32rem; margin: 10vh auto; padding: 0 1rem }}
input, button {{ font: inherit; padding: .4rem .7rem }}</style>
<h1>Local Telegram</h1><p>Chat with <b>@{bot}</b> as:</p><ul>{people}</ul>
<form onsubmit="location = '/chat/' + this.id_.value; return false">
<input name="id_" inputmode="numeric" pattern="[1-9][0-9]{{0,14}}" required placeholder="a user id, any number">
<button>Open</button></form></html>"""


class ChatPage:
    """Serves ``/`` and ``/chat/<user id>``. ``user_for`` makes a person on the first visit."""

    def __init__(
        self, bot_username: str, user_for: Callable[[int], User], people: Callable[[], Collection[User]]
    ) -> None:
        self._bot_username = bot_username
        self._user_for = user_for
        self._people = people
        self._page = (resources.files(__package__ or "") / "chat.html").read_text("utf-8")

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application()
        app.router.add_get("/", self._index)
        app.router.add_get(f"/{self._bot_username}", self._deep_link)
        app.router.add_get("/chat/{id:[1-9][0-9]{0,14}}", self._chat)
        app.router.add_get("/chat/{id:[1-9][0-9]{0,14}}/lines", self._lines)
        app.router.add_post("/chat/{id:[1-9][0-9]{0,14}}/{act:send|tap|start}", self._act)
        return app

    def _user(self, request: web.Request) -> User:
        return self._user_for(int(request.match_info["id"]))

    async def _index(self, _request: web.Request) -> web.Response:
        people = "".join(
            f'<li><a href="/chat/{user.id}">{html.escape(user.wire["first_name"])}</a></li>' for user in self._people()
        )
        text = _INDEX.format(bot=html.escape(self._bot_username), people=people)
        return web.Response(text=text, content_type="text/html")

    async def _deep_link(self, request: web.Request) -> web.Response:
        """What ``https://t.me/<bot>?start=<payload>`` does: offers to open the chat, as one of the people."""
        query = f"?{request.query_string}" if request.query_string else ""
        people = list(self._people()) or [self._user_for(1001)]
        if len(people) == 1:
            raise web.HTTPSeeOther(f"/chat/{people[0].id}{query}")
        links = "".join(
            f'<li><a href="/chat/{user.id}{html.escape(query)}">{html.escape(user.wire["first_name"])}</a></li>'
            for user in people
        )
        return web.Response(
            text=_INDEX.format(bot=html.escape(self._bot_username), people=links), content_type="text/html"
        )

    async def _chat(self, request: web.Request) -> web.Response:
        user = self._user(request)
        facts = json.dumps({"bot": self._bot_username, "name": user.wire["first_name"]}).replace("<", "\\u003c")
        return web.Response(text=self._page.replace("{{facts}}", facts), content_type="text/html")

    async def _lines(self, request: web.Request) -> web.Response:
        """Lines from number ``after`` on; waits for one if there is none yet."""
        user = self._user(request)
        after = request.query.get("after", "0")
        seen = int(after) if after.isascii() and after.isdigit() else 0
        await user.changed(seen, _POLL)
        return web.json_response([_line(line) for line in user.transcript[seen:]])

    async def _act(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            # A page of another origin can send plain forms only.
            raise web.HTTPUnsupportedMediaType
        user = self._user(request)
        try:
            value = str((await request.json())["value"])
            opened = await _do(user, request.match_info["act"], value)
        except (ValueError, TypeError, KeyError, LookupError) as error:
            return web.json_response({"error": str(error).partition("\n")[0]}, status=HTTPStatus.BAD_REQUEST)
        return web.json_response({"open": opened})


async def _do(user: User, act: str, value: str) -> str | None:
    if act == "tap":
        return await user.tap(value)
    if act == "start":
        await user.start(value)
    elif value.startswith("https://t.me/") and "?start=" in value:
        await user.open(value)
    elif value == "/start" or value.startswith("/start "):
        await user.start(value.removeprefix("/start").strip())
    elif value.strip():
        await user.send(value)
    return None


def _line(line: Line) -> dict[str, Any]:
    return {
        "from": line.direction,
        "kind": line.kind,
        "at": line.at.isoformat(),
        "text": line.text,
        "buttons": line.buttons,
        "message": line.message_id,
    }
