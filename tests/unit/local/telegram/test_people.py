"""People and their page: what they do becomes updates, what the bot does becomes their transcript."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from nbhd_local.telegram import NotSaidError, TelegramWorld

from .conftest import TOKEN, Api


async def test_a_link_is_opened_and_its_payload_is_not_shown(world: TelegramWorld) -> None:
    user = world.user(7, first_name="Ada")
    await user.open(f"https://t.me/{world.bot_username}?start=abc_123")
    assert world.pending[0]["message"]["text"] == "/start abc_123"
    assert [(line.direction, line.text) for line in user.transcript] == [("user", "/start")]
    for link in ("https://t.me/other_bot?start=x", f"http://t.me/{world.bot_username}?start=x", "https://evil.test/"):
        with pytest.raises(ValueError, match="not a link to"):
            await user.open(link)
    with pytest.raises(ValueError, match="1 to 64"):
        await user.start("x" * 65)


async def test_expect_returns_each_line_once_and_fails_with_the_transcript(world: TelegramWorld, api: Api) -> None:
    user = world.user(7)
    await user.start()
    waiting = asyncio.create_task(user.expect(lambda line: line.buttons == ("Yes", "No"), 5))
    keyboard = {
        "inline_keyboard": [[{"text": "Yes", "callback_data": "y"}], [{"text": "No", "url": "https://x.test/"}]]
    }
    for text in ("hello", "hello"):
        await api.result("sendMessage", chat_id=7, text=text)
    asked = await api.result("sendMessage", chat_id=7, text="Sure?", reply_markup=keyboard)
    assert (await waiting).text == "Sure?"
    assert (await user.expect("hell")).text == "hello"
    assert (await user.expect("hell")).text == "hello"
    with pytest.raises(NotSaidError, match=r"(?s)did not get 'hell'.*bot: Sure\? \[Yes\] \[No\]"):
        await user.expect("hell", 0.05)
    assert await user.tap("No") == "https://x.test/"
    assert await user.tap("Yes") is None
    with pytest.raises(LookupError, match="no button 'Maybe'"):
        await user.tap("Maybe")
    await api.result("editMessageText", chat_id=7, message_id=asked["message_id"], text="Done")
    assert (await user.expect("Done")).kind == "edit"
    await api.result("sendChatAction", chat_id=7, action="typing")
    assert user.actions == ["typing"]


async def test_blocking_and_starting_again_change_the_membership(world: TelegramWorld, api: Api) -> None:
    user = world.user(7)
    await user.start()
    await user.block()
    assert (await api.call("sendMessage", chat_id=7, text="x"))["error_code"] == 403
    await user.start()
    kinds = [list(update)[1] for update in world.pending]
    assert kinds == ["message", "my_chat_member", "my_chat_member", "message"]
    statuses = [update["my_chat_member"]["new_chat_member"]["status"] for update in world.pending[1:3]]
    assert statuses == ["kicked", "member"]
    await api.result("sendMessage", chat_id=7, text="x")


async def test_a_group_is_a_chat_of_its_own(world: TelegramWorld, api: Api) -> None:
    user = world.user(7)
    await user.send_in_group(-100123, "/start x", title="Neighbours")
    message = world.pending[0]["message"]
    assert (message["chat"]["type"], message["chat"]["id"], message["from"]["id"]) == ("supergroup", -100123, 7)
    await api.result("sendMessage", chat_id=-100123, text="hi")
    assert [one["text"] for one in world.messages(-100123)] == ["/start x", "hi"]
    assert user.transcript == []
    assert (await api.call("sendMessage", chat_id=7, text="x"))["error_code"] == 403


async def test_a_deep_link_asks_who_opens_it_once_somebody_may_be_connected(world: TelegramWorld) -> None:
    link = f"{world.web_url}/{world.bot_username}"
    async with aiohttp.ClientSession() as browser:

        async def leads_to(query: str) -> str:
            async with browser.get(link + query, allow_redirects=False) as response:
                return response.headers.get("Location") or await response.text()

        assert await leads_to("?start=tok") == "/chat/1001?start=tok"
        user = world.user(7)
        assert await leads_to("?start=tok") == "/chat/7?start=tok"
        await user.start("tok")
        assert await leads_to("") == "/chat/7"
        choice = await leads_to("?start=tok")
        assert 'href="/chat/7?start=tok"' in choice
        assert 'href="/chat/8?start=tok"' in choice


async def test_a_person_chats_on_the_page(world: TelegramWorld, api: Api) -> None:
    page = f"{world.web_url}/chat/7"
    async with aiohttp.ClientSession() as browser:
        async with browser.get(page) as response:
            text = await response.text()
            assert world.bot_username in text
            assert "http://" not in text.replace("http://127.0.0.1", "")
            assert TOKEN not in text
        async with browser.get(world.web_url) as response:
            people = await response.text()
            assert 'href="/chat/7"' in people
            assert 'href="/chat/8">Somebody new<' in people

        async def act(what: str, value: str) -> int:
            async with browser.post(f"{page}/{what}", json={"value": value}) as response:
                return response.status

        assert await act("start", "tok") == 200
        assert await act("send", "hello") == 200
        assert await act("send", f"https://t.me/{world.bot_username}?start=tok2") == 200
        assert [update["message"]["text"] for update in world.pending] == ["/start tok", "hello", "/start tok2"]
        keyboard = {"inline_keyboard": [[{"text": "Yes", "callback_data": "y"}]]}
        async with browser.get(f"{page}/lines?after=2") as response:
            assert [line["text"] for line in await response.json()] == ["/start"]
        later = asyncio.create_task(browser.get(f"{page}/lines?after=3").__aenter__())
        await api.result("sendMessage", chat_id=7, text="Sure?", reply_markup=keyboard)
        response = await later
        assert [(line["text"], line["buttons"]) for line in await response.json()] == [("Sure?", ["Yes"])]
        assert await act("tap", "Yes") == 200
        assert await act("tap", "No") == 400
        assert world.pending[-1]["callback_query"]["data"] == "y"
        async with browser.post(f"{page}/send", data={"value": "x"}) as response:
            assert response.status == 415
