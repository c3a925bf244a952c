"""The Bot API as tenants see it: nobody reaches another's chat, files or buttons, in whatever encoding they ask."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import telegram

from nbhd_crds.identity import bot_token
from nbhd_local.web import serve
from nbhd_router.egress import Egress

from .conftest import ALICE, ALICE_ID, BOB, BOB_ID, BOT, TOKEN, Asked, Kit, tenant

ENCODINGS = ("query", "form", "json", "multipart")
ME = {"id": BOT, "is_bot": True, "first_name": "Bot", "username": "the_bot", "has_topics_enabled": True}


class Caller:
    """A tenant's container calling out."""

    def __init__(self, kit: Kit, url: str, bot: asyncio.Future[dict[str, Any]]) -> None:
        self.kit, self.url, self.bot = kit, url, bot

    def stand_in(self, spec_id: str = ALICE_ID, version: int = 1, key_id: str = "k1") -> str:
        return bot_token(self.kit.bot_ring, BOT, "nbhd", spec_id, version, key_id)

    async def ask(
        self,
        method: str,
        pairs: list[tuple[str, Any]] | dict[str, Any] | None = None,
        *,
        encoding: str = "json",
        as_id: str = ALICE_ID,
        token: str | None = None,
        query: list[tuple[str, str]] | None = None,
        raw: bytes | None = None,
        content_type: str | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """One call; nested values become JSON text where the encoding has no objects."""
        items = list(pairs.items()) if isinstance(pairs, dict) else list(pairs or [])
        flat = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in items]
        url = f"{self.url}/{as_id}/bot{token or self.stand_in(as_id)}/{method}"
        options: dict[str, Any] = {}
        if encoding == "query":
            query = flat + (query or [])
        elif encoding == "form":
            options["data"] = urlencode(flat)
            options["headers"] = {"Content-Type": "application/x-www-form-urlencoded"}
        elif encoding == "multipart":
            options["data"] = data = aiohttp.FormData(default_to_multipart=True)
            for name, value in flat:
                data.add_field(name, value)
            data.add_field("unused", io.BytesIO(b"x"), filename="x.bin")
        else:
            body = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in items)
            options["data"] = f"{{{body}}}" if raw is None else raw
            options["headers"] = {"Content-Type": content_type or "application/json"}
        if query:
            url += "?" + urlencode(query)
        async with self.kit.session.request("GET" if encoding == "query" else "POST", url, **options) as response:
            return response.status, await response.json()


@pytest.fixture
async def caller(kit: Kit) -> AsyncIterator[Caller]:
    bot: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    bot.set_result(ME)
    egress = Egress(kit.session, kit.telegram, bot, BOT, kit.bot_ring, "nbhd", kit.directory, kit.grants, kit.metrics)
    async with serve(egress.app()) as url:
        yield Caller(kit, url, bot)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("chat", [ALICE, str(ALICE)])
async def test_the_own_chat_is_reached_with_the_real_token(caller: Caller, encoding: str, chat: Any) -> None:
    words = '{"chat_id": 5, "just": "text"} & more'
    markup = {"inline_keyboard": [[{"text": "A", "callback_data": "ä"}]]}
    status, answer = await caller.ask(
        "sendMessage",
        {"chat_id": chat, "text": words, "reply_markup": markup, "disable_notification": True},
        encoding=encoding,
    )
    assert (status, answer) == (200, {"ok": True, "result": True})
    (asked,) = caller.kit.api.calls
    assert (asked.token, asked.method) == (TOKEN.removeprefix("bot"), "sendMessage")
    assert str(asked.params["chat_id"]) == str(ALICE)
    assert asked.params["text"] == words
    sent = asked.params["reply_markup"]
    assert (json.loads(sent) if isinstance(sent, str) else sent) == markup
    assert str(asked.params["disable_notification"]).lower() == "true"


