"""Updates reach the right container once each and in order, whatever it does, and nobody waits for others."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbhd_router.delivery import Delivery, Outcome, judge
from nbhd_router.directory import CredentialsView, Route, State
from nbhd_router.dispatch import Close, Deliver, Dispatcher, Timing, Wait, decide
from nbhd_router.errors import TelegramError, TryLaterError
from nbhd_router.spool import Incoming, Lane, Row
from nbhd_router.texts import Text, Texts

from .conftest import ALICE, ALICE_ID, BOB, BOB_ID, BOT, LINK, Container, Kit, button, message, tenant

READY = Route(State.READY, ALICE_ID, 1, "https://c.example", (CredentialsView(1, "k1", "k1"),))
TEXTS = Texts(LINK)


class Rig:
    """A dispatcher with a clock that can be moved."""

    def __init__(self, kit: Kit, timing: Timing) -> None:
        self.kit = kit
        self.ahead = 0.0
        self.own: list[dict[str, Any]] = []
        self.own_errors: list[Exception] = []
        self.dispatcher = Dispatcher(
            BOT,
            kit.spool,
            kit.directory,
            Delivery(kit.session, kit.webhook_ring, "nbhd"),
            kit.grants,
            kit.notices,
            kit.metrics,
            self._own,
            timing=timing,
            clock=lambda: time.time() + self.ahead,
        )
        kit.directory.changed = self.dispatcher.changed

    async def _own(self, body: bytes) -> None:
        if self.own_errors:
            raise self.own_errors.pop(0)
        self.own.append(json.loads(body))

    async def put(self, update: dict[str, Any], *, lane: Lane | None = None, wake: bool = True) -> None:
        """As ``intake`` does."""
        kind = next(name for name in update if name != "update_id")
        inner = update[kind]
        chat = (inner.get("message") or inner)["chat"]["id"]
        lane = lane or Lane(BOT, chat)
        owner = self.kit.directory.route(chat)
        await self.kit.spool.put(
            Incoming(lane, update["update_id"], kind, json.dumps(update).encode(), owner.spec_id, owner.generation)
        )
        if wake:
            self.dispatcher.wake(lane)

    async def idle(self) -> None:
        """Waits until nothing is left."""
        await self.kit.until(lambda: self.dispatcher.busy == 0)


Make = Callable[..., Rig]


@pytest.fixture
async def make(kit: Kit) -> AsyncIterator[Make]:
    rigs: list[Rig] = []

    def of(**timing: float) -> Rig:
        rigs.append(Rig(kit, Timing(**{"patience": 0} | timing)))
        return rigs[-1]

    yield of
    for rig in rigs:
        await rig.dispatcher.stop()


def row(kind: str = "message", spec_id: str = ALICE_ID, generation: int = 1) -> Row:
    return Row(1, Incoming(Lane(BOT, ALICE), 1, kind, b"{}", spec_id, generation), 0)


@pytest.mark.parametrize(
    ("waiting", "route", "expired", "decision"),
    [
        (row(), READY, False, Deliver()),
        (row(spec_id=""), READY, False, Deliver()),
        (row(spec_id=BOB_ID), READY, False, Close("Relinked", None)),
        (row(generation=2), READY, False, Close("Relinked", None)),
        (row(), READY, True, Close("Expired", Text.NOT_DELIVERED)),
        (row(), Route(State.PREPARING, ALICE_ID, 1), False, Wait("Preparing")),
        (row(), Route(State.PREPARING), False, Wait("Preparing")),
        (row(), Route(State.UNKNOWN), False, Wait("DirectoryNotFresh")),
        (row(), Route(State.UNKNOWN), True, Close("Expired", Text.NOT_DELIVERED)),
        (row(spec_id=""), Route(State.NOT_LINKED), False, Close("NotLinked", Text.NOT_LINKED)),
        (row(), Route(State.NOT_LINKED), False, Close("NotLinked", Text.NOT_LINKED)),
        (row(), Route(State.AWAITING_PAYMENT, ALICE_ID, 1), False, Close("AwaitingPayment", Text.AWAITING_ACCOUNT)),
        (row(), Route(State.SUSPENDED, ALICE_ID, 1), False, Close("Suspended", Text.SUSPENDED)),
        (row(), Route(State.ENDED, ALICE_ID, 1), False, Close("Ended", Text.ENDED)),
        (row(), Route(State.STALLED, ALICE_ID, 1), False, Close("Stalled", Text.TROUBLE)),
    ],
)
def test_what_to_do_with_the_oldest_update(waiting: Row, route: Route, expired: bool, decision: object) -> None:
    assert decide(waiting, route, expired=expired) == decision


@pytest.mark.parametrize(
    ("status", "receipt", "outcome"),
    [
        (200, "durable", Outcome.DELIVERED),
        (200, None, Outcome.RETRY),
        (200, "queued", Outcome.RETRY),
        (202, "durable", Outcome.RETRY),
        (302, None, Outcome.RETRY),
        (400, None, Outcome.REFUSED),
        (401, None, Outcome.RETRY),
        (404, None, Outcome.RETRY),
        (413, None, Outcome.REFUSED),
        (429, None, Outcome.RETRY),
        (500, None, Outcome.RETRY),
        (503, None, Outcome.RETRY),
    ],
)
def test_only_200_with_the_durable_receipt_is_a_delivery(status: int, receipt: str | None, outcome: Outcome) -> None:
    assert judge(status, receipt).outcome is outcome


async def test_nothing_moves_before_the_directory_is_complete(make: Make, containers: dict[int, Container]) -> None:
    rig = make()
    await rig.put(message(1, ALICE))
    assert rig.dispatcher.busy == 0
    await rig.dispatcher.start()
    await rig.idle()
    assert containers[ALICE].accepted == [1]


async def test_a_chat_stays_in_order_while_its_container_fails(make: Make, containers: dict[int, Container]) -> None:
    rig = make()
    await rig.dispatcher.start()
    alice, bob = containers[ALICE], containers[BOB]
    alice.script = [(503, None), (200, None), (401, None)]
    for update_id in (1, 2, 3):
        await rig.put(message(update_id, ALICE))
        await rig.put(message(update_id + 100, BOB))
    await rig.idle()
    assert alice.accepted == [1, 2, 3]
    assert [update_id for update_id, _ in alice.seen] == [1, 1, 1, 1, 2, 3]
    assert bob.accepted == [101, 102, 103]
    secrets = dict(alice.seen + bob.seen)
    assert secrets[1] == rig.kit.webhook_ring.derive("nbhd", ALICE_ID, 1)
    assert secrets[101] == rig.kit.webhook_ring.derive("nbhd", BOB_ID, 1)
    assert await rig.kit.spool.recover() == []


async def test_while_credentials_rotate_the_old_ones_are_tried_at_once(
    make: Make, containers: dict[int, Container]
) -> None:
    rig = make()
    await rig.dispatcher.start()
    alice = containers[ALICE]
    rig.kit.directory.set(tenant(ALICE_ID, ALICE, endpoint=alice.url, version=2, previous=1, resource_version=3))
    alice.script = [(401, None)]
    await rig.put(message(1, ALICE))
    await rig.idle()
    derive = rig.kit.webhook_ring.derive
    assert alice.seen == [(1, derive("nbhd", ALICE_ID, 2)), (1, derive("nbhd", ALICE_ID, 1))]


async def test_one_update_of_a_chat_is_in_flight_and_other_chats_go_on(
    make: Make, containers: dict[int, Container]
) -> None:
    rig = make()
    await rig.dispatcher.start()
    alice, bob = containers[ALICE], containers[BOB]
    alice.gate.clear()
    for update_id in (1, 2, 3):
        await rig.put(message(update_id, ALICE))
    await rig.kit.until(lambda: len(alice.seen) == 1)
    await rig.put(message(101, BOB))
    await rig.kit.until(lambda: bob.accepted == [101])
    assert len(alice.seen) == 1
    alice.gate.set()
    await rig.idle()
    assert alice.accepted == [1, 2, 3]


async def test_a_poisonous_update_is_given_up_and_the_next_one_delivered(
    make: Make, containers: dict[int, Container]
) -> None:
    rig = make()
    await rig.dispatcher.start()
    containers[ALICE].script = [(400, None)] * 3
    await rig.put(message(1, ALICE))
    await rig.put(message(2, ALICE))
    await rig.idle()
    assert containers[ALICE].accepted == [2]
    assert rig.kit.api.said(ALICE) == [TEXTS.say(Text.NOT_ACCEPTED)]


async def test_a_message_that_waits_too_long_is_given_up_with_a_notice(
    make: Make, kit: Kit, containers: dict[int, Container]
) -> None:
    rig = make()
    await rig.dispatcher.start()
    kit.directory.set(tenant(ALICE_ID, ALICE, endpoint="http://127.0.0.1:9", resource_version=3))
    await rig.put(message(1, ALICE))
    await kit.until(lambda: kit.count("attempts", outcome="retry", reason="ClientConnectorError") > 0)
    rig.ahead = 601
    rig.dispatcher.changed(ALICE)
    await rig.idle()
    assert kit.api.said(ALICE) == [TEXTS.say(Text.NOT_DELIVERED)]
    kit.directory.set(tenant(ALICE_ID, ALICE, endpoint=containers[ALICE].url, resource_version=4))
    rig.ahead = 0
    await rig.put(message(2, ALICE))
    await rig.idle()
    assert containers[ALICE].accepted == [2]


async def test_the_time_that_the_router_was_down_does_not_count(make: Make, containers: dict[int, Container]) -> None:
    rig = make()
    await rig.put(message(1, ALICE))
    await rig.put(button(2, ALICE, "x"))
    rig.ahead = 3600
    await rig.dispatcher.start()
    await rig.idle()
    assert containers[ALICE].accepted == [1]  # but nothing can revive a button


async def test_a_waiting_chat_goes_on_as_soon_as_its_tenant_is_ready(
    make: Make, kit: Kit, containers: dict[int, Container]
) -> None:
    rig = make()
    kit.directory.set(tenant(ALICE_ID, ALICE, resource_version=3))
    await rig.dispatcher.start()
    await rig.put(message(1, ALICE))
    await kit.until(lambda: rig.dispatcher.busy == 1)
    kit.directory.set(tenant(ALICE_ID, ALICE, endpoint=containers[ALICE].url, resource_version=4))
    await rig.idle()
    assert containers[ALICE].accepted == [1]
    assert kit.api.calls == []  # it was quick: nothing to say


async def test_a_chat_that_waits_sees_typing_and_one_sentence(
    make: Make, kit: Kit, containers: dict[int, Container]
) -> None:
    rig = make(typing_after=0.02, typing_every=0.02, text_after=0.05)
    await rig.dispatcher.start()
    containers[ALICE].gate.clear()
    await rig.put(message(1, ALICE))
    await kit.until(lambda: kit.api.count("sendChatAction") > 4)
    containers[ALICE].gate.set()
    await rig.idle()
    assert kit.api.said(ALICE) == [TEXTS.say(Text.WAKING)]


async def test_a_sleeper_that_takes_long_gets_the_message_once_and_the_chat_is_told_once(
    make: Make, kit: Kit, containers: dict[int, Container], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nbhd_router.dispatch._BACKOFF", (0.02,))
    rig = make(typing_after=0.01, typing_every=0.02, text_after=0.05)
    await rig.dispatcher.start()
    kit.directory.set(tenant(ALICE_ID, ALICE, endpoint="http://127.0.0.1:9", resource_version=3))
    await rig.put(message(1, ALICE))
    await rig.put(message(2, ALICE))
    await kit.until(lambda: kit.count("attempts", outcome="retry", reason="ClientConnectorError") > 2)
    containers[ALICE].script = [(503, None), (404, None), (502, None), (200, None)]
    kit.directory.set(tenant(ALICE_ID, ALICE, endpoint=containers[ALICE].url, resource_version=4))
    await kit.until(lambda: len(containers[ALICE].seen) >= 3)
    await rig.idle()
    assert containers[ALICE].accepted == [1, 2]
    assert kit.api.said(ALICE) == [TEXTS.say(Text.WAKING)]
    assert kit.api.count("sendChatAction") > 1


async def test_a_clock_that_jumps_while_a_message_waits_loses_nothing(
    make: Make, kit: Kit, containers: dict[int, Container]
) -> None:
    rig = make(patience=60)
    await rig.dispatcher.start()
    kit.directory.set(tenant(ALICE_ID, ALICE, resource_version=3))
    await rig.put(message(1, ALICE))
    for ahead in (8 * 86400, -8 * 86400, 86400):
        rig.ahead = ahead
        rig.dispatcher.changed(ALICE)
    kit.directory.set(tenant(ALICE_ID, ALICE, endpoint=containers[ALICE].url, resource_version=4))
    await rig.idle()
    assert containers[ALICE].accepted == [1]
    assert kit.api.calls == []


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (None, Text.NOT_LINKED),
        (tenant(ALICE_ID, ALICE, state="Suspended", resource_version=3), Text.SUSPENDED),
        (tenant(ALICE_ID, ALICE, state="Ended", resource_version=3), Text.ENDED),
        (tenant(ALICE_ID, ALICE, state="Pending", resource_version=3), Text.AWAITING_ACCOUNT),
    ],
)
async def test_who_cannot_be_served_is_told_once(make: Make, kit: Kit, found: Any, text: Text) -> None:
    rig = make()
    await rig.dispatcher.start()
    if found is None:
        kit.directory.delete(tenant(ALICE_ID, ALICE))
    else:
        kit.directory.set(found)
    for update_id in (1, 2, 3):
        await rig.put(message(update_id, ALICE))
    await rig.put(button(4, ALICE, "x"))
    await rig.put({"update_id": 5, "edited_message": message(5, ALICE)["message"]})
    await rig.put(message(6, -77, kind="group"))
    await rig.idle()
    assert kit.api.said(ALICE) == [TEXTS.say(text)]
    assert kit.api.said(-77) == []
    assert kit.api.count("answerCallbackQuery") == 1


async def test_trouble_is_news_again_after_things_went_well(
    make: Make, kit: Kit, containers: dict[int, Container]
) -> None:
    rig = make()
    await rig.dispatcher.start()
    for step, state in enumerate(("Suspended", "Active", "Suspended")):
        kit.directory.set(
            tenant(ALICE_ID, ALICE, state=state, endpoint=containers[ALICE].url, resource_version=10 + step)
        )
        await rig.put(message(step, ALICE))
        await rig.idle()
    assert kit.api.said(ALICE) == [TEXTS.say(Text.SUSPENDED)] * 2


async def test_a_miss_in_a_stale_directory_is_not_answered(make: Make, kit: Kit) -> None:
    fresh = False
    kit.directory.fresh = lambda: fresh
    rig = make(typing_after=60)
    await rig.dispatcher.start()
    await rig.put(message(1, 5555))
    await rig.put(message(1_000, ALICE, "x"))
    await kit.until(lambda: rig.dispatcher.busy == 2)
    assert kit.api.calls == []
    fresh = True
    await kit.until(lambda: kit.api.said(5555) == [TEXTS.say(Text.NOT_LINKED)])


async def test_a_known_chat_is_served_from_a_stale_directory(
    make: Make, kit: Kit, containers: dict[int, Container]
) -> None:
    kit.directory.fresh = lambda: False  # the API server is away
    rig = make()
    await rig.dispatcher.start()
    await rig.put(message(1, ALICE))
    await rig.idle()
    assert containers[ALICE].accepted == [1]


async def test_what_was_written_to_one_assistant_never_reaches_the_next_owner(
    make: Make, kit: Kit, containers: dict[int, Container]
) -> None:
    rig = make()
    await rig.put(message(1, ALICE))
    kit.directory.delete(tenant(ALICE_ID, ALICE))
    kit.directory.set(tenant("carolccccccccccccccc", ALICE, endpoint=containers[ALICE].url))
    await rig.dispatcher.start()
    await rig.put(message(2, ALICE))
    await rig.idle()
    assert containers[ALICE].accepted == [2]


async def test_ids_are_granted_before_the_container_can_ask(
    make: Make, kit: Kit, containers: dict[int, Container]
) -> None:
    rig = make()
    await rig.dispatcher.start()
    containers[ALICE].gate.clear()
    photo = message(1, ALICE)
    photo["message"]["photo"] = [{"file_id": "small", "file_unique_id": "u"}, {"file_id": "big"}]
    photo["message"]["reply_to_message"] = {"document": {"file_id": "quoted", "thumbnail": {"file_id": "thumb"}}}
    await rig.put(photo)
    await kit.until(lambda: len(containers[ALICE].seen) == 1)
    for file_id in ("small", "big", "quoted", "thumb"):
        assert await kit.grants.holds(ALICE_ID, "file", file_id)
        assert not await kit.grants.holds(BOB_ID, "file", file_id)
    assert not await kit.grants.holds(ALICE_ID, "file", "u")
    assert not await kit.grants.holds(ALICE_ID, "path", "big")
    containers[ALICE].gate.set()
    await rig.put(button(2, ALICE, "x"))
    await rig.idle()
    assert await kit.grants.holds(ALICE_ID, "callback", "q2")


async def test_our_own_answers_do_not_wait_behind_the_container(
    make: Make, kit: Kit, containers: dict[int, Container]
) -> None:
    rig = make()
    await rig.dispatcher.start()
    containers[ALICE].gate.clear()
    await rig.put(message(1, ALICE))
    own = Lane(BOT, ALICE, own=True)
    rig.own_errors = [TryLaterError("x"), TelegramError("sendMessage", 0, "x")]
    await rig.put(message(2, ALICE, "/help"), lane=own)
    await rig.put(message(3, ALICE, "/help"), lane=own)
    await kit.until(lambda: [update["update_id"] for update in rig.own] == [2, 3])
    containers[ALICE].gate.set()
    await rig.idle()


async def test_an_answer_that_telegram_refuses_is_given_up(make: Make) -> None:
    rig = make()
    await rig.dispatcher.start()
    rig.own_errors = [TelegramError("sendMessage", 403, "blocked")]
    own = Lane(BOT, ALICE, own=True)
    await rig.put(message(1, ALICE, "/help"), lane=own)
    await rig.put(message(2, ALICE, "/help"), lane=own)
    await rig.idle()
    assert [update["update_id"] for update in rig.own] == [2]


@given(
    order=st.lists(st.tuples(st.sampled_from([ALICE, BOB]), st.integers(1, 12)), min_size=1, max_size=30),
    faults=st.lists(st.sampled_from([(503, None), (200, None), (200, "durable")]), max_size=4),
)
@settings(max_examples=15)
def test_each_chat_gets_each_update_once_in_order_of_arrival(
    order: list[tuple[int, int]], faults: list[tuple[int, str | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    asyncio.run(_property(order, faults, tmp_path_factory))


async def _property(
    order: list[tuple[int, int]], faults: list[tuple[int, str | None]], paths: pytest.TempPathFactory
) -> None:
    from .conftest import containers as with_containers
    from .conftest import kit as with_kit

    kits = with_kit.__wrapped__(paths.mktemp("property"))  # type: ignore[attr-defined] # the function under the fixture
    kit = await anext(kits)
    running = with_containers.__wrapped__(kit)  # type: ignore[attr-defined] # as above
    found: dict[int, Container] = await anext(running)
    found[ALICE].script = list(faults)
    rig = Rig(kit, Timing())
    await rig.dispatcher.start()
    wanted: dict[int, list[int]] = {ALICE: [], BOB: []}
    for chat, number in order:
        update_id = number * 10 + (chat == BOB)
        await rig.put(message(update_id, chat))
        if update_id not in wanted[chat]:
            wanted[chat].append(update_id)
    while rig.dispatcher.busy:
        rig.dispatcher.changed(ALICE)  # do not wait for a back-off
        await asyncio.sleep(0.002)
    assert {chat: found[chat].accepted for chat in found} == wanted
    await rig.dispatcher.stop()
    await anext(running, None)
    await anext(kits, None)
