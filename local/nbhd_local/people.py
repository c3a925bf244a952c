"""Subscribers of the local world: they pay in the browser, open the link, and chat. For the demo and the tests."""

from __future__ import annotations

import asyncio
import html
import re
from dataclasses import dataclass

import aiohttp

from nbhd_local.telegram import Line, User
from nbhd_local.world import World

_LINK = re.compile(r"https?://[\w.:]+/\w+\?start=[\w-]+")


def _offers_connect(line: Line) -> bool:
    return "Connect" in line.buttons


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
        """Their one Stripe subscription."""
        (found,) = [s["id"] for s in self.world.stripe.subscriptions(self.customer_id)]
        return str(found)

    async def choose(self, plan: str) -> str:
        """Presses the plan's button on the website; returns the address of Stripe's page."""
        async with (
            aiohttp.ClientSession() as browser,
            browser.post(f"{self.world.frontend_url}/subscribe/{plan}", allow_redirects=False) as answer,
        ):
            if answer.status != 303:
                raise AssertionError(f"no way to Stripe's page: {answer.status} {await answer.text()}")
            url = answer.headers["Location"]
        self.session_id = url.rstrip("/").rsplit("/", 1)[1].partition("?")[0].partition("#")[0]
        return url

    async def pay(self) -> None:
        """Presses Pay on Stripe's page."""
        await self.world.stripe.pay(self.session_id, email=f"{self.name.lower()}@example.com")
        self.customer_id = str(self.world.stripe.get(self.session_id)["customer"])

    async def welcome_link(self) -> str:
        """Reads the deep link on the welcome page, reloading while the Tenant is not there yet."""
        async with aiohttp.ClientSession() as browser:
            for _ in range(300):
                url = f"{self.world.frontend_url}/welcome"
                async with browser.get(url, params={"session_id": self.session_id}) as answer:
                    text = html.unescape(await answer.text())
                found = _LINK.search(text)
                if found:
                    return found[0]
                await asyncio.sleep(0.1)  # a person who reloads the page
        raise AssertionError(f"the welcome page never showed a link; it says: {text[-600:]}")

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