FOREIGN: list[tuple[str, list[tuple[str, Any]]]] = [
    ("another chat", [("chat_id", BOB)]),
    ("another chat as text", [("chat_id", str(BOB))]),
    ("a channel", [("chat_id", "@somebody")]),
    ("no number", [("chat_id", f" {ALICE}")]),
    ("a sign", [("chat_id", f"+{ALICE}")]),
    ("a fraction", [("chat_id", 1001.0)]),
    ("a list", [("chat_id", [ALICE, BOB])]),
    ("empty", [("chat_id", "")]),
    ("null", [("chat_id", None)]),
    ("missing", []),
    ("own, then another", [("chat_id", ALICE), ("chat_id", BOB)]),
    ("another, then own", [("chat_id", BOB), ("chat_id", ALICE)]),
    ("own twice", [("chat_id", ALICE), ("chat_id", ALICE)]),
    ("spelled otherwise", [("chat_id", ALICE), ("Chat_ID", BOB)]),
    ("reply to another chat", [("chat_id", ALICE), ("reply_parameters", {"message_id": 1, "chat_id": BOB})]),
    ("reply to a channel", [("chat_id", ALICE), ("reply_parameters", {"message_id": 1, "chat_id": "@somebody"})]),
    ("deep inside", [("chat_id", ALICE), ("anything", [{"deep": [{"chat_id": BOB}]}])]),
    ("forward", [("chat_id", ALICE), ("from_chat_id", BOB)]),
    ("forward of the own", [("chat_id", ALICE), ("from_chat_id", ALICE)]),
    ("inline message", [("chat_id", ALICE), ("inline_message_id", "x")]),
    ("business", [("chat_id", ALICE), ("business_connection_id", "x")]),
    ("another person", [("chat_id", ALICE), ("user_id", BOB)]),
    ("another receiver", [("chat_id", ALICE), ("receiver_user_id", BOB)]),
]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("pairs", [pairs for _, pairs in FOREIGN], ids=[name for name, _ in FOREIGN])
@pytest.mark.parametrize("method", ["sendMessage", "EDITMESSAGETEXT"])
async def test_nothing_else_is_reached(
    caller: Caller, encoding: str, pairs: list[tuple[str, Any]], method: str
) -> None:
    status, answer = await caller.ask(method, [*pairs, ("text", "hi"), ("message_id", 1)], encoding=encoding)
    assert status in (400, 403)
    assert answer["ok"] is False
    assert answer["error_code"] == status
    assert caller.kit.api.calls == []


@pytest.mark.parametrize("encoding", ["form", "json", "multipart"])
async def test_address_and_body_are_read_as_one(caller: Caller, encoding: str) -> None:
    for first, second in ((ALICE, BOB), (BOB, ALICE), (ALICE, ALICE)):
        status, _ = await caller.ask(
            "sendMessage", {"chat_id": first, "text": "x"}, encoding=encoding, query=[("chat_id", str(second))]
        )
        assert status == 400
    status, _ = await caller.ask("sendMessage", {"text": "x"}, encoding=encoding, query=[("chat_id", str(BOB))])
    assert status == 403
    assert caller.kit.api.calls == []
    status, _ = await caller.ask("sendMessage", {"text": "x"}, encoding=encoding, query=[("chat_id", str(ALICE))])
    assert status == 200


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (b'{"chat_id": 1001, "chat_id": 1002}', None),
        (b'{"chat_id": 1001, "reply_parameters": {"chat_id": 1001, "chat_id": 1002}}', None),
        (b'{"chat_id": 1001, "reply_parameters": "{\\"chat_id\\": 1002}"}', None),
        (b'{"chat_id": 1001, "reply_parameters": " {\\"chat_id\\": 1001, \\"chat_id\\": 1002}"}', None),
        (b'{"chat_id": 1001, "reply_parameters": "{chat_id: 1002}"}', None),
        (b'{"chat_id": 1001, "reply_parameters": {"chat_id": NaN}}', None),
        (b'{"chat_\\u0069d": 1002}', None),
        (b'{"chat_id": true}', None),
        (b"[1]", None),
        (b"", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (b'{"chat_id": 1001}', "text/plain"),
        (b"chat_id=1001&text=%ff", "application/x-www-form-urlencoded"),
        (b"chat_id=1001", "multipart/form-data"),
        (b"--b\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (
            b'--b\r\nContent-Disposition: form-data; name="chat_id"; filename="x"\r\n\r\n1001\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
        ),
        (
            (
                b'--b\r\nContent-Disposition: form-data; name="chat_id"\r\n\r\n1001\r\n'
                b'--b\r\nContent-Disposition: form-data; name="chat_id"; filename="x"\r\n\r\n1002\r\n--b--\r\n'
            ),
            "multipart/form-data; boundary=b",
        ),
    ],
)
async def test_bodies_that_try_to_be_read_in_two_ways(caller: Caller, raw: bytes, content_type: str | None) -> None:
    status, _ = await caller.ask("sendMessage", raw=raw, content_type=content_type)
    assert status in (400, 403)
    assert caller.kit.api.calls == []


