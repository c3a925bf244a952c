"""What the router tells a chat unasked, when the right to service changes: a lapse, a pause, a return, an end.

``directory`` says whose chat may have news, ``notices`` carries the sentence. Each is said at least once: the intent is
on disk before the sentence goes out, so no kill loses it, and a router that was killed between Telegram's answer and
the record of it says it once more. What was said is kept by the Tenant's uid, so a new lapse is news again.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from nbhd_router.database import Database
from nbhd_router.directory import Directory, TenantView
from nbhd_router.errors import DatabaseError, TelegramError
from nbhd_router.notices import Notices
from nbhd_router.texts import Text

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS announced (
    uid TEXT NOT NULL, topic TEXT NOT NULL, state TEXT NOT NULL, since TEXT NOT NULL, text TEXT NOT NULL,
    said INTEGER NOT NULL,  -- 0: intended
    PRIMARY KEY (uid, topic)
) WITHOUT ROWID;
"""

Topic = Literal["service", "end"]
_BACKOFF = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds; Telegram or the disk does not work for anybody then
_FINAL = (400, 403)  # such as a person who blocked the bot
_RETURNS = {"Grace": Text.SETTLED, "Suspended": Text.RESUMED, "Ended": Text.WELCOME_AGAIN}


@dataclass(frozen=True)
class Entry:
    """What a chat was told of a topic last, or is to be told. ``since`` tells one lapse from the next."""

    state: str
    since: str
    text: Text
    said: bool = False

    def covers(self, state: str, since: str) -> bool:
        """True if this is about that very moment; facts that name no moment do not make a new one."""
        return self.state == state and (self.since == since or not since or not self.since)


@dataclass(frozen=True)
class Announcement:
    """Something to say; ``until`` is the date in it."""

    topic: Topic
    entry: Entry
    until: datetime.datetime | None = None


def due(tenant: TenantView, told: Mapping[Topic, Entry], now: datetime.datetime) -> Iterator[Announcement]:
    """What the Tenant's chat has to be told, given what it was told before."""
    right = tenant.status.entitlement
    if right is None or tenant.deleting:
        return
    billing = tenant.spec.billing
    before = told.get("service")
    if right.state == "Active":
        if before is not None and before.state != "Active":
            yield Announcement("service", Entry("Active", "", _RETURNS[before.state]))
        elif before is not None and not before.said:
            yield Announcement("service", before)
    elif right.state == "Ended" and right.until is None and right.reason != "RetentionOver":
        return  # the end is not confirmed, so nobody can say yet until when the data is kept
    elif right.state in ("Grace", "Suspended", "Ended"):
        # Billing may be ahead of the operator: facts of a return, while the right still is that of the lapse.
        key = _key(billing.ended_at if right.state == "Ended" else billing.grace_since)
        text = {"Grace": Text.GRACE, "Suspended": Text.PAUSED, "Ended": Text.CLOSED}[right.state]
        if right.reason == "RetentionOver" or (right.state == "Ended" and right.until and right.until <= now):
            text = Text.CLOSED_FOR_GOOD
        if before is None or not before.covers(right.state, key):
            yield Announcement("service", Entry(right.state, key, text), right.until)
        elif not before.said:
            yield Announcement("service", before, right.until)

    if billing.cancel_at and tenant.entitled and right.reason != "Complimentary":
        entry = told.get("end")
        if entry is None or not entry.said or not entry.covers("Ending", _key(billing.cancel_at)):
            yield Announcement("end", Entry("Ending", _key(billing.cancel_at), Text.ENDING), billing.cancel_at)


def over(tenant: TenantView, told: Mapping[Topic, Entry]) -> Iterator[Topic]:
    """Topics that are settled: what was said of them no longer matters."""
    service = told.get("service")
    if service and service.state == "Active" and service.said:
        yield "service"
    if "end" in told and not tenant.spec.billing.cancel_at:
        yield "end"


def _key(moment: datetime.datetime | None) -> str:
    return moment.isoformat() if moment else ""


