"""Each turn in a subscription's life is told to its chat, once; a kill may repeat a sentence but never loses one."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbhd_router.announcements import Announcer, Entry, Topic, due, over
from nbhd_router.directory import TenantView
from nbhd_router.texts import Text, Texts

from .conftest import ALICE, ALICE_ID, BOB, BOB_ID, LINK, Asked, Kit, tenant

NOW = datetime.datetime(2026, 11, 25, 12, tzinfo=datetime.UTC)
LAPSE, DEADLINE, END, KEPT = (f"2026-{day}T08:00:00Z" for day in ("11-24", "12-01", "12-24", "12-31"))
NEXT_LAPSE = "2027-02-24T08:00:00Z"
TEXTS = Texts(LINK)


def alice(state: str, version: int = 2, *, uid: str = "", chat: int = ALICE, **more: Any) -> TenantView:
    return tenant(ALICE_ID, chat, state=state, resource_version=version, uid=uid, **more)


GRACE: dict[str, Any] = {"state": "Grace", "until": DEADLINE, "billing": {"graceSince": LAPSE}}
PAUSED: dict[str, Any] = {"state": "Suspended", "billing": {"graceSince": LAPSE}}
ENDING: dict[str, Any] = {"state": "Active", "billing": {"cancelAt": END}}
ENDED: dict[str, Any] = {"state": "Ended", "until": KEPT, "billing": {"endedAt": END}}


class Life:
    """An announcer over the kit's directory that can be killed and started again on the same file."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.version = 10
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        announcer = Announcer(self.kit.database, self.kit.directory, self.kit.notices, clock=lambda: NOW)
        self.kit.directory.changed = announcer.changed
        for chat in (ALICE, BOB):
            announcer.changed(chat)  # as the watch's first list does
        self.task = asyncio.create_task(announcer.run())

    async def kill(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task

    async def becomes(self, state: str, **more: Any) -> None:
        self.version += 1
        self.kit.directory.set(alice(state, self.version, **more))

    async def heard(self, *texts: Text) -> None:
        """Waits for all that Alice should have heard so far, then a moment for what she should not."""
        await self.kit.until(lambda: len(self.kit.api.said(ALICE)) >= len(texts))
        await asyncio.sleep(0.02)  # nothing tells that nothing more comes
        known = {TEXTS.say(text, until=until): text.name for text in Text for until in (None, *DATES)}
        assert [known[said] for said in self.kit.api.said(ALICE)] == [text.name for text in texts]

    async def rows(self) -> list[tuple[Any, ...]]:
        return await self.kit.database.run(
            lambda sql: sql.execute("SELECT state, text, said FROM announced ORDER BY topic DESC").fetchall()
        )


DATES = [datetime.datetime.fromisoformat(moment) for moment in (LAPSE, DEADLINE, END, KEPT)]


@pytest.fixture
async def life(kit: Kit) -> AsyncIterator[Life]:
    made = Life(kit)
    yield made
    await made.kill()


async def test_the_whole_life_of_a_subscription(life: Life) -> None:
    await life.start()
    await life.heard()
    await life.becomes(**GRACE)
    await life.heard(Text.GRACE)
    await life.becomes(**PAUSED)
    await life.heard(Text.GRACE, Text.PAUSED)
    await life.becomes("Active")
    await life.heard(Text.GRACE, Text.PAUSED, Text.RESUMED)
    assert await life.rows() == []
    await life.becomes(**ENDING)
    await life.heard(Text.GRACE, Text.PAUSED, Text.RESUMED, Text.ENDING)
    await life.becomes(**ENDED)
    await life.heard(Text.GRACE, Text.PAUSED, Text.RESUMED, Text.ENDING, Text.CLOSED)
    await life.becomes("Active")
    await life.heard(Text.GRACE, Text.PAUSED, Text.RESUMED, Text.ENDING, Text.CLOSED, Text.WELCOME_AGAIN)
    assert "1 December 2026" in life.kit.api.said(ALICE)[0]
    assert "24 December 2026" in life.kit.api.said(ALICE)[3]
    assert "31 December 2026" in life.kit.api.said(ALICE)[4]
    assert life.kit.api.said(BOB) == []


async def test_each_is_said_once_however_often_the_tenant_changes_and_the_router_restarts(life: Life) -> None:
    await life.start()
    for _ in range(3):
        await life.becomes(**GRACE)
    await life.heard(Text.GRACE)
    for _ in range(2):
        await life.kill()
        await life.start()
        await life.becomes(**GRACE)
    await life.becomes("Grace", until=DEADLINE, billing={})  # billing is ahead of the operator
    await life.heard(Text.GRACE)
    await life.becomes("Suspended", billing={})  # unpaid now: a fact less, but the same lapse
    await life.heard(Text.GRACE, Text.PAUSED)
    await life.kill()
    await life.start()
    await life.becomes(**PAUSED)
    await life.heard(Text.GRACE, Text.PAUSED)


async def test_a_lapse_that_ends_in_time_and_a_new_one(life: Life) -> None:
    await life.start()
    await life.becomes(**GRACE)
    await life.heard(Text.GRACE)
    await life.becomes("Active")
    await life.heard(Text.GRACE, Text.SETTLED)
    await life.becomes(**GRACE)
    await life.heard(Text.GRACE, Text.SETTLED, Text.GRACE)
    await life.kill()  # the return is missed
    await life.start()
    await life.becomes("Grace", until=DEADLINE, billing={"graceSince": NEXT_LAPSE})
    await life.heard(Text.GRACE, Text.SETTLED, Text.GRACE, Text.GRACE)


async def test_what_happened_while_the_router_was_down_is_told(life: Life) -> None:
    await life.start()
    await life.becomes(**GRACE)
    await life.heard(Text.GRACE)
    await life.kill()
    await life.becomes("Active")
    await life.start()
    await life.heard(Text.GRACE, Text.SETTLED)


async def test_nothing_is_told_before_the_directory_is_complete(life: Life) -> None:
    await life.becomes(**GRACE)
    assert life.kit.api.calls == []
    await life.start()
    await life.heard(Text.GRACE)


async def test_a_kill_between_sending_and_the_record_repeats_the_sentence_and_loses_nothing(life: Life) -> None:
    kit, sent = life.kit, asyncio.Event()
    real = kit.notices.answer

    async def send_and_hang(*args: Any, **more: Any) -> None:
        await real(*args, **more)
        sent.set()
        await asyncio.Event().wait()

    kit.notices.answer = send_and_hang  # type: ignore[method-assign]
    await life.start()
    await life.becomes(**GRACE)
    await sent.wait()
    assert await life.rows() == [("Grace", "GRACE", 0)]
    await life.kill()
    kit.notices.answer = real  # type: ignore[method-assign]
    await life.start()
    await life.heard(Text.GRACE, Text.GRACE)
    assert await life.rows() == [("Grace", "GRACE", 1)]


async def test_a_return_that_was_intended_is_still_told_after_a_kill(life: Life) -> None:
    await life.start()
    await life.becomes(**PAUSED)
    await life.heard(Text.PAUSED)
    await life.kill()
    await life.kit.database.run(lambda sql: sql.execute("UPDATE announced SET state='Active', text='RESUMED', said=0"))
    await life.becomes("Active")
    await life.start()
    await life.heard(Text.PAUSED, Text.RESUMED)
    assert await life.rows() == []


async def test_it_waits_for_telegram_and_gives_up_on_who_blocked_the_bot(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nbhd_router.announcements._BACKOFF", (0.01,))
    kit = life.kit
    answers = [(500, {"ok": False, "error_code": 500, "description": "x"})] * 3
    kit.api.answer = lambda _: answers.pop() if answers else (200, {"ok": True, "result": True})
    await life.start()
    await life.becomes(**GRACE)
    await kit.until(lambda: kit.api.count("sendMessage") == 4)

    def blocked(asked: Asked) -> tuple[int, dict[str, Any]]:
        mine = str(asked.params.get("chat_id")) == str(ALICE)
        return (403, {"ok": False, "error_code": 403, "description": "x"}) if mine else (200, {"ok": True})

    kit.api.answer = blocked
    await life.becomes(**PAUSED)
    kit.directory.set(tenant(BOB_ID, BOB, state="Suspended", resource_version=5))
    await kit.until(lambda: kit.api.said(BOB) == [TEXTS.say(Text.PAUSED)])
    assert kit.api.count("sendMessage") == 6


async def test_only_the_chat_that_is_theirs_is_told(life: Life) -> None:
    kit = life.kit
    await life.start()
    kit.directory.set(tenant("carolccccccccccccccc", ALICE, state="Suspended", served=False))
    kit.directory.set(tenant("davedddddddddddddddd", None, state="Suspended"))
    await life.becomes(**GRACE)
    await life.heard(Text.GRACE)  # the chat is Alice's: the other claim is not confirmed


async def test_what_was_told_to_a_tenant_that_is_gone_is_forgotten(life: Life) -> None:
    await life.start()
    await life.becomes(**PAUSED)
    await life.heard(Text.PAUSED)
    await life.kill()
    life.kit.directory.delete(alice("Suspended"))
    await life.start()
    life.kit.directory.set(alice("Suspended", uid="uid-of-the-next"))
    await life.heard(Text.PAUSED, Text.PAUSED)
    assert len(await life.rows()) == 1


@pytest.mark.parametrize(
    ("found", "texts"),
    [
        (alice("Pending"), []),
        (alice("Active"), []),
        (tenant(ALICE_ID, ALICE, state=None), []),
        (alice(**ENDED, deleting=True), []),
        (alice("Grace"), [Text.GRACE]),
        (alice("Ended", until=LAPSE, billing={"endedAt": LAPSE}), [Text.CLOSED_FOR_GOOD]),
        (alice("Ended"), []),  # not confirmed yet
        (alice("Ended", until=END), [Text.CLOSED]),
        (alice("Ended", reason="RetentionOver"), [Text.CLOSED_FOR_GOOD]),
        (alice("Grace", billing={"graceSince": LAPSE, "cancelAt": END}), [Text.GRACE, Text.ENDING]),
        (alice("Suspended", billing={"cancelAt": END}), [Text.PAUSED]),
        (alice("Active", reason="Complimentary", billing={"cancelAt": END}), []),
    ],
)
def test_what_a_chat_is_told_at_first_sight(found: TenantView, texts: list[Text]) -> None:
    assert [announcement.entry.text for announcement in due(found, {}, NOW)] == texts


states = st.sampled_from(["Pending", "Active", "Grace", "Suspended", "Ended"])
moments = st.sampled_from([None, LAPSE, NEXT_LAPSE])


@given(st.lists(st.tuples(states, moments, moments), max_size=12))
def test_after_it_was_said_there_is_nothing_more_to_say(turns: list[tuple[str, str | None, str | None]]) -> None:
    told: dict[Topic, Entry] = {}
    for state, since, cancel in turns:
        billing = {key: value for key, value in (("graceSince", since), ("cancelAt", cancel)) if value}
        found = alice(state, billing=billing)
        for said in due(found, told, NOW):
            told[said.topic] = Entry(said.entry.state, said.entry.since, said.entry.text, said=True)
        for topic in list(over(found, told)):
            del told[topic]
        assert list(due(found, told, NOW)) == []
        assert list(over(found, told)) == []
        if state == "Active":
            assert "service" not in told
