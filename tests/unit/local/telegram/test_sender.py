"""The webhook sender, held to the rules of the real server: order, window, retries, giving up."""

from __future__ import annotations

import asyncio
import datetime
import random
from collections import Counter, defaultdict
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbhd_local.ca import Authority
from nbhd_local.telegram import TelegramWorld, Tuning
from nbhd_local.telegram.schedule import next_connection_at, requested_delay, retry_delay
from nbhd_local.telegram.updates import lifetime_of, queue_of
from nbhd_local.web import serve

from .conftest import Api, Receiver, receiving, running, settled, until


def test_the_schedule_is_the_servers() -> None:
    rng = random.Random(1)  # noqa: S311 (repeatable, not secret)
    assert [retry_delay(failures, rng) for failures in range(1, 8)] == [0, 2, 4, 8, 16, 32, 64]
    assert all(60 <= retry_delay(failures, rng) <= 120 for failures in range(8, 40))
    assert requested_delay(503, "7") == 7
    assert requested_delay(503, "99999") == 3600
    assert [requested_delay(503, header) for header in (None, "0", "-1", "soon")] == [None] * 4
    assert requested_delay(200, "7") is None


def test_a_stalled_webhook_gets_a_new_connection_every_two_seconds() -> None:
    def allowed(now: float, scale: float = 1.0) -> float:
        return next_connection_at(now, last_success=100.0, last_opened=109.5, scale=scale)

    assert allowed(110.0) == 110.0
    assert allowed(110.5) == 111.5
    assert allowed(112.0) == 112.0
    assert allowed(109.51, scale=0.01) == pytest.approx(109.52)


def test_queues_and_lifetimes() -> None:
    chat, person = {"id": 5, "type": "private"}, {"id": 6}
    message = {"message": {"chat": chat, "from": person, "date": 1000}}
    query = {"callback_query": {"id": "1", "from": person, "message": {"chat": chat}}}
    member = {"my_chat_member": {"chat": chat, "from": person, "date": 1000}}
    assert queue_of(message) == queue_of({"edited_message": {"chat": chat, "date": 1000}}) == ("chat", 5)
    assert queue_of(query) == ("callback", 6)
    assert queue_of(member) == ("membership", 5)
    assert queue_of({"novelty": {"chat": chat}}) == ("novelty", 5)
    assert lifetime_of(message, 1010.0) == 24 * 3600 - 10
    assert lifetime_of(query, 1010.0) == 150
    assert lifetime_of({"inline_query": {"from": person}}, 1010.0) == 30


async def test_an_update_arrives_as_json_with_the_secret(world: TelegramWorld, receiver: Receiver) -> None:
    await world.user(7, first_name="Ada", username="ada").start("abc-DEF_1")
    await settled(world)
    update = receiver.updates[0]
    assert update["message"]["text"] == "/start abc-DEF_1"
    assert update["message"]["entities"] == [{"type": "bot_command", "offset": 0, "length": 6}]
    assert update["message"]["from"]["username"] == "ada"
    assert receiver.headers[0]["X-Telegram-Bot-Api-Secret-Token"] == "s3cret"
    assert receiver.headers[0]["Content-Type"] == "application/json"
    await world.user(7).send("second")
    await settled(world)
    assert receiver.updates[1]["update_id"] == update["update_id"] + 1
    assert len(receiver.peers) == 1, "the connection is kept alive"


async def test_a_chat_waits_for_its_head_and_others_do_not(world: TelegramWorld, receiver: Receiver) -> None:
    release = asyncio.Event()

    async def answer(update: dict[str, Any]) -> web.Response:
        if update["message"]["text"] == "slow":
            await release.wait()
        return web.Response()

    receiver.answer = answer
    await world.user(1).send("slow")
    await world.user(1).send("after slow")
    await world.user(2).send("other chat")
    await until(lambda: "other chat" in receiver.texts())
    assert "after slow" not in [update["message"]["text"] for update in receiver.updates]
    release.set()
    await settled(world)
    assert receiver.texts() == ["other chat", "slow", "after slow"]


async def test_refusals_are_retried_and_reported(world: TelegramWorld, api: Api, receiver: Receiver) -> None:
    async def answer(_update: dict[str, Any]) -> web.Response:
        return web.Response(status=503 if len(receiver.updates) < 4 else 200)

    receiver.answer = answer
    await world.user(1).send("x")
    await settled(world)
    assert [attempt.status for attempt in world.attempts] == [503, 503, 503, 200]
    gaps = [later.started - earlier.ended for earlier, later in zip(world.attempts, world.attempts[1:], strict=False)]
    assert gaps[1] >= 0.002
    assert gaps[2] >= 0.004
    info = await api.result("getWebhookInfo")
    assert info["last_error_message"] == "Wrong response from the webhook: 503 Service Unavailable"
    assert info["pending_update_count"] == 0


