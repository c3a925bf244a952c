"""Bad input at every edge: each gets its own clear answer, nothing is lost, no traceback, and the service goes on."""

from __future__ import annotations

import asyncio
import datetime
import io
import itertools
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from stripe import WebhookSignature

from nbhd_crds.api import Tenant
from nbhd_crds.identity import Keyring, bot_token, mint_link
from nbhd_local.people import Subscriber
from nbhd_local.telegram import User
from nbhd_local.waiting import eventually
from nbhd_local.wiring import BOT_ID, PLATFORM
from nbhd_local.world import World
from tests.e2e.conftest import StartWorld

GROUP = -1001


@dataclass
class Edges:
    """Every edge of a running world, for somebody who knows the addresses and sends what is wrong."""

    world: World
    http: aiohttp.ClientSession
    alice: Subscriber
    bob: Subscriber
    used_link: str
    _people: itertools.count[int] = field(default_factory=lambda: itertools.count(9001))

    async def send(self, method: str, url: str, **options: Any) -> str:
        """Status and body in one line."""
        async with self.http.request(method, url, allow_redirects=False, **options) as answer:
            return f"{answer.status} {' '.join((await answer.text()).split())}".strip()

    async def update(self, body: object, *, secret: str | None = "", **headers: str) -> str:
        """POSTs to the bot's webhook, as Telegram if no ``secret`` is given."""
        if secret is not None:
            headers["X-Telegram-Bot-Api-Secret-Token"] = secret or self.world.secrets.telegram_webhook
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.send("POST", self.world.telegram.webhook_url, data=io.BytesIO(data), headers=headers)

    async def bot(self, method: str, *, tenant: str = "", token: str = "", **options: Any) -> str:
        """Calls the Bot API as the tenant's container does, with its token if none is given."""
        keys = Keyring.parse("bot", self.world.secrets.keyrings["BOT"])
        token = token or bot_token(keys, BOT_ID, PLATFORM, self.alice.tenant, 1)
        root = self.world.operator.environment["NBHD_EGRESS_URL"]
        return await self.send("POST", f"{root}/{tenant or self.alice.tenant}/bot{token}/{method}", **options)

    async def event(self, body: object, *, secret: str = "", age: int = 0, signature: str | None = None) -> str:
        """POSTs to Stripe's webhook, signed by Stripe's own library."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if signature is None:
            at = int(self.world.clock().timestamp()) - age
            text, secret = data.decode(errors="replace"), secret or self.world.secrets.stripe_webhook
            signature = WebhookSignature.generate_signature_header(text, secret, timestamp=at)
        headers = {"Stripe-Signature": signature} if signature else {}
        return await self.send(
            "POST", f"{self.world.frontend_url}/stripe/webhook", data=io.BytesIO(data), headers=headers
        )

    async def page(self, path: str, method: str = "GET") -> str:
        return await self.send(method, self.world.frontend_url + path)

    def person(self) -> User:
        """Somebody new."""
        return self.world.telegram.user(next(self._people))

    async def hears(self, user: User, deed: Awaitable[object]) -> str:
        """What the bot says next to the user who does this."""
        seen = len(user.transcript)
        await deed
        line = await user.expect(lambda line: line.kind == "message" and line in user.transcript[seen:], timeout=20)
        return line.text

    async def start(self, token: str) -> str:
        user = self.person()
        return await self.hears(user, user.start(token))

    def link(self, spec_id: str = "", *, generation: int = 0, age: float = 0, ring: Keyring | None = None) -> str:
        ring = ring or Keyring.parse("link", self.world.secrets.keyrings["LINK"])
        now = self.world.clock() - datetime.timedelta(minutes=age)
        return mint_link(ring, PLATFORM, spec_id or self.alice.tenant, generation, now)

    async def tenant(self, **spec: Any) -> str:
        """What kubectl says to a Tenant."""
        document = {"apiVersion": "nbhd.united/v1alpha1", "kind": "Tenant", "metadata": {"name": "bad"}, "spec": spec}
        arguments = ("-n", self.world.namespace, "create", "-f", "-")
        done = await asyncio.to_thread(self.world.cluster.try_kubectl, *arguments, stdin=json.dumps(document))
        return done.stderr

    async def kubectl(self, *arguments: str) -> str:
        done = await asyncio.to_thread(self.world.cluster.try_kubectl, "-n", self.world.namespace, *arguments)
        return done.stderr

    def fresh_id(self) -> str:
        """A ``spec.id`` that nobody has."""
        return f"free{next(self._people)}0000"

    async def stripe(self, path: str, **form: str) -> Any:
        async with self.http.post(
            f"{self.world.stripe.api_url}{path}",
            data=form,
            headers={"Authorization": f"Bearer {self.world.stripe.secret_key}"},
            ssl=self.world.authority.client_context(),
        ) as answer:
            return await answer.json()


def event(kind: str = "customer.subscription.updated", **changes: Any) -> dict[str, Any]:
    about = {"object": "subscription", "id": "sub_1", "customer": "cus_unknown1"}
    return {"id": "evt_1", "object": "event", "type": kind, "livemode": False, "data": {"object": about}} | changes


def thin(kind: str, related: str) -> dict[str, Any]:
    pointer = {"id": related, "type": kind, "url": "/"}
    shape = {"id": "evt_2", "object": "v2.core.event", "type": f"v1.customer.{kind}.updated", "livemode": False}
    return shape | {"created": "2026-11-25T12:00:00.000Z", "related_object": pointer}


async def stranger_writes(e: Edges) -> str:
    user = e.person()
    return await e.hears(user, user.send("hello?"))


async def stranger_presses_a_button(e: Edges) -> str:
    """A button that was made for another person, in the presser's own private chat."""
    owner, thief = e.person(), e.person()
    await thief.start()
    await thief.expect("account page")
    await owner.start(e.link(generation=1))
    await owner.expect("Connect")
    (asked,) = [m for m in e.world.telegram.messages(owner.id) if "reply_markup" in m]
    data = asked["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
    message = {"message_id": 1, "date": 1, "chat": {"id": thief.id, "type": "private"}}
    query = {"id": "77", "from": thief.wire, "chat_instance": "1", "message": message, "data": data}
    e.world.telegram.inject({"callback_query": query})
    return (await thief.expect(lambda _: True, timeout=20)).text


async def link_in_a_group(e: Edges) -> str:
    await e.person().send_in_group(GROUP, f"/start {e.link(generation=1)}")
    await eventually(lambda: len(e.world.telegram.messages(GROUP)) > 1, "an answer in the group")
    return str(e.world.telegram.messages(GROUP)[-1]["text"])


async def words_in_a_group(e: Edges) -> str:
    before = len(e.world.telegram.messages(GROUP))
    await e.person().send_in_group(GROUP, "hello all")
    await e.world.telegram.settled()
    await e.alice.say("and in private?")  # all that was sent before has been looked at by now
    return f"{len(e.world.telegram.messages(GROUP)) - before - 1} answers"


async def link_into_a_taken_chat(e: Edges) -> str:
    return await e.hears(e.alice.telegram, e.alice.telegram.start(e.link(e.bob.tenant, generation=1)))


async def unknown_price(e: Edges) -> str:
    """Stripe moves a subscription to a price that no Plan sells."""
    bob = e.bob
    product = e.world.stripe.get(bob.subscription_id)["items"]["data"][0]["price"]["product"]
    form = {"currency": "usd", "unit_amount": "1", "product": product, "recurring[interval]": "month"}
    price = await e.stripe("/v1/prices", **form, lookup_key="gold")
    item = e.world.stripe.get(bob.subscription_id)["items"]["data"][0]["id"]
    await e.stripe(f"/v1/subscriptions/{bob.subscription_id}", **{"items[0][id]": item, "items[0][price]": price["id"]})
    await e.world.until(bob.tenant, lambda t: t is not None and t.status.phase == "Stalled", "phase Stalled")
    tenant = await e.world.tenant(bob.tenant)
    stalled = tenant.condition("Stalled") if tenant else None
    return f"{stalled.reason}: {stalled.message}" if stalled else "not stalled"


async def free(e: Edges, name: str) -> str:
    """A new Tenant that nobody pays for is made in Azure; what is said of it once that worked or came to a stop."""
    document = {"apiVersion": "nbhd.united/v1alpha1", "kind": "Tenant", "metadata": {"name": name}}
    spec = {"id": name, "complimentary": True, "planRef": {"name": "basic"}}
    await asyncio.to_thread(e.world.cluster.apply, document | {"spec": spec}, namespace=e.world.namespace)

    def decided(tenant: Tenant | None) -> bool:
        found = {c.type: c.status for c in tenant.status.conditions} if tenant else {}
        return found.get("Stalled") == "True" or (found.get("SecretsReady"), found.get("Reconciling")) == (
            "True",
            "False",
        )

    await e.world.until(name, decided, "everything made, or Stalled")
    tenant = await e.world.tenant(name)
    said = tenant.condition("Reconciling") if tenant else None
    return f"{tenant.status.phase} {said.reason}: {said.message}" if tenant and said else "gone"


def azure_refuses(
    status: int, code: str, *, times: int = 1, retry_after: str = ""
) -> Callable[[Edges], Awaitable[str]]:
    """Azure answers the making of an identity with an error."""

    def deed(e: Edges) -> Awaitable[str]:
        name = e.fresh_id()
        headers = {"Retry-After": retry_after} if retry_after else None
        e.world.azure.traffic.fail_next("PUT", f"Identities/nbhd-{name}", status, code, headers=headers, times=times)
        return free(e, name)

    return deed


def azure_cuts(*, after_commit: bool) -> Callable[[Edges], Awaitable[str]]:
    """Azure breaks the connection while an identity is made."""

    def deed(e: Edges) -> Awaitable[str]:
        name = e.fresh_id()
        e.world.azure.traffic.reset_next("PUT", f"Identities/nbhd-{name}", after_commit=after_commit)
        return free(e, name)

    return deed


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}
OTHER_KEY = Keyring.parse("link", "k1:" + "A" * 43)
HUGE = b'{"x": "' + b"a" * (5 << 20) + b'"}'
LATE = 400  # seconds
# Each row: what is wrong, where it is put in, and how the answer begins or what it contains.
ROWS: list[tuple[str, Callable[[Edges], Awaitable[str]], str]] = [
    # The bot's webhook
    ("update without a secret", lambda e: e.update({}, secret=None), "401"),
    ("update with a wrong secret", lambda e: e.update({}, secret="x" * 40), "401"),
    ("not a POST", lambda e: e.send("GET", e.world.telegram.webhook_url), "405"),
    ("another path", lambda e: e.send("POST", e.world.telegram.webhook_url + "/more"), "404"),
    # What Telegram itself sends and we cannot use is kept aside or left; a refusal would only bring it back.
    ("update that is no JSON", lambda e: e.update(b"{"), "200"),
    ("update that is not UTF-8", lambda e: e.update(b'{"update_id": 1, "message": "\xff"}'), "200"),
    ("update that is a list", lambda e: e.update([1]), "200"),
    ("update with a huge body", lambda e: e.update(HUGE), "200"),
    ("update of an unknown type", lambda e: e.update({"update_id": 5, "telepathy": {"chat": {"id": 1}}}), "200"),
    ("update without a chat", lambda e: e.update({"update_id": 6, "inline_query": {"id": "1"}}), "200"),
    ("update with broken compression", lambda e: e.update(b"abc", **{"Content-Encoding": "gzip"}), "400"),
    # The Bot API root of the tenants
    ("wrong stand-in token", lambda e: e.bot("getMe", token="1:x"), '401 {"ok": false'),
    ("token of another tenant", lambda e: e.bot("getMe", tenant="someoneelse01"), '401 {"ok": false'),
    ("unknown method", lambda e: e.bot("banChatMember", json={}), "404"),
    ("method that is answered here", lambda e: e.bot("setWebhook", json={"url": "https://evil"}), '200 {"ok": true'),
    (
        "call that is no JSON",
        lambda e: e.bot("sendMessage", data=b"{", headers={"Content-Type": "application/json"}),
        "400",
    ),
    ("call that is not UTF-8", lambda e: e.bot("sendMessage", data=b"chat_id=%ff\xff", headers=FORM), "400"),
    ("call with a broken multipart body", lambda e: e.bot("sendPhoto", data=b"--x\r\n", headers=MULTIPART), "400"),
    ("foreign chat", lambda e: e.bot("sendMessage", json={"chat_id": 2002, "text": "x"}), "403"),
    ("foreign chat by its name", lambda e: e.bot("sendMessage", json={"chat_id": "@bob", "text": "x"}), "403"),
    # Stripe's webhook
    ("event without a signature", lambda e: e.event(event(), signature=""), "400 there is no Stripe-Signature header"),
    (
        "event with garbage for a signature",
        lambda e: e.event(event(), signature="t=x,v1="),
        "400 the signature matches",
    ),
    ("event signed by another", lambda e: e.event(event(), secret="whsec_other"), "400 the signature matches none"),
    ("event that is replayed late", lambda e: e.event(event(), age=LATE), "400 the timestamp is more than 300 seconds"),
    ("event from the future", lambda e: e.event(event(), age=-LATE), "400 the timestamp is more than 300 seconds"),
    ("event that is not UTF-8", lambda e: e.event(b"\xff"), "400 the body is not UTF-8"),
    ("event that is no JSON", lambda e: e.event(b"{"), "400 the body is not an event of Stripe"),
    ("event that is a list", lambda e: e.event([1, 2]), "400 the body is not an event of Stripe"),
    ("huge event", lambda e: e.event(HUGE), "413"),
    ("event of an unknown type", lambda e: e.event(event("tea.served")), "200 ignored type"),
    ("event about an unknown customer", lambda e: e.event(event()), "200 unknown customer"),
    (
        "event about a customer whose id is none",
        lambda e: e.event(event(data={"object": {"object": "invoice", "customer": "../x"}})),
        "200 unknown customer",
    ),
    ("event about nobody", lambda e: e.event(event(data={"object": {"object": "invoice"}})), "200 no customer"),
    ("event of live mode", lambda e: e.event(event(livemode=True)), "200 wrong mode"),
    ("event of another account", lambda e: e.event(event(account="acct_1")), "200 another account"),
    ("thin event about an unknown subscription", lambda e: e.event(thin("subscription", "sub_no")), "200 no customer"),
    ("unknown price", unknown_price, "PlanNotFound: Add the lookup key gold to a Plan's spec.lookupKeys."),
    # The website
    ("unknown plan", lambda e: e.page("/subscribe/gold", "POST"), "404"),
    ("welcome without a session", lambda e: e.page("/welcome"), "404"),
    ("welcome with an unknown session", lambda e: e.page("/welcome?session_id=cs_test_12345678"), "404"),
    ("welcome with garbage", lambda e: e.page("/welcome?session_id=%ff%00%3Cscript%3E"), "404"),
    ("unknown page", lambda e: e.page("/wp-admin.php"), "404"),
    ("wrong verb", lambda e: e.page("/", "DELETE"), "405"),
    # Chats
    ("somebody who is not linked writes", stranger_writes, "not connected to an account"),
    ("garbled link", lambda e: e.start(e.link(generation=1)[:-3] + "AAA"), "not complete or not from us"),
    ("link that is cut off", lambda e: e.start(e.link(generation=1)[:20]), "not complete or not from us"),
    ("link signed by another", lambda e: e.start(e.link(generation=1, ring=OTHER_KEY)), "not complete or not from us"),
    ("link that is too old", lambda e: e.start(e.link(generation=1, age=16)), "too old"),
    ("link that was used before", lambda e: e.start(e.used_link), "used already"),
    ("link of nobody", lambda e: e.start(e.link("nobodyatall01")), "no longer exists"),
    ("link into a chat that is taken", link_into_a_taken_chat, "already connected to another account"),
    ("button of another person", stranger_presses_a_button, "made for somebody else"),
    ("link in a group", link_in_a_group, "only be connected in a private chat"),
    ("words in a group", words_in_a_group, "0 answers"),
    # Azure
    ("Azure is not there", azure_refuses(503, "ServiceUnavailable"), "AwaitingLink AwaitingLink"),
    ("Azure fails inside", azure_refuses(500, "InternalServerError", times=2), "AwaitingLink AwaitingLink"),
    ("Azure throttles", azure_refuses(429, "TooManyRequests", retry_after="1"), "AwaitingLink AwaitingLink"),
    ("Azure is busy with it", azure_refuses(409, "Conflict"), "AwaitingLink AwaitingLink"),
    ("Azure asks for a new token", azure_refuses(401, "ExpiredAuthenticationToken"), "AwaitingLink AwaitingLink"),
    ("Azure does not know the principal yet", azure_refuses(400, "PrincipalNotFound"), "AwaitingLink AwaitingLink"),
    ("Azure cuts the connection before it acts", azure_cuts(after_commit=False), "AwaitingLink AwaitingLink"),
    ("Azure cuts the connection after it acted", azure_cuts(after_commit=True), "AwaitingLink AwaitingLink"),
    ("Azure says a code that nobody knows", azure_refuses(418, "Teapot"), "AwaitingLink AwaitingLink"),
    (
        "Azure forbids it by a policy",
        azure_refuses(403, "RequestDisallowedByPolicy", times=3),
        "Stalled RequestDisallowedByPolicy: Exempt the Cell's resource group",
    ),
    ("Azure lacks the group", azure_refuses(404, "ResourceGroupNotFound", times=3), "Create the Cell's resource group"),
    (
        "Azure calls it invalid",
        azure_refuses(400, "InvalidRequestContent", times=3),
        "Stalled InvalidRequestContent: Azure said",
    ),
    # kubectl
    ("Tenant without an id", lambda e: e.tenant(), "spec.id: Required value"),
    ("Tenant with a malformed id", lambda e: e.tenant(id="Not An Id"), "spec.id: Invalid value"),
    ("Tenant with an unknown field", lambda e: e.tenant(id="somebody01", colour="red"), 'unknown field "spec.colour"'),
    (
        "Tenant with a chat that nobody linked",
        lambda e: e.tenant(id="somebody01", telegram={"chatId": 1, "userId": 1, "generation": 1}),
        "spec.telegram is written by router only",
    ),
    (
        "another id for a Tenant",
        lambda e: e.kubectl("patch", "nt", e.alice.tenant, "--type=merge", "-p", '{"spec":{"id":"somebody02"}}'),
        "identity for ever",
    ),
    ("deleting who pays", lambda e: e.kubectl("delete", "nt", e.alice.tenant), "this Tenant is being paid for"),
]