async def test_a_token_opens_its_own_tenant_only(caller: Caller) -> None:
    for as_id, token in (
        (BOB_ID, caller.stand_in(ALICE_ID)),
        (ALICE_ID, caller.stand_in(BOB_ID)),
        (ALICE_ID, TOKEN),
        (ALICE_ID, caller.stand_in(version=2)),
        (ALICE_ID, caller.stand_in(key_id="k2")),
        (ALICE_ID, "x"),
        ("nobodynobody", caller.stand_in("nobodynobody")),
    ):
        for method in ("getMe", "sendMessage", "setWebhook"):
            status, answer = await caller.ask(method, {"chat_id": BOB, "text": "x"}, as_id=as_id, token=token)
            assert (status, answer) == (401, {"ok": False, "error_code": 401, "description": "Unauthorized"})
    assert caller.kit.api.calls == []


async def test_credentials_of_before_count_while_a_revision_starts(caller: Caller) -> None:
    send = {"chat_id": ALICE, "text": "x"}
    caller.kit.directory.set(tenant(ALICE_ID, ALICE, version=2, previous=1, resource_version=2))
    assert [(await caller.ask("sendMessage", send, token=caller.stand_in(version=v)))[0] for v in (1, 2, 3)] == [
        200,
        200,
        401,
    ]
    caller.kit.directory.set(tenant(ALICE_ID, ALICE, version=2, resource_version=3))
    assert (await caller.ask("sendMessage", send, token=caller.stand_in(version=1)))[0] == 401


@pytest.mark.parametrize("state", ["Pending", "Suspended", "Ended", None])
async def test_who_is_not_entitled_reaches_nothing(caller: Caller, state: str | None) -> None:
    caller.kit.directory.set(tenant(ALICE_ID, ALICE, state=state, resource_version=2))
    for method in ("getMe", "sendMessage"):
        assert (await caller.ask(method, {"chat_id": ALICE, "text": "x"}))[0] == 403
    caller.kit.directory.set(tenant(ALICE_ID, ALICE, deleting=True, resource_version=3))
    assert (await caller.ask("sendMessage", {"chat_id": ALICE, "text": "x"}))[0] == 403


async def test_a_chat_that_is_not_confirmed_or_moves_is_out_of_reach(caller: Caller) -> None:
    send = {"chat_id": ALICE, "text": "x"}
    caller.kit.directory.set(tenant(ALICE_ID, ALICE, served=False, resource_version=2))
    assert (await caller.ask("sendMessage", send))[0] == 403
    assert (await caller.ask("getMe"))[0] == 200  # a container that starts needs no chat yet
    caller.kit.directory.set(tenant(ALICE_ID, None, resource_version=3))
    assert (await caller.ask("sendMessage", send))[0] == 403


async def test_before_the_directory_is_complete_a_client_is_asked_to_come_again(caller: Caller) -> None:
    caller.kit.directory.fresh = lambda: False
    assert (await caller.ask("getMe", as_id="nobodynobody"))[0] == 503
    assert (await caller.ask("getMe"))[0] == 200


async def test_what_must_not_reach_telegram_is_answered_here(caller: Caller) -> None:
    for encoding in ENCODINGS:
        assert await caller.ask("getMe", encoding=encoding) == (
            200,
            {"ok": True, "result": {**ME, "has_topics_enabled": False}},
        )
    answers = {
        method: (await caller.ask(method, {"url": "https://x.example"}))[1]["result"]
        for method in ("setWebhook", "deleteWebhook", "setMyCommands", "deleteMyCommands", "logOut", "close")
    }
    assert set(answers.values()) == {True}
    assert (await caller.ask("getUpdates"))[1]["result"] == []
    assert (await caller.ask("getMyCommands"))[1]["result"] == []
    assert (await caller.ask("getWebhookInfo"))[1]["result"]["pending_update_count"] == 0
    assert caller.kit.api.calls == []


