"""Connecting a chat: only with a fresh link of ours, by the person who was asked, once."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from kubernetes.aio.client.exceptions import ApiException

from nbhd_crds.api.tenant import Tenant
from nbhd_crds.client import ChangedError, GoneError
from nbhd_crds.identity import Keyring, Link, LinkError, account_code, mint_link
from nbhd_router import confirmation
from nbhd_router.commands import Commands
from nbhd_router.directory import State, TenantView
from nbhd_router.errors import TryLaterError
from nbhd_router.linking import TRIES, Linking, Reply
from nbhd_router.texts import Text, Texts

from .conftest import ALICE, ALICE_ID, BOB, BOB_ID, LINK, Kit, button, message, tenant

CAROL, CAROL_ID = 1003, "carolccccccccccccccc"
CODE = account_code(CAROL_ID)
TEXTS = Texts(LINK)


class Store:
    """The API server's part: one Tenant, and errors on demand."""

    def __init__(self, found: Tenant | None) -> None:
        self.found = found
        self.errors: list[Exception] = []
        self.applied: list[tuple[str, Any, str]] = []

    async def get(self, namespace: str, name: str) -> Tenant | None:
        assert (namespace, name) == ("tenants", CAROL_ID)
        return self.found

    async def apply_part(self, seen: Tenant, part: str, value: Any, manager: str) -> Tenant:
        if self.errors:
            raise self.errors.pop(0)
        self.applied.append((part, value, manager))
        raw = seen.wire()
        raw["spec"][part] = value
        raw["metadata"]["resourceVersion"] = "50"
        self.found = Tenant.parse(raw)
        return self.found


def as_object(seen: TenantView) -> Tenant:
    """What the API server holds for a view."""
    raw: dict[str, Any] = {
        "metadata": {
            "name": seen.metadata.name,
            "namespace": seen.metadata.namespace,
            "uid": seen.metadata.uid,
            "resourceVersion": seen.metadata.resource_version,
        },
        "spec": {"id": seen.spec.id},
        "status": {},
    }
    if seen.deleting:
        raw["metadata"]["deletionTimestamp"] = seen.metadata.deletion_timestamp
    if seen.spec.telegram:
        linked = seen.spec.telegram
        raw["spec"]["telegram"] = {"chatId": linked.chat_id, "userId": linked.user_id, "generation": linked.generation}
    if seen.status.entitlement:
        raw["status"]["entitlement"] = {"state": seen.status.entitlement.state, "reason": "Test"}
    return Tenant.parse(raw)


class Dialogue:
    """Carol's account, its links, and a person who opens them."""

    def __init__(self, kit: Kit, carol: TenantView | None = None) -> None:
        self.kit = kit
        carol = carol or tenant(CAROL_ID, None)
        kit.directory.set(carol)
        self.store = Store(as_object(carol))
        self.now = kit.now
        self.linking = Linking(kit.link_ring, "nbhd", kit.directory, self.store, clock=lambda: self.now)

    def token(self, generation: int = 0, spec_id: str = CAROL_ID) -> str:
        return mint_link(self.kit.link_ring, "nbhd", spec_id, generation, self.kit.now)

    def open(self, generation: int = 0, chat: int = CAROL) -> Reply:
        return self.linking.open(self.token(generation), chat, chat)


async def test_a_link_is_opened_confirmed_and_spent(kit: Kit) -> None:
    dialogue = Dialogue(kit)
    asked = dialogue.open()
    assert (asked.text, asked.account) == (Text.CONFIRM, CODE)
    assert len(asked.confirm) <= 64
    assert dialogue.store.applied == []
    assert await dialogue.linking.confirm(asked.confirm, CAROL, CAROL) == Reply(Text.CONNECTED, CODE)
    assert dialogue.store.applied == [("telegram", {"chatId": CAROL, "userId": CAROL, "generation": 1}, "nbhd-router")]
    assert kit.directory.route(CAROL).spec_id == CAROL_ID
    assert dialogue.open().text is Text.ALREADY_CONNECTED
    assert dialogue.open(chat=5).text is Text.LINK_USED
    # Pressed again, or repeated after a restart: it says the same and writes nothing.
    assert (await dialogue.linking.confirm(asked.confirm, CAROL, CAROL)).text is Text.CONNECTED
    assert len(dialogue.store.applied) == 1


