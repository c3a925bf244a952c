"""Subscribers of the local world: they pay in the browser, open the link, and chat. For the demo and the tests."""

from __future__ import annotations

import html
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from nbhd_local.telegram import Line, User
from nbhd_local.waiting import eventually
from nbhd_local.world import World, stripe_client

_LINK = re.compile(r"https?://[\w.:]+/\w+\?start=[\w-]+")


def _offers_connect(line: Line) -> bool:
    return "Connect" in line.buttons


def _patiently(look: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
    """A person whose browser cannot reach the page just now tries again."""

    async def again() -> bool:
        try:
            return await look()
        except aiohttp.ClientError:
            return False

    return again


@dataclass
class Subscriber:
    """One person with a Telegram account and, once they paid, a Stripe customer and a Tenant."""

    world: World
    name: str
    telegram: User
    session_id: str = ""
    customer_id: str = ""

    @classmethod
    def meet(cls, world: World, name: str, chat_id: int) -> Subscriber:
        """Someone who has Telegram and nothing else yet."""
        return cls(world, name, world.telegram.user(chat_id, first_name=name.title(), username=name.lower()))

    @property
    def tenant(self) -> str:
        """Kubernetes name of their Tenant."""
        return self.world.tenant_name(self.customer_id)

    @property
    def subscription_id(self) -> str:
        """Their one living Stripe subscription."""
        found, *_ = [s["id"] for s in self.world.stripe.subscriptions(self.customer_id) if s["status"] != "canceled"]
        return str(found)

    async def choose(self, plan: str) -> str:
        """Presses the plan's button on the website; returns the address of Stripe's page."""
        found: list[str] = []

        async def press() -> bool:
            async with browser.post(f"{self.world.frontend_url}/subscribe/{plan}", allow_redirects=False) as answer:
                if answer.status == 303:
                    found.append(answer.headers["Location"])
            return bool(found)

        async with aiohttp.ClientSession() as browser:
            await eventually(_patiently(press), "the way to Stripe's page")
        url = found[0]
        self.session_id = url.rstrip("/").rsplit("/", 1)[1].partition("?")[0].partition("#")[0]
        return url

    async def pay(self) -> None:
        """Presses Pay on Stripe's page."""
        await self.world.stripe.pay(self.session_id, email=f"{self.name.lower()}@example.com")
        self.customer_id = str(self.world.stripe.get(self.session_id)["customer"])

    async def return_to(self, plan: str) -> None:
        """Pays for a new subscription as the same Stripe customer, as from the account page."""
        async with stripe_client(self.world.stripe, self.world.authority) as client:
            session = await client.v1.checkout.sessions.create_async(
                {
                    "mode": "subscription",
                    "customer": self.customer_id,
                    "line_items": [{"price": self.world.prices[plan], "quantity": 1}],
                    "success_url": f"{self.world.frontend_url}/welcome?session_id={{CHECKOUT_SESSION_ID}}",
                }
            )
        self.session_id = session.id
        await self.pay()

    async def welcome_link(self) -> str:
        """Reads the deep link on the welcome page, reloading while the Tenant is not there yet."""
        url, text = f"{self.world.frontend_url}/welcome", ""
        links: list[str] = []

        async def reload() -> bool:
            nonlocal text
            async with browser.get(url, params={"session_id": self.session_id}) as answer:
                text = html.unescape(await answer.text())
            links.extend(_LINK.findall(text))
            return bool(links)

        async with aiohttp.ClientSession() as browser:
            await eventually(_patiently(reload), lambda: f"a link on the welcome page; it says: {text[-600:]}")
        return links[0]

    async def link(self) -> None:
        """Opens the link, and confirms in the chat."""
        await self.confirm(await self.welcome_link())

    async def confirm(self, link: str) -> None:
        """Opens a deep link in Telegram, presses Connect, and reads that it worked."""
        await self.telegram.open(link)
        await self.telegram.expect(_offers_connect, timeout=20)
        await self.telegram.tap("Connect")
        await self.telegram.expect("now connected", timeout=20)

    async def subscribe(self, plan: str = "basic") -> None:
        """All of it: choose, pay, link."""
        await self.choose(plan)
        await self.pay()
        await self.link()

    @property
    def heard(self) -> list[str]:
        """Every message of the bot, oldest first."""
        return [line.text for line in self.telegram.transcript if line.direction == "bot" and line.kind == "message"]

    async def say(self, text: str, expected: str | None = None, seconds: float = 60) -> str:
        """Sends a message and returns the assistant's answer, which contains ``expected`` (default: the text)."""
        await self.telegram.send(text)
        answer = await self.telegram.expect(expected or text, timeout=seconds)
        return answer.text