@pytest.mark.parametrize(
    "method",
    [
        "forwardMessage",
        "copyMessage",
        "setMyName",
        "getManagedBotToken",
        "sendInvoice",
        "banChatMember",
        "sendPoll",
        "getBusinessConnection",
        "nonsense",
        "test/sendMessage",
        "sendMessage%2Fx",
        "",
    ],
)
async def test_every_other_method_is_unknown(caller: Caller, method: str) -> None:
    status, answer = await caller.ask(method, {"chat_id": ALICE, "text": "x"})
    assert (status, answer["error_code"]) == (404, 404)
    assert caller.kit.api.calls == []


async def test_buttons_are_answered_by_whom_they_were_delivered_to(caller: Caller) -> None:
    await caller.kit.grants.grant(BOB_ID, [("callback", "bobs")])
    assert (await caller.ask("answerCallbackQuery", {"callback_query_id": "bobs"}))[0] == 403
    assert (await caller.ask("answerCallbackQuery", {}))[0] == 400
    assert (await caller.ask("answerCallbackQuery", {"callback_query_id": 5}))[0] == 400
    assert caller.kit.api.calls == []
    for encoding in ENCODINGS:
        given = {"callback_query_id": "bobs", "text": "x"}
        assert (await caller.ask("answerCallbackQuery", given, encoding=encoding, as_id=BOB_ID))[0] == 200


async def test_files_belong_to_whom_they_were_delivered_to(caller: Caller) -> None:
    kit = caller.kit
    await kit.grants.grant(ALICE_ID, [("file", "alices")])
    kit.api.files["documents/a b.txt"] = b"private" * 50_000
    kit.api.answer = lambda _: (200, {"ok": True, "result": {"file_id": "alices", "file_path": "documents/a b.txt"}})
    assert (await caller.ask("getFile", {"file_id": "alices"}, as_id=BOB_ID))[0] == 403

    async def load(spec_id: str, path: str) -> tuple[int, bytes]:
        url = f"{caller.url}/{spec_id}/file/bot{caller.stand_in(spec_id)}/{path}"
        async with kit.session.get(url) as response:
            return response.status, await response.read()

    assert (await load(ALICE_ID, "documents/a%20b.txt"))[0] == 404
    assert (await caller.ask("getFile", {"file_id": "alices"}))[0] == 200
    assert await load(ALICE_ID, "documents/a%20b.txt") == (200, kit.api.files["documents/a b.txt"])
    assert (await load(BOB_ID, "documents/a%20b.txt"))[0] == 404
    assert (await load(ALICE_ID, "documents/x/../a%20b.txt"))[0] in (200, 404)  # the client itself normalises it
    assert (await load(ALICE_ID, "documents/x/%2e%2e/b.txt"))[0] == 404
    url = f"{caller.url}/{ALICE_ID}/file/bot{caller.stand_in(BOB_ID)}/documents/a%20b.txt"
    async with kit.session.get(url) as response:
        assert response.status == 401
    assert {call.token for call in kit.api.calls} == {TOKEN}


async def test_an_upload_arrives_whole(caller: Caller) -> None:
    kit = caller.kit
    content = bytes(range(256)) * 9_000
    data = aiohttp.FormData()
    data.add_field("photo", "attach://Part1")
    data.add_field("Part1", io.BytesIO(content), filename="ä.png", content_type="image/png")
    data.add_field("chat_id", str(ALICE))  # after the file
    async with kit.session.post(f"{caller.url}/{ALICE_ID}/bot{caller.stand_in()}/sendPhoto", data=data) as response:
        assert response.status == 200
    (asked,) = kit.api.calls
    assert asked.files == {"Part1": content}
    assert asked.params == {"photo": "attach://Part1", "chat_id": str(ALICE)}