async def test_of_two_who_open_one_link_one_connects(kit: Kit) -> None:
    dialogue = Dialogue(kit)
    first, second = dialogue.open(), dialogue.open(chat=5)
    assert (await dialogue.linking.confirm(first.confirm, CAROL, CAROL)).text is Text.CONNECTED
    assert (await dialogue.linking.confirm(second.confirm, 5, 5)).text is Text.LINK_USED
    assert kit.directory.route(5).state is State.NOT_LINKED


async def test_only_who_was_asked_can_press_the_button(kit: Kit) -> None:
    dialogue = Dialogue(kit)
    asked = dialogue.open()
    assert (await dialogue.linking.confirm(asked.confirm, 5, 5)).text is Text.LINK_OTHER_PERSON
    assert dialogue.store.applied == []


async def test_links_and_buttons_expire(kit: Kit) -> None:
    dialogue = Dialogue(kit)
    asked = dialogue.open()
    dialogue.now += datetime.timedelta(minutes=15)
    assert dialogue.open().text is Text.LINK_EXPIRED
    assert (await dialogue.linking.confirm(asked.confirm, CAROL, CAROL)).text is Text.LINK_EXPIRED


@pytest.mark.parametrize("data", ["nbhd1", "nbhd1!!!", "nbhd2abc", "nbhd", "nbhd1" + "A" * 59, "nbhd1ü"])
async def test_a_button_that_is_not_ours(kit: Kit, data: str) -> None:
    dialogue = Dialogue(kit)
    reply = await dialogue.linking.confirm(data, CAROL, CAROL)
    assert reply.text in (Text.LINK_BROKEN, Text.LINK_OTHER_PERSON)
    assert dialogue.store.applied == []


def test_every_changed_character_of_a_button_is_noticed(kit: Kit) -> None:
    link = Link(CAROL_ID, 3, kit.now + datetime.timedelta(minutes=1))
    data = confirmation.mint(kit.link_ring, "nbhd", link, CAROL)
    assert confirmation.read(kit.link_ring, "nbhd", data, CAROL, kit.now) == link
    for place in range(5, len(data) - 1):
        other = data[:place] + ("A" if data[place] != "A" else "B") + data[place + 1 :]
        with pytest.raises(LinkError):
            confirmation.read(kit.link_ring, "nbhd", other, CAROL, kit.now)
    for ring, platform in ((Keyring("link", {"k1": b"x" * 32}), "nbhd"), (kit.link_ring, "other")):
        with pytest.raises(LinkError):
            confirmation.read(ring, platform, data, CAROL, kit.now)
    rotated = Keyring("link", {"k2": b"x" * 32, **kit.link_ring.keys})
    assert confirmation.read(rotated, "nbhd", data, CAROL, kit.now) == link


def test_links_that_do_not_count(kit: Kit) -> None:
    dialogue = Dialogue(kit)
    token = dialogue.token()
    foreign = mint_link(Keyring("link", {"k1": b"x" * 32}), "nbhd", CAROL_ID, 0, kit.now)
    unknown = dialogue.token(spec_id="nobodynobodynobody")
    for given, text in (
        ("rubbish", Text.LINK_BROKEN),
        (token[:-2], Text.LINK_BROKEN),
        (foreign, Text.LINK_BROKEN),
        (unknown, Text.LINK_NO_ACCOUNT),
    ):
        assert dialogue.linking.open(given, CAROL, CAROL).text is text
    assert dialogue.open(generation=1).text is Text.LINK_USED