async def test_retry_after_is_honoured() -> None:
    async with running(tuning=Tuning(time_scale=0.01)) as (world, api), receiving() as (receiver, url):

        async def answer(_update: dict[str, Any]) -> web.Response:
            first = len(receiver.updates) == 1
            return web.Response(status=503, headers={"Retry-After": "30"}) if first else web.Response()

        receiver.answer = answer
        await api.result("setWebhook", url=url)
        await world.user(1).send("x")
        await settled(world)
        first, second = world.attempts
        assert second.started - first.ended >= 0.3


async def test_a_receiver_that_comes_up_late_gets_everything_in_order(world: TelegramWorld, api: Api) -> None:
    async with receiving() as (_receiver, url):
        pass
    await api.result("setWebhook", url=url)
    for number in range(3):
        await world.user(1).send(str(number))
    await until(lambda: world.attempts)
    info = await api.result("getWebhookInfo")
    assert info["last_error_message"] == "Connection refused"
    assert info["pending_update_count"] == 3
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/telegram", receiver.handle)
    async with serve(app, port=int(url.split(":")[2].split("/")[0])):
        await settled(world)
    assert receiver.texts() == ["0", "1", "2"]


async def test_a_silent_receiver_times_out_and_is_tried_again() -> None:
    tuning = Tuning(time_scale=0.001, response_timeout=0.1)
    async with running(tuning=tuning) as (world, api), receiving() as (receiver, url):

        async def answer(_update: dict[str, Any]) -> web.Response:
            if len(receiver.updates) == 1:
                await asyncio.sleep(0.5)
            return web.Response()

        receiver.answer = answer
        await api.result("setWebhook", url=url)
        await world.user(1).send("x")
        await settled(world)
        assert [attempt.status for attempt in world.attempts] == [None, 200]
        assert (await api.result("getWebhookInfo"))["last_error_message"] == "Read timeout expired"


async def test_a_stale_callback_is_given_up_and_a_message_is_not(
    world: TelegramWorld, api: Api, receiver: Receiver
) -> None:
    refuse = True

    async def answer(_update: dict[str, Any]) -> web.Response:
        return web.Response(status=500 if refuse else 200)

    receiver.answer = answer
    user = world.user(1)
    await user.send("x")
    await api.result(
        "sendMessage", chat_id=1, text="?", reply_markup={"inline_keyboard": [[{"text": "Y", "callback_data": "y"}]]}
    )
    await user.tap("Y")
    await until(lambda: not any("callback_query" in update for update in world.pending))
    assert [list(update)[1] for update in world.pending] == ["message"]
    refuse = False
    await settled(world)
    assert [list(update)[1] for update in receiver.accepted] == ["message"]


async def test_a_message_is_given_up_after_a_day_of_the_worlds_clock() -> None:
    moved = datetime.timedelta()

    def clock() -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC) + moved

    async with (
        running(tuning=Tuning(), clock=clock) as (world, api),
        receiving() as (receiver, url),
    ):

        async def refuse(_update: dict[str, Any]) -> web.Response:
            return web.Response(status=503)

        receiver.answer = refuse
        await api.result("setWebhook", url=url)
        await world.user(1).send("x")
        await until(lambda: len(world.attempts) == 2)
        assert len(world.pending) == 1
        moved = datetime.timedelta(hours=25)
        await settled(world)
        assert world.user(1).transcript[0].at < clock() - datetime.timedelta(hours=24)


async def test_a_method_in_the_answer_is_executed(world: TelegramWorld, api: Api, receiver: Receiver) -> None:
    async def answer(update: dict[str, Any]) -> web.Response:
        if update["message"]["text"] == "one":
            return web.json_response({"method": "sendMessage", "chat_id": 1, "text": "from the body"})
        return web.json_response({"method": "deleteWebhook"})

    receiver.answer = answer
    await world.user(1).send("one")
    await world.user(1).expect("from the body")
    assert [call.method for call in world.calls if call.via_webhook] == ["sendMessage"]
    await world.user(1).send("two")
    await settled(world)
    assert (await api.result("getWebhookInfo"))["url"] != ""
    assert len([call for call in world.calls if call.via_webhook]) == 1