async def test_a_stored_file_is_sent_only_by_whom_it_was_delivered_to(caller: Caller) -> None:
    await caller.kit.grants.grant(BOB_ID, [("file", "bobs")])
    for encoding in ENCODINGS:
        for value in ("bobs", "file:///etc/passwd", "attach://nothing", "FILE://x", ""):
            status, _ = await caller.ask("sendPhoto", {"chat_id": ALICE, "photo": value}, encoding=encoding)
            assert status in (400, 403)
    assert caller.kit.api.calls == []
    assert (await caller.ask("sendPhoto", {"chat_id": BOB, "photo": "bobs"}, as_id=BOB_ID))[0] == 200
    assert (await caller.ask("sendPhoto", {"chat_id": ALICE, "photo": "https://x.example/a.png"}))[0] == 200


async def test_too_large_an_upload_is_refused(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbhd_router.egress.MAX_BYTES", 1000)
    data = aiohttp.FormData()
    data.add_field("chat_id", str(ALICE))
    data.add_field("document", io.BytesIO(b"x" * 1001), filename="x")
    url = f"{caller.url}/{ALICE_ID}/bot{caller.stand_in()}/sendDocument"
    async with caller.kit.session.post(url, data=data) as response:
        assert response.status == 413
    assert caller.kit.api.calls == []


async def test_a_bot_library_that_knows_nothing_of_us_works_unchanged(caller: Caller) -> None:
    kit = caller.kit
    chat = {"id": ALICE, "type": "private", "first_name": "A"}
    results: dict[str, Any] = {
        "getFile": {"file_id": "f", "file_unique_id": "u", "file_size": 3, "file_path": "documents/file_1.txt"}
    }
    said = {"message_id": 1, "date": 1, "chat": chat, "text": "x"}
    kit.api.answer = lambda asked: (200, {"ok": True, "result": results.get(asked.method, said)})
    kit.api.files["documents/file_1.txt"] = b"abc"
    await kit.grants.grant(ALICE_ID, [("file", "f")])
    root = f"{caller.url}/{ALICE_ID}"
    bot = telegram.Bot(caller.stand_in(), base_url=f"{root}/bot", base_file_url=f"{root}/file/bot")
    async with bot:
        assert (bot.username, bot.id) == ("the_bot", BOT)
        markup = telegram.InlineKeyboardMarkup([[telegram.InlineKeyboardButton("A", callback_data="a")]])
        await bot.send_message(ALICE, "hello", reply_markup=markup, reply_parameters=telegram.ReplyParameters(1))
        await bot.send_document(ALICE, b"content", filename="a.txt", caption="{}")
        file = await bot.get_file("f")
        assert bytes(await file.download_as_bytearray()) == b"abc"
        await bot.set_webhook("https://evil.example")
        with pytest.raises(telegram.error.Forbidden):
            await bot.send_message(BOB, "hello")
        with pytest.raises(telegram.error.Forbidden):
            await bot.send_message(ALICE, "hello", reply_parameters=telegram.ReplyParameters(message_id=1, chat_id=BOB))
        with pytest.raises(telegram.error.InvalidToken):
            await bot.forward_message(ALICE, BOB, 1)
    assert [call.method for call in kit.api.calls] == ["sendMessage", "sendDocument", "getFile", "file"]
    assert list(kit.api.calls[1].files.values()) == [b"content"]


async def test_telegrams_errors_pass_without_the_token(caller: Caller) -> None:
    def limited(_: Asked) -> tuple[int, dict[str, Any]]:
        return 429, {"ok": False, "error_code": 429, "description": f"slow, {TOKEN}", "parameters": {"retry_after": 7}}

    caller.kit.api.answer = limited
    status, answer = await caller.ask("sendMessage", {"chat_id": ALICE, "text": "x"})
    assert (status, answer["parameters"]) == (429, {"retry_after": 7})
    assert TOKEN.partition(":")[2] not in str(answer)
    caller.kit.api.answer = lambda _: (401, {"ok": False, "error_code": 401, "description": "Unauthorized"})
    assert (await caller.ask("sendMessage", {"chat_id": ALICE, "text": "x"}))[0] == 502


async def test_telegram_out_of_reach_is_said_without_the_token(
    caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    caller.kit.telegram._url = "http://127.0.0.1:9"
    status, answer = await caller.ask("sendMessage", {"chat_id": ALICE, "text": "x"})
    assert status == 502
    assert TOKEN.partition(":")[2] not in caplog.text + str(answer)
    assert caller.stand_in() not in caplog.text