class Announcer:
    """One worker for all chats, which keeps to the bot's pace; ``changed`` may be called at any time."""

    def __init__(
        self, database: Database, directory: Directory, notices: Notices, *, clock: Callable[[], datetime.datetime]
    ) -> None:
        self._database = database
        self._directory = directory
        self._notices = notices
        self._clock = clock
        self._told: dict[str, dict[Topic, Entry]] = {}
        self._chats: dict[int, None] = {}  # a set that keeps the order
        self._news = asyncio.Event()

    def changed(self, chat: int) -> None:
        """There may be something to tell the chat."""
        self._chats[chat] = None
        self._news.set()

    async def run(self) -> None:
        """Runs until cancelled; to be started when the directory is complete."""
        failures = 0
        loaded = False
        while True:
            try:
                if not loaded:
                    await self._load()
                    loaded = True
                await self._news.wait()
                while self._chats:
                    chat = next(iter(self._chats))
                    del self._chats[chat]
                    await self._look(chat)
                    failures = 0
                    await asyncio.sleep(0)  # the first look is at everybody
                self._news.clear()
            except (TelegramError, DatabaseError) as error:
                pause = _BACKOFF[min(failures, len(_BACKOFF) - 1)]
                log.warning("announcement waits", extra={"error": str(error), "next_try_s": pause})
                failures += 1
                await asyncio.sleep(pause)

    async def _load(self) -> None:
        rows = await self._database.run(
            lambda sql: sql.execute("SELECT uid, topic, state, since, text, said FROM announced").fetchall()
        )
        gone = {uid for uid, *_ in rows if not self._directory.knows(uid)}
        await self._database.run(
            lambda sql: sql.executemany("DELETE FROM announced WHERE uid = ?", [(uid,) for uid in gone]).rowcount
        )
        for uid, topic, state, since, text, said in rows:
            if uid not in gone:
                self._told.setdefault(uid, {})[topic] = Entry(state, since, Text[text], bool(said))

    async def _look(self, chat: int) -> None:
        tenant = self._directory.owner(chat)
        if tenant is None:
            return
        uid = tenant.metadata.uid
        for announcement in due(tenant, self._told.get(uid, {}), self._clock()):
            try:
                await self._say(chat, tenant, announcement)
            except (TelegramError, DatabaseError):
                self.changed(chat)  # behind all others: its own trouble must not hold them up
                raise
        for topic in list(over(tenant, self._told.get(uid, {}))):
            await self._forget(uid, topic)

    async def _say(self, chat: int, tenant: TenantView, announcement: Announcement) -> None:
        uid, topic, entry = tenant.metadata.uid, announcement.topic, announcement.entry
        if self._told.get(uid, {}).get(topic) != entry:
            await self._record(uid, topic, entry)
        self._notices.forget(chat)  # whatever was said before, things are new now
        try:
            await self._notices.answer(chat, entry.text, until=announcement.until)
        except TelegramError as error:
            if error.code not in _FINAL:
                raise
            log.warning("announcement not possible", extra={"tenant": tenant.spec.id, "error": str(error)})
        log.info("announced", extra={"tenant": tenant.spec.id, "state": entry.state, "text": entry.text.name})
        said = Entry(entry.state, entry.since, entry.text, said=True)
        self._told[uid][topic] = said  # even if it cannot be recorded: this process does not say it again
        await self._record(uid, topic, said)

    async def _record(self, uid: str, topic: Topic, entry: Entry) -> None:
        values = (uid, topic, entry.state, entry.since, entry.text.name, entry.said)
        await self._database.run(
            lambda sql: sql.execute("INSERT OR REPLACE INTO announced VALUES (?, ?, ?, ?, ?, ?)", values).rowcount
        )
        self._told.setdefault(uid, {})[topic] = entry

    async def _forget(self, uid: str, topic: Topic) -> None:
        await self._database.run(
            lambda sql: sql.execute("DELETE FROM announced WHERE uid = ? AND topic = ?", (uid, topic)).rowcount
        )
        self._told[uid].pop(topic)
