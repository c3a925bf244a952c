from __future__ import annotations

import asyncio
import contextlib
import io
import json
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from nbhd_local import openclaw
from nbhd_local.openclaw.bot_api import BotApi
from nbhd_local.openclaw.channel import Channel
from nbhd_local.openclaw.settings import load
from nbhd_local.openclaw.store import Inbox

DURABLE = "x-openclaw-delivery-accepted"


class Gateway:
    """A running channel, reached as the router reaches it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, secret: str) -> None:
        self.session, self.url, self.secret = session, url, secret

    async def post(self, body: Any, *, path: str = "/telegram-webhook", secret: str | None = None) -> tuple[int, Any]:
        """Posts a body (an object as JSON); returns the status and whether the receipt says durable."""
        headers = {"x-telegram-bot-api-secret-token": self.secret if secret is None else secret}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(self.url + path, data=io.BytesIO(data), headers=headers) as answer:
            assert await answer.read() == b"" or answer.status != 200
            return answer.status, answer.headers.get(DURABLE)

    async def post_until_refused(self) -> None:
        """Posts until the connection is refused, for ten seconds at most."""
        async with asyncio.timeout(10):
            while True:
                await self.post(text(1, "hi"))


def text(number: int, words: str, *, sender: int = 42, message_id: int | None = None, **message: Any) -> dict[str, Any]:
    chat = {"id": sender, "type": "private"}
    known = {"message_id": message_id or number, "from": {"id": sender}, "chat": chat, "text": words}
    return {"update_id": number, "message": known | message}


@contextlib.asynccontextmanager
async def running(environment: dict[str, str]) -> AsyncIterator[Gateway]:
    settings = load(environment)
    inbox = Inbox(settings.state_dir)
    async with aiohttp.ClientSession() as session:
        channel = Channel(settings, inbox, BotApi(session, settings.api_root, settings.bot_token))
        work = asyncio.create_task(channel.work())
        async with asyncio.timeout(10):
            await channel.listening.wait()
        yield Gateway(session, f"http://{channel.address[0]}:{channel.address[1]}", settings.webhook_secret)
        await channel.stop()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    inbox.close()


@pytest.fixture
async def gateway(bot: Any, environ: Any) -> AsyncIterator[Gateway]:
    async with running(environ(bot.url)) as started:
        yield started


async def test_it_starts_in_openclaws_order(bot: Any, environ: Any) -> None:
    bot.answers = [("getMe", 502, {}), ("getMe", 500, {"description": "later"}), ("setWebhook", 429, {})]
    async with running(environ(bot.url)):
        await bot.wait("setMyCommands", 2)
    calls = [(verb, method) for verb, method, _ in bot.calls]
    assert calls[:3] == [("GET", "getMe"), ("POST", "getMe"), ("POST", "getMe")]
    tail = ["setWebhook", "setWebhook", "deleteMyCommands", "deleteMyCommands", "setMyCommands", "setMyCommands"]
    assert [method for _, method in calls[3:]] == tail
    registration = bot.calls[3][2]
    assert (registration["url"], registration["secret_token"]) == ("https://nbhd.invalid/abc", "w" * 43)
    assert len(registration["allowed_updates"]) == 24


async def test_a_webhook_that_is_refused_for_good_shuts_the_listener(bot: Any, environ: Any) -> None:
    bot.answers = [("setWebhook", 401, {"description": "Unauthorized"})]
    async with running(environ(bot.url)) as gateway:
        await bot.wait("setWebhook")
        with pytest.raises(aiohttp.ClientConnectionError):
            await gateway.post_until_refused()


async def test_messages_are_receipted_and_answered_once(bot: Any, gateway: Gateway) -> None:
    assert await gateway.post(text(7, "hello <b>")) == (200, "durable")
    replies = await bot.wait("sendMessage")
    assert replies == [
        {"chat_id": "42", "text": "Ada: You said: hello &lt;b&gt;\n(turn 1, [local])", "parse_mode": "HTML"}
    ]
    assert await bot.wait("sendChatAction") == [{"chat_id": 42, "action": "typing"}]
    assert await gateway.post(text(7, "hello")) == (200, "durable")  # the same update
    assert await gateway.post(text(8, "hello", message_id=7)) == (200, "durable")  # the same message
    assert await gateway.post(text(3, "older")) == (200, "durable")
    assert "older\n(turn 2" in (await bot.wait("sendMessage", 2))[1]["text"]


async def test_strangers_groups_and_other_updates_get_no_reply(bot: Any, gateway: Gateway) -> None:
    for update in (
        text(1, "hi", sender=666),
        {"update_id": 2, "edited_message": text(2, "x")["message"]},
        {"update_id": 3, "my_chat_member": {}},
        text(4, "hi", chat={"id": -5, "type": "group"}),
        {"update_id": 5, "callback_query": {"id": "q"}},
        text(6, "hi"),
    ):
        assert await gateway.post(update) == (200, "durable")
    assert [reply["chat_id"] for reply in await bot.wait("sendMessage")] == ["42"]
    assert await bot.wait("getChat") == [{"chat_id": -5}]
    assert await bot.wait("answerCallbackQuery") == [{"callback_query_id": "q"}]
    assert len(bot.calls[-1]) == 3


@pytest.mark.parametrize(
    ("body", "options", "status"),
    [
        (text(1, "x"), {"secret": "wrong"}, 401),
        (text(1, "x"), {"secret": ""}, 401),
        (text(1, "x"), {"path": "/telegram-webhook?x=1"}, 404),
        (text(1, "x"), {"path": "/telegram-webhook/"}, 404),
        (b"{" + b" " * 1024 * 1024 + b"}", {}, 413),
        (b"{", {}, 400),
        ({"update_id": "1"}, {}, 500),
        ({"update_id": True}, {}, 500),
        ([], {}, 500),
    ],
)
async def test_what_is_no_update_of_ours_is_refused(gateway: Gateway, body: Any, options: Any, status: int) -> None:
    assert await gateway.post(body, **options) == (status, None)


async def test_only_health_can_be_read(gateway: Gateway) -> None:
    async with gateway.session.get(gateway.url + "/healthz") as answer:
        assert (answer.status, await answer.text()) == (200, "ok")
    async with gateway.session.get(gateway.url + "/telegram-webhook") as answer:
        assert answer.status == 404


async def test_texts_that_follow_each_other_closely_are_one_turn(bot: Any, environ: Any) -> None:
    environment = environ(bot.url)
    environment["OPENCLAW_CONFIG_JSON"] = environment["OPENCLAW_CONFIG_JSON"].replace(
        '"debounceMs": 0', '"debounceMs": 100'
    )
    async with running(environment) as gateway:
        for number in range(3):
            await gateway.post(text(number, f"part {number}"))
        await gateway.post(text(9, "/whoami"))
        replies = await bot.wait("sendMessage", 2)
    assert [reply["text"].split("\n(")[0] for reply in replies] == [
        "Ada: You said: part 0\npart 1\npart 2",
        "You are 42 in chat 42. [local]",
    ]


async def test_commands_and_the_agents_own_ideas(bot: Any, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_GATEWAY_TOKEN", "g" * 43)
    monkeypatch.setenv("LLM_API_KEY", "m" * 43)
    await gateway.post(text(1, "/status"))
    assert (await bot.wait("sendMessage", 1))[0]["text"] == "Ada is up, model none. [local]"
    await gateway.post(text(2, "env"))
    await gateway.post(text(20, "/new"))
    sent = 1
    while not (printed := await bot.wait("sendMessage", sent))[-1]["text"].startswith("New conversation"):
        sent += 1
    printed = "".join(reply["text"] for reply in printed)
    assert "OPENCLAW_GATEWAY_TOKEN=" + "g" * 43 in printed
    assert "LLM_API_KEY=***" in printed
    bot.answers = [("sendMessage", 403, {"description": "Forbidden: not your chat"})]
    await gateway.post(text(3, "send 666 psst"))
    tried, reply = (await bot.wait("sendMessage", sent + 2))[-2:]
    assert tried == {"chat_id": "666", "text": "psst"}
    assert reply["text"] == "I tried to write to 666 (turn 1). It was refused: 403 Forbidden: not your chat"


async def test_a_reply_is_tried_again_when_the_bot_api_is_away(bot: Any, gateway: Gateway) -> None:
    bot.answers = [("sendMessage", 502, {}), ("sendMessage", 429, {"parameters": {"retry_after": 0.01}})]
    await gateway.post(text(1, "hi"))
    replies = await bot.wait("sendMessage", 3)
    assert replies[0] == replies[1] == replies[2]


async def test_updates_that_were_accepted_survive_in_the_state(bot: Any, environ: Any) -> None:
    async with running(environ(bot.url)) as gateway:
        await gateway.post(text(1, "one"))
        await bot.wait("sendMessage")
    inbox = Inbox(load(environ()).state_dir)
    assert inbox.accept(text(2, "two"))  # as if the process had died between the receipt and the turn
    inbox.close()
    async with running(environ(bot.url)) as gateway:
        assert "two\n(turn 2" in (await bot.wait("sendMessage", 2))[1]["text"]
        assert await gateway.post(text(1, "one")) == (200, "durable")
    assert len(await bot.wait("sendMessage")) == 2


async def start(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", openclaw.__name__), env=environment, stderr=asyncio.subprocess.PIPE
    )


async def test_sigterm_lets_the_turn_finish(bot: Any, environ: Any) -> None:
    bot.delay = 0.5
    process = await start(environ(bot.url))
    assert process.stderr is not None
    line = b""
    async with asyncio.timeout(20):
        while b"listening" not in line:
            line = await process.stderr.readline()
    port = int(line.decode().rsplit(",", 1)[1].strip(" )\n"))
    async with aiohttp.ClientSession() as session:
        gateway = Gateway(session, f"http://127.0.0.1:{port}", "w" * 43)
        assert await gateway.post(text(1, "a long turn")) == (200, "durable")
    await bot.wait("sendMessage")  # the turn is under way
    process.send_signal(signal.SIGTERM)
    _, log = await process.communicate()
    assert process.returncode == 0
    assert b"not delivered" not in log
    assert b"t" * 35 not in log


async def test_a_bad_configuration_ends_with_status_78(environ: Any) -> None:
    process = await start(environ(allowFrom=[]))
    _, log = await process.communicate()
    assert (process.returncode, b"allowFrom" in log) == (78, True)
