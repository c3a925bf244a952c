"""The router's own calls: patient when told to wait, and never a word about the token."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nbhd_router.errors import TelegramError
from nbhd_router.telegram import announce

from .conftest import TOKEN, Asked, Kit

SECRET = TOKEN.partition(":")[2]


async def test_a_call_waits_as_long_as_told_and_repeats(kit: Kit) -> None:
    answers: list[tuple[int, dict[str, Any]]] = [
        (429, {"ok": False, "error_code": 429, "description": "slow", "parameters": {"retry_after": 1}}),
        (200, {"ok": True, "result": 5}),
    ]
    kit.api.answer = lambda _: answers.pop(0)
    assert await kit.telegram.call("sendMessage", {"chat_id": 1}) == 5
    answers.append((429, {"ok": False, "error_code": 429, "description": "slow", "parameters": {"retry_after": 3600}}))
    with pytest.raises(TelegramError) as caught:
        await kit.telegram.call("sendMessage")
    assert (caught.value.code, caught.value.retry_after) == (429, 3600)


async def test_errors_never_quote_the_token(kit: Kit) -> None:
    kit.api.answer = lambda _: (400, {"ok": False, "error_code": 400, "description": f"no {TOKEN}"})
    with pytest.raises(TelegramError) as refused:
        await kit.telegram.call("getMe")
    kit.telegram._url = "http://127.0.0.1:9"
    with pytest.raises(TelegramError) as unreachable:
        await kit.telegram.call("getMe")
    for error in (refused.value, unreachable.value):
        assert SECRET not in str(error) + repr(error)
        assert error.__cause__ is None
    assert unreachable.value.code == 0
    assert SECRET not in repr(kit.telegram)


async def test_the_webhook_is_set_however_often_it_takes(kit: Kit) -> None:
    failing = iter(["getMe", "setWebhook"])
    refuse = next(failing)

    def answer(asked: Asked) -> tuple[int, dict[str, Any]]:
        nonlocal refuse
        if asked.method == refuse:
            refuse = next(failing, "")
            return 502, {"ok": False, "error_code": 502, "description": "Bad Gateway"}
        return 200, {"ok": True, "result": {"id": 1, "username": "b"} if asked.method == "getMe" else True}

    kit.api.answer = answer
    found: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    await announce(kit.telegram, {"url": "https://r.example/x", "secret_token": "s"}, found)
    assert [call.method for call in kit.api.calls] == ["getMe", "getMe", "setWebhook", "setWebhook"]
    assert found.result()["username"] == "b"