async def test_a_webhook_that_says_gone_for_23_hours_is_closed() -> None:
    async with running(tuning=Tuning(time_scale=1e-6)) as (world, api), receiving() as (receiver, url):

        async def answer(_update: dict[str, Any]) -> web.Response:
            return web.Response(status=410)

        receiver.answer = answer
        await api.result("setWebhook", url=url)
        for user_id in range(1, 9):
            # Their own 24 hours are counted from a date in the future, else they would end first.
            message = {"chat": {"id": user_id, "type": "private"}, "date": 4_000_000_000, "message_id": 1, "text": "x"}
            world.inject({"message": message})
        await until(lambda: not world.webhook_url)
        assert len(world.pending) == 8


async def test_eighty_stuck_chats_stop_a_bot_with_forty_connections(world: TelegramWorld, receiver: Receiver) -> None:
    stuck = True

    async def answer(update: dict[str, Any]) -> web.Response:
        refused = stuck and update["message"]["chat"]["id"] <= 80
        return web.Response(status=503 if refused else 200, headers={"Retry-After": "800"} if refused else {})

    receiver.answer = answer
    for user_id in range(1, 80):
        await world.user(user_id).send("stuck")
    await world.user(1000).send("still fine")
    await until(lambda: receiver.texts() == ["still fine"])
    await world.user(80).send("stuck")
    await world.user(1000).send("not delivered")
    await until(lambda: len({update["message"]["chat"]["id"] for update in receiver.updates}) == 81)
    assert len(world.pending) == 81
    assert receiver.texts() == ["still fine"]
    stuck = False
    await settled(world)
    assert len(receiver.texts()) == 82
    assert receiver.most_busy <= 40


async def test_an_https_webhook_is_trusted_by_the_given_authority(tmp_path: Any) -> None:
    authority = Authority.create(tmp_path)
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/telegram", receiver.handle)
    async with (
        running(webhook_ca=authority) as (world, api),
        serve(app, tls=authority.server_context()) as url,
    ):
        await api.result("setWebhook", url=f"{url}/telegram", max_connections=2)
        for user_id in range(6):
            await world.user(user_id + 1).send("x")
        await settled(world)
        assert len(receiver.accepted) == 6
        assert len(receiver.peers) <= 2


async def test_a_new_url_takes_over_what_is_pending(world: TelegramWorld, api: Api, receiver: Receiver) -> None:
    async def answer(_update: dict[str, Any]) -> web.Response:
        return web.Response(status=500, headers={"Retry-After": "3600"})

    receiver.answer = answer
    await world.user(1).send("x")
    await until(lambda: receiver.updates)
    async with receiving() as (other, url):
        await api.result("setWebhook", url=url)
        await settled(world)
        assert other.texts() == ["x"]
        assert "X-Telegram-Bot-Api-Secret-Token" not in other.headers[0]


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32),
    messages=st.lists(st.integers(1, 5), min_size=1, max_size=25),
    failure_rate=st.sampled_from([0.0, 0.3, 0.6]),
    connections=st.integers(1, 4),
)
def test_every_chat_gets_everything_in_order_whatever_fails(
    seed: int, messages: list[int], failure_rate: float, connections: int
) -> None:
    async def story() -> None:
        rng = random.Random(seed)  # noqa: S311 (repeatable, not secret)
        tuning = Tuning(time_scale=0.0001)
        async with running(tuning=tuning) as (world, api), receiving() as (receiver, url):
            in_flight: Counter[int] = Counter()

            async def answer(update: dict[str, Any]) -> web.Response:
                chat = update["message"]["chat"]["id"]
                in_flight[chat] += 1
                assert in_flight[chat] == 1
                await asyncio.sleep(rng.uniform(0, 0.002))
                in_flight[chat] -= 1
                return web.Response(status=503 if rng.random() < failure_rate else 200)

            receiver.answer = answer
            await api.result("setWebhook", url=url, max_connections=connections)
            sent: dict[int, list[str]] = defaultdict(list)
            for number, chat in enumerate(messages):
                await world.user(chat).send(str(number))
                sent[chat].append(str(number))
            await settled(world)
            got: dict[int, list[str]] = defaultdict(list)
            for update in receiver.accepted:
                got[update["message"]["chat"]["id"]].append(update["message"]["text"])
            assert got == sent
            assert receiver.most_busy <= connections
            ids = [update["update_id"] for update in receiver.accepted]
            assert len(set(ids)) == len(ids)

    asyncio.run(story())


@pytest.mark.parametrize("update", [{}, {"message": {}, "poll": {}}, {"message": 5}])
async def test_a_malformed_update_cannot_be_injected(world: TelegramWorld, update: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="an update has one object"):
        world.inject(update)
