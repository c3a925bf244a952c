"""The Bot API side, checked by a client that we did not write: python-telegram-bot, unmodified.

Its models are strict about required fields, and its exceptions say whether errors look like Telegram's.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator

import pytest
import telegram
from aiohttp import web
from telegram.constants import ChatAction, ParseMode
from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, RetryAfter

from nbhd_local.telegram import Limits, TelegramWorld
from nbhd_local.web import serve


def bot_for(world: TelegramWorld, token: str | None = None) -> telegram.Bot:
    return telegram.Bot(
        token or world.bot_token, base_url=f"{world.api_url}/bot", base_file_url=f"{world.api_url}/file/bot"
    )


@pytest.fixture
async def world() -> AsyncIterator[TelegramWorld]:
    async with TelegramWorld() as world:
        yield world


@pytest.fixture
async def bot(world: TelegramWorld) -> AsyncIterator[telegram.Bot]:
    async with bot_for(world) as bot:
        yield bot


async def test_it_knows_itself(world: TelegramWorld, bot: telegram.Bot) -> None:
    me = await bot.get_me()
    assert me.is_bot
    assert me.username == world.bot_username
    assert str(me.id) == world.bot_token.partition(":")[0]
    assert await bot.set_my_commands([telegram.BotCommand("help", "What I can do")])
    assert await bot.get_my_commands() == (telegram.BotCommand("help", "What I can do"),)
    assert await bot.delete_my_commands()


async def test_a_dialogue_with_buttons(world: TelegramWorld, bot: telegram.Bot) -> None:
    user = world.user(7, first_name="Ada", username="ada")
    await user.start("payload-1")
    (started,) = await bot.get_updates(timeout=1)
    assert started.message is not None
    assert started.message.text == "/start payload-1"
    assert started.message.from_user == telegram.User(7, "Ada", is_bot=False)
    assert started.message.parse_entities([telegram.MessageEntity.BOT_COMMAND])
    assert (await bot.get_chat(7)).username == "ada"
    assert await bot.send_chat_action(7, ChatAction.TYPING)

    keyboard = telegram.InlineKeyboardMarkup(
        [
            [
                telegram.InlineKeyboardButton("Connect", callback_data="yes"),
                telegram.InlineKeyboardButton("No", callback_data="no"),
            ]
        ]
    )
    asked = await bot.send_message(
        "7",
        "Connect <b>Ada's</b> account?",
        parse_mode=ParseMode.HTML,
        reply_markup=keyboard,
        reply_parameters=telegram.ReplyParameters(started.message.message_id),
        link_preview_options=telegram.LinkPreviewOptions(is_disabled=True),
    )
    assert asked.reply_markup == keyboard
    assert asked.reply_to_message is not None
    assert asked.reply_to_message.message_id == started.message.message_id
    assert [entity.type for entity in asked.entities] == ["bold"]
    assert abs(asked.date.timestamp() - started.message.date.timestamp()) < 30

    await user.tap("Connect")
    (tapped,) = await bot.get_updates(offset=started.update_id + 1)
    assert tapped.callback_query is not None
    assert tapped.callback_query.data == "yes"
    assert await tapped.callback_query.answer("Connected")
    with pytest.raises(BadRequest, match="Query is too old"):
        await tapped.callback_query.answer()

    edited = await bot.edit_message_text("Connected\\.", 7, asked.message_id, parse_mode=ParseMode.MARKDOWN_V2)
    assert isinstance(edited, telegram.Message)
    assert edited.text == "Connected."
    assert edited.edit_date is not None
    with pytest.raises(BadRequest, match="Message is not modified"):
        await bot.edit_message_text("Connected.", 7, asked.message_id)
    assert await bot.delete_message(7, asked.message_id)
    assert [line.kind for line in user.transcript] == ["message", "message", "answer", "edit", "delete"]


async def test_files(world: TelegramWorld, bot: telegram.Bot) -> None:
    user = world.user(7)
    await user.start()
    await user.send_document("notes.txt", b"my notes", content_type="text/plain")
    update = (await bot.get_updates())[-1]
    assert update.message is not None
    assert update.message.document is not None
    handle = await bot.get_file(update.message.document)
    assert handle.file_size == 8
    assert bytes(await handle.download_as_bytearray()) == b"my notes"
    sent = await bot.send_document(7, b"a reply", filename="reply.txt", caption="here")
    assert sent.document is not None
    assert sent.document.file_name == "reply.txt"
    with pytest.raises(BadRequest):
        await bot.get_file("nothing")


async def test_a_webhook_is_set_used_and_deleted(world: TelegramWorld, bot: telegram.Bot) -> None:
    received: list[telegram.Update] = []

    async def handle(request: web.Request) -> web.Response:
        assert request.headers["X-Telegram-Bot-Api-Secret-Token"] == "s3cret"
        update = telegram.Update.de_json(await request.json(), bot)
        received.append(update)
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", handle)
    async with serve(app) as url:
        hook = f"{url}/hook"
        assert await bot.set_webhook(hook, secret_token="s3cret", allowed_updates=["message"], max_connections=5)
        info = await bot.get_webhook_info()
        assert (info.url, info.max_connections, info.allowed_updates) == (hook, 5, ("message",))
        assert info.pending_update_count == 0
        with pytest.raises(Conflict):
            await bot.get_updates()
        await world.user(7).send("over the wire")
        await world.settled()
        assert received[0].effective_message is not None
        assert received[0].effective_message.text == "over the wire"
        assert await bot.delete_webhook()
        assert (await bot.get_webhook_info()).url == ""


async def test_errors_become_the_librarys_exceptions(
    world: TelegramWorld, bot: telegram.Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "1")  # else the library warns about its own future
    with pytest.raises(BadRequest, match="Chat not found"):
        await bot.send_message(404, "x")
    world.user(8)
    with pytest.raises(Forbidden, match="bot can't initiate conversation with a user"):
        await bot.send_message(8, "x")
    with pytest.raises(InvalidToken):
        async with bot_for(world, world.bot_token[:-4] + "AAAA"):
            pass
    async with TelegramWorld(limits=Limits(chat_per_second=1)) as limited, bot_for(limited) as other:
        await limited.user(7).start()
        await other.send_message(7, "x")
        with pytest.raises(RetryAfter) as caught:
            await other.send_message(7, "x")
        assert caught.value.retry_after == datetime.timedelta(seconds=1)