def test_guessing_is_limited_per_user(kit: Kit) -> None:
    dialogue = Dialogue(kit)
    for _ in range(TRIES):
        assert dialogue.linking.open("guess", CAROL, CAROL).text is Text.LINK_BROKEN
    assert dialogue.open().text is Text.TOO_MANY_TRIES
    assert dialogue.open(chat=5).text is Text.CONFIRM
    dialogue.now += datetime.timedelta(seconds=601)
    assert dialogue.open().text is Text.CONFIRM


async def test_a_chat_with_another_account_is_refused(kit: Kit) -> None:
    dialogue = Dialogue(kit)
    assert dialogue.open(chat=ALICE) == Reply(Text.CHAT_TAKEN, account_code(ALICE_ID))
    asked = dialogue.open()
    kit.directory.set(tenant(BOB_ID, CAROL, resource_version=2))
    assert (await dialogue.linking.confirm(asked.confirm, CAROL, CAROL)).text is Text.CHAT_TAKEN
    kit.directory.set(tenant(BOB_ID, CAROL, resource_version=3, deleting=True))
    assert (await dialogue.linking.confirm(asked.confirm, CAROL, CAROL)).text is Text.CONNECTED


async def test_an_account_can_move_to_another_chat(kit: Kit) -> None:
    dialogue = Dialogue(kit, tenant(CAROL_ID, 77, generation=4))
    asked = dialogue.open(generation=4)
    assert (await dialogue.linking.confirm(asked.confirm, CAROL, CAROL)).text is Text.CONNECTED
    assert dialogue.store.applied[0][1]["generation"] == 5
    assert kit.directory.route(77).state is State.NOT_LINKED


@pytest.mark.parametrize(
    ("carol", "text"),
    [
        (tenant(CAROL_ID, None, state="Pending"), Text.CONNECTED_INACTIVE),
        (tenant(CAROL_ID, None, state="Suspended"), Text.CONNECTED_INACTIVE),
        (tenant(CAROL_ID, None, state=None), Text.CONNECTED),
        (tenant(CAROL_ID, None, state="Grace"), Text.CONNECTED),
    ],
)
async def test_what_is_said_depends_on_the_account(kit: Kit, carol: TenantView, text: Text) -> None:
    dialogue = Dialogue(kit, carol)
    assert (await dialogue.linking.confirm(dialogue.open().confirm, CAROL, CAROL)).text is text


async def test_what_may_happen_between_asking_and_writing(kit: Kit) -> None:
    dialogue = Dialogue(kit)
    asked = dialogue.open()
    for error, text in ((ChangedError("telegram"), Text.LINK_USED), (GoneError("x"), Text.LINK_NO_ACCOUNT)):
        dialogue.store.errors = [error]
        assert (await dialogue.linking.confirm(asked.confirm, CAROL, CAROL)).text is text
    for outage in (ApiException(status=500), TimeoutError(), OSError()):
        dialogue.store.errors = [outage]
        with pytest.raises(TryLaterError):
            await dialogue.linking.confirm(asked.confirm, CAROL, CAROL)
    dialogue.store.found = as_object(tenant(CAROL_ID, None, deleting=True))
    assert (await dialogue.linking.confirm(asked.confirm, CAROL, CAROL)).text is Text.LINK_NO_ACCOUNT
    dialogue.store.found = as_object(tenant(CAROL_ID, 9, generation=1))
    assert (await dialogue.linking.confirm(asked.confirm, CAROL, CAROL)).text is Text.LINK_USED
    dialogue.store.found = as_object(tenant("anotheraccount", None))  # the name was given to somebody else
    assert (await dialogue.linking.confirm(asked.confirm, CAROL, CAROL)).text is Text.LINK_NO_ACCOUNT
    dialogue.store.found = None
    assert (await dialogue.linking.confirm(asked.confirm, CAROL, CAROL)).text is Text.LINK_NO_ACCOUNT
    assert dialogue.store.applied == []


def test_an_unknown_account_is_not_denied_by_a_stale_directory(kit: Kit) -> None:
    dialogue = Dialogue(kit)
    kit.directory.fresh = lambda: False
    with pytest.raises(TryLaterError):
        dialogue.linking.open(dialogue.token(spec_id="nobodynobodynobody"), CAROL, CAROL)
    assert dialogue.open().text is Text.CONFIRM