@pytest.mark.timeout(180)
async def test_bad_input_is_answered_clearly(start_world: StartWorld) -> None:
    async with start_world() as world, aiohttp.ClientSession() as http:
        alice, bob = Subscriber.meet(world, "alice", 1001), Subscriber.meet(world, "bob", 2002)
        await asyncio.gather(alice.choose("basic"), bob.subscribe("basic"))
        await alice.pay()
        link = await alice.welcome_link()
        await alice.confirm(link)
        await alice.say("hello")
        edges = Edges(world, http, alice, bob, link.partition("start=")[2])
        wrong: list[str] = []
        for what, deed, expected in ROWS:
            try:
                answer = await deed(edges)
            except Exception as error:  # every row is to be seen, not only the first that fails
                answer = repr(error)
            if not (answer.startswith(expected) if expected[:1].isdigit() else expected in answer):
                wrong.append(f"{what}: expected {expected!r}, got {answer[:300]!r}")
        assert wrong == []
        # Nothing is lost: what could not be read is kept for a person, and all that can be delivered is.
        with closing(sqlite3.connect(world.router.environment["NBHD_SPOOL_PATH"])) as spool:
            kept = [body for (body,) in spool.execute("SELECT body FROM unreadable ORDER BY seq")]
        assert kept == [b"{", b'{"update_id": 1, "message": "\xff"}', b"[1]"]
        await world.telegram.settled()
        await world.stripe.settled()

        # The services go on: who chatted chats, and who is new can pay, link and chat.
        await alice.say("still there?")
        carol = Subscriber.meet(world, "carol", 3003)
        await carol.subscribe("plus")
        await carol.say("hello from carol")
        for service in world.services.values():
            log = service.log.read_text(errors="replace")
            assert "Traceback" not in log, log[max(0, log.index("Traceback") - 500) :][:3000]
        assert all(service.process and service.process.returncode is None for service in world.services.values())
