"""The Bot API side: encodings, strictness, and the errors that a client has to understand."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from nbhd_local.telegram import Limits, TelegramWorld

from .conftest import TOKEN, Api, running


async def test_all_four_encodings_carry_parameters(world: TelegramWorld, api: Api) -> None:
    await world.user(7).start()
    url, wanted = f"{api.root}/sendMessage", {"chat_id": "7", "text": "héllo"}
    multipart = aiohttp.FormData(wanted, default_to_multipart=True)
    for request in (
        api.http.get(url, params=wanted),
        api.http.post(url, data=wanted),
        api.http.post(url, json={"chat_id": 7, "text": "héllo"}),
        api.http.post(url, data=multipart),
    ):
        async with request as response:
            message = (await response.json())["result"]
            assert message["text"] == "héllo"
            assert message["chat"] == {"id": 7, "type": "private", "first_name": "User 7"}
            assert message["from"]["is_bot"] is True
            assert 1_600_000_000 < message["date"] < 4_000_000_000
    async with api.http.post(f"{api.root}/getMe", headers={"Content-Type": "application/octet-stream"}) as response:
        assert (await response.json())["result"]["id"] == 123456789
    assert world.counters == {"sendMessage": 4, "getMe": 1}
    assert TOKEN not in repr(world.calls)


@pytest.mark.parametrize(
    ("method", "params", "code", "description"),
    [
        ("sendMessage", {"chat_id": 7, "text": ""}, 400, "Bad Request: message text is empty"),
        ("sendMessage", {"chat_id": 7, "text": " \n"}, 400, "Bad Request: message text is empty"),
        ("sendMessage", {"chat_id": 7, "text": "x" * 4097}, 400, "Bad Request: message is too long"),
        ("sendMessage", {"text": "x"}, 400, "Bad Request: chat_id is empty"),
        ("sendMessage", {"chat_id": 999, "text": "x"}, 400, "Bad Request: chat not found"),
        ("sendMessage", {"chat_id": "7x", "text": "x"}, 400, "Bad Request: chat not found"),
        (
            "sendMessage",
            {"chat_id": 8, "text": "x"},
            403,
            "Forbidden: bot can't initiate conversation with a user",
        ),
        ("sendMessage", {"chat_id": 9, "text": "x"}, 403, "Forbidden: bot was blocked by the user"),
        (
            "sendMessage",
            {"chat_id": 7, "text": "x", "parse_mode": "BB"},
            400,
            "Bad Request: unsupported parse_mode",
        ),
        (
            "sendMessage",
            {"chat_id": 7, "text": "<b>x", "parse_mode": "HTML"},
            400,
            "Bad Request: can't parse entities: Can't find end tag corresponding to start tag \"b\"",
        ),
        (
            "sendMessage",
            {"chat_id": 7, "text": "x", "disable_notification": "perhaps"},
            400,
            'Bad Request: parameter "disable_notification" must be a Boolean',
        ),
        (
            "sendMessage",
            {"chat_id": 7, "text": "x", "reply_markup": [1]},
            400,
            "Bad Request: object expected as reply markup",
        ),
        (
            "sendMessage",
            {"chat_id": 7, "text": "x", "reply_markup": {"inline_keyboard": [[{"text": "a"}]]}},
            400,
            "Bad Request: can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
        ),
        (
            "sendMessage",
            {
                "chat_id": 7,
                "text": "x",
                "reply_markup": {"inline_keyboard": [[{"text": "a", "callback_data": "x" * 65}]]},
            },
            400,
            "Bad Request: BUTTON_DATA_INVALID",
        ),
        (
            "sendMessage",
            {"chat_id": 7, "text": "x", "reply_parameters": {"message_id": 99}},
            400,
            "Bad Request: message to be replied not found",
        ),
        (
            "editMessageText",
            {"chat_id": 7, "message_id": 99, "text": "x"},
            400,
            "Bad Request: message to edit not found",
        ),
        ("editMessageText", {"chat_id": 7, "message_id": 1, "text": "x"}, 400, "Bad Request: message can't be edited"),
        (
            "answerCallbackQuery",
            {"callback_query_id": "1"},
            400,
            "Bad Request: query is too old and response timeout expired or query ID is invalid",
        ),
        ("sendChatAction", {"chat_id": 7, "action": "dance"}, 400, "Bad Request: wrong parameter action in request"),
        ("getFile", {"file_id": "x"}, 400, "Bad Request: wrong file_id or the file is temporarily unavailable"),
        (
            "setMyCommands",
            {"commands": [{"command": "Ä", "description": "x"}]},
            400,
            "Bad Request: BOT_COMMAND_INVALID",
        ),
        (
            "setWebhook",
            {"url": "http://example.test/"},
            400,
            "Bad Request: bad webhook: An HTTPS URL must be provided for webhook",
        ),
        (
            "setWebhook",
            {"url": "https://127.0.0.1/", "secret_token": "a b"},
            400,
            "Bad Request: secret token contains unallowed characters",
        ),
        ("frobnicate", {}, 404, "Not Found: method not found"),
    ],
)
async def test_refusals(
    world: TelegramWorld, api: Api, method: str, params: dict[str, Any], code: int, description: str
) -> None:
    await world.user(7).start()
    world.user(8)
    await world.user(9).start()
    await world.user(9).block()
    body = await api.call(method, **params)
    assert body == {"ok": False, "error_code": code, "description": description}
    assert world.calls[-1].status == code


async def test_an_unknown_token_is_unauthorized_everywhere(world: TelegramWorld, api: Api) -> None:
    for path in (f"/bot{TOKEN[:-1]}x/getMe", "/bot/getMe", f"/file/bot{TOKEN[:-1]}x/documents/file_0.txt"):
        async with api.http.get(world.api_url + path) as response:
            assert response.status == 401
            assert (await response.json())["description"] == "Unauthorized"


async def test_editing_shows_the_new_text_and_refuses_the_same_again(world: TelegramWorld, api: Api) -> None:
    await world.user(7).start()
    keyboard = {"inline_keyboard": [[{"text": "Yes", "callback_data": "y"}]]}
    sent = await api.result("sendMessage", chat_id=7, text="Sure?", reply_markup=keyboard)
    assert sent["reply_markup"] == keyboard
    where = {"chat_id": 7, "message_id": sent["message_id"]}
    again = await api.call("editMessageText", **where, text="Sure?", reply_markup=keyboard)
    assert again["description"].startswith("Bad Request: message is not modified")
    edited = await api.result("editMessageText", **where, text="<b>Done</b>", parse_mode="HTML")
    assert "reply_markup" not in edited
    assert edited["entities"] == [{"type": "bold", "offset": 0, "length": 4}]
    assert edited["edit_date"] >= edited["date"]
    assert (await api.result("editMessageReplyMarkup", **where, reply_markup=keyboard))["reply_markup"] == keyboard
    assert await api.result("deleteMessage", **where) is True
    assert (await api.call("deleteMessage", **where))["description"] == "Bad Request: message to delete not found"


async def test_a_tapped_button_is_answered_once(world: TelegramWorld, api: Api) -> None:
    user = world.user(7)
    await user.start()
    keyboard = {"inline_keyboard": [[{"text": "Yes", "callback_data": "y"}]]}
    await api.result("sendMessage", chat_id=7, text="Sure?", reply_markup=keyboard)
    await user.tap("Yes")
    query = next(update["callback_query"] for update in world.pending if "callback_query" in update)
    assert (query["data"], query["from"]["id"], query["message"]["text"]) == ("y", 7, "Sure?")
    assert await api.result("answerCallbackQuery", callback_query_id=query["id"], text="Fine") is True
    assert (await user.expect("Fine")).kind == "answer"
    assert (await api.call("answerCallbackQuery", callback_query_id=query["id"]))["error_code"] == 400


async def test_updates_are_polled_only_while_no_webhook_is_set(world: TelegramWorld, api: Api) -> None:
    await world.user(7).start()
    await world.user(7).send("two")
    first = await api.result("getUpdates", limit=1)
    assert first[0]["message"]["text"] == "/start"
    second = await api.result("getUpdates", offset=first[0]["update_id"] + 1)
    assert [update["message"]["text"] for update in second] == ["two"]
    assert (await api.result("getWebhookInfo"))["pending_update_count"] == 1
    await api.result("setWebhook", url="https://127.0.0.1:9/x")
    conflict = await api.call("getUpdates")
    assert conflict["error_code"] == 409
    assert await api.call("deleteWebhook", drop_pending_updates=True) == {
        "ok": True,
        "result": True,
        "description": "Webhook was deleted",
    }
    assert world.pending == []


async def test_only_allowed_updates_are_kept(world: TelegramWorld, api: Api) -> None:
    await api.result("setWebhook", url="https://127.0.0.1:9/x", allowed_updates=["message"])
    await world.user(7).start()
    await world.user(7).block()
    assert [list(update)[1] for update in world.pending] == ["message"]
    world.inject({"poll": {"id": "1"}})
    assert (await api.result("getWebhookInfo"))["pending_update_count"] == 2
    assert (await api.result("getWebhookInfo"))["allowed_updates"] == ["message"]


async def test_files_go_out_and_come_in(world: TelegramWorld, api: Api) -> None:
    user = world.user(7)
    await user.start()
    await user.send_document("notes.txt", b"text of the notes", content_type="text/plain", caption="see")
    received = world.pending[-1]["message"]["document"]
    assert (received["file_name"], received["file_size"]) == ("notes.txt", 17)
    path = (await api.result("getFile", file_id=received["file_id"]))["file_path"]
    assert path == "documents/file_1.txt"
    async with api.http.get(f"{world.api_url}/file/bot{TOKEN}/{path}") as response:
        assert await response.read() == b"text of the notes"
    form = aiohttp.FormData({"caption": "<i>here</i>", "parse_mode": "HTML"})
    form.add_field("photo", b"not really a photo", filename="x.jpg", content_type="image/jpeg")
    form.add_field("chat_id", "7")
    async with api.http.post(f"{api.root}/sendPhoto", data=form) as response:
        sent = (await response.json())["result"]
    assert (sent["caption"], sent["photo"][0]["file_size"]) == ("here", 18)
    again = await api.result("sendPhoto", chat_id=7, photo=sent["photo"][0]["file_id"])
    assert again["photo"] == sent["photo"]
    assert [line.text for line in user.transcript] == ["/start", "see", "here", "[photo]"]


async def test_commands_are_kept_by_scope(api: Api) -> None:
    commands = [{"command": "help", "description": "What I can do"}]
    await api.result("setMyCommands", commands=commands)
    assert await api.result("getMyCommands") == commands
    assert await api.result("getMyCommands", scope={"type": "all_private_chats"}) == []
    await api.result("deleteMyCommands")
    assert await api.result("getMyCommands") == []


async def test_limits_answer_429_with_when_to_come_back() -> None:
    async with running(limits=Limits(bot_per_second=3, chat_per_second=1)) as (world, api):
        for user_id in (1, 2, 3, 4):
            await world.user(user_id).start()
        await api.result("sendMessage", chat_id=1, text="x")
        refused = await api.call("sendMessage", chat_id=1, text="x")
        assert refused == {
            "ok": False,
            "error_code": 429,
            "description": "Too Many Requests: retry after 1",
            "parameters": {"retry_after": 1},
        }
        await api.result("sendMessage", chat_id=2, text="x")
        await api.result("sendMessage", chat_id=3, text="x")
        assert (await api.call("sendMessage", chat_id=4, text="x"))["error_code"] == 429