async def test_the_dialogue_in_the_chat(kit: Kit) -> None:
    dialogue = Dialogue(kit)
    commands = Commands(dialogue.linking, kit.directory, kit.notices)

    async def say(update: dict[str, Any]) -> None:
        await commands.answer(json.dumps(update).encode())

    await say(message(1, CAROL, f"/start {dialogue.token()}"))
    (asked,) = kit.api.calls
    assert asked.params["text"] == TEXTS.say(Text.CONFIRM, CODE)
    ((connect, decline),) = asked.params["reply_markup"]["inline_keyboard"]
    assert (connect["text"], decline["text"]) == ("Connect", "Not me")
    await say(button(2, CAROL, decline["callback_data"]))
    assert dialogue.store.applied == []
    await say(button(3, CAROL, connect["callback_data"]))
    assert [call.method for call in kit.api.calls] == [
        "sendMessage",
        *(["answerCallbackQuery", "editMessageReplyMarkup", "sendMessage"] * 2),
    ]
    assert kit.api.said(CAROL)[1:] == [TEXTS.say(Text.DECLINED), TEXTS.say(Text.CONNECTED, CODE)]
    await say(message(4, CAROL, "/start"))
    assert kit.api.said(CAROL)[-1] == TEXTS.say(Text.WELCOME_BACK, CODE)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("/start", Text.WELCOME),
        ("/help", Text.HELP),
        ("/paysupport", Text.SUPPORT),
        ("/terms", Text.TERMS),
        ("/privacy", Text.PRIVACY),
        ("/start nonsense", Text.LINK_BROKEN),
    ],
)
async def test_our_commands_are_answered_each_time(kit: Kit, text: str, answer: Text) -> None:
    commands = Commands(Dialogue(kit).linking, kit.directory, kit.notices)
    for _ in range(2):
        await commands.answer(json.dumps(message(1, 5, text)).encode())
    assert kit.api.said(5) == [TEXTS.say(answer)] * 2


async def test_groups_are_refused_politely_and_foreign_buttons_ignored(kit: Kit) -> None:
    dialogue = Dialogue(kit)
    commands = Commands(dialogue.linking, kit.directory, kit.notices)
    for _ in range(2):
        await commands.answer(json.dumps(message(1, -5, f"/start {dialogue.token()}", kind="group")).encode())
    assert kit.api.said(-5) == [TEXTS.say(Text.NO_GROUPS)]
    asked = dialogue.open(chat=5)
    await commands.answer(json.dumps(button(2, -5, asked.confirm, user=5)).encode())
    assert dialogue.store.applied == []
    assert kit.api.calls[-1].method == "answerCallbackQuery"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("Active", Text.WELCOME_BACK),
        ("Grace", Text.WELCOME_BACK),
        ("Suspended", Text.PAUSED),
        ("Ended", Text.ENDED),
        ("Pending", Text.AWAITING_ACCOUNT),
    ],
)
async def test_who_starts_again_hears_how_things_are(kit: Kit, state: str, text: Text) -> None:
    kit.directory.set(tenant(BOB_ID, BOB, state=state, resource_version=2))
    commands = Commands(Dialogue(kit).linking, kit.directory, kit.notices)
    await commands.answer(json.dumps(message(1, BOB, "/start")).encode())
    assert kit.api.said(BOB) == [TEXTS.say(text, account_code(BOB_ID))]


async def test_no_welcome_to_a_linked_chat_that_is_not_known_yet(kit: Kit) -> None:
    kit.directory.fresh = lambda: False
    commands = Commands(Dialogue(kit).linking, kit.directory, kit.notices)
    with pytest.raises(TryLaterError):
        await commands.answer(json.dumps(message(1, 5, "/start")).encode())
    await commands.answer(json.dumps(message(1, BOB, "/start")).encode())
    assert kit.api.said(BOB) == [TEXTS.say(Text.WELCOME_BACK, account_code(BOB_ID))]
