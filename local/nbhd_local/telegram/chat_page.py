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
_FIRST_ID = 1001
_INDEX = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<title>Local Telegram</title>
<style>:root {{ color-scheme: light dark; --link: #1a6fb5; background: Canvas }}
@media (prefers-color-scheme: dark) {{ :root {{ --link: #6ab3f3 }} }}
body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 32rem; margin: 10vh auto; padding: 0 1rem }}
h1 {{ font-size: 1.5rem; margin: 0 }} a {{ color: var(--link) }} label {{ display: block }}
ul {{ list-style: none; padding: 0 }} li a {{ display: block; padding: .6rem 0; border-bottom: 1px solid #8884 }}
input, button {{ font: inherit; padding: .4rem .7rem }} input {{ width: 12rem }}</style></head>
<body><main><h1>Local Telegram</h1><p>Chat with <b>@{bot}</b> as</p><ul>{people}</ul>
<form onsubmit="location = '/chat/' + this.id_.value + location.search; return false">
<label for="id_">or as the user with the number</label>
<input id="id_" name="id_" inputmode="numeric" pattern="[1-9][0-9]{{0,14}}" required>
<button>Open</button></form></main></body></html>"""


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
        return self._choice("")

    async def _deep_link(self, request: web.Request) -> web.Response:
        """What ``https://t.me/<bot>?start=<payload>`` does: opens the chat, as a person of one's choice.

        There is nothing to choose while one person at most is there, unless that one may be connected already.
        """
        query = f"?{request.query_string}" if request.query_string else ""
        people = list(self._people())
        if not people or (len(people) == 1 and not (query and people[0].transcript)):
            raise web.HTTPSeeOther(f"/chat/{people[0].id if people else _FIRST_ID}{query}")
        return self._choice(query)

    def _choice(self, query: str) -> web.Response:
        names = {user.id: str(user.wire["first_name"]) for user in self._people()}
        names[max(names, default=_FIRST_ID - 1) + 1] = "Somebody new" if names else "Somebody"
        people = "".join(
            f'<li><a href="/chat/{number}{html.escape(query)}">{html.escape(name)}</a></li>'
            for number, name in names.items()
        )
        text = _INDEX.format(bot=html.escape(self._bot_username), people=people)
        return web.Response(text=text, content_type="text/html")

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
    elif value.startswith(("https://", "http://")) and "?start=" in value:
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
