"""A watch is alive while its answer is open, and a moment longer."""

from __future__ import annotations

import asyncio

import kopf
from aiohttp import web

from nbhd_local.waiting import eventually
from nbhd_local.web import serve
from nbhd_operator.watches import Watches


async def test_a_watch_is_alive_while_its_answer_is_open() -> None:
    now, ends = [0.0], asyncio.Event()
    tokens = []

    async def answer(request: web.Request) -> web.StreamResponse:
        tokens.append(request.headers["Authorization"])
        if request.query.get("watch") != "true":
            return web.json_response({})
        response = web.StreamResponse()
        await response.prepare(request)
        await ends.wait()
        return response

    app = web.Application()
    app.router.add_get("/apis/g/v1/{plural}", answer)
    watches = Watches(["tenants", "plans"], lambda: now[0])
    assert watches.missing() == "no watch of tenants, plans"
    async with serve(app) as url:
        session = watches.session(kopf.ConnectionInfo(server=url, token="t-1")).aiohttp_session
        async with session:
            async with session.get(f"{url}/apis/g/v1/tenants"), session.get(f"{url}/apis/g/v1/cells?watch=true"):
                assert watches.missing() == "no watch of tenants, plans"  # neither is one that we need
            tenants = await session.get(f"{url}/apis/g/v1/tenants?watch=true")
            assert watches.missing() == "no watch of plans"
            plans = await session.get(f"{url}/apis/g/v1/plans?watch=true")
            now[0] = 1000
            assert watches.missing() is None
            plans.close()  # as kopf does when nothing came for too long
            now[0] = 1005
            assert watches.missing() is None
            now[0] = 1011
            assert watches.missing() == "no watch of plans"
            ends.set()
            await tenants.read()  # the server ended it
            await eventually(lambda: tenants.closed, "the end")
            now[0] = 1030
            assert watches.missing() == "no watch of tenants, plans"
    assert set(tokens) == {"Bearer t-1"}


async def test_a_watch_begins_where_the_list_ended_once() -> None:
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/apis/g/v1/{plural}", answer)
    watches = Watches(["tenants", "plans"])
    watches.listed("tenants", "1234")
    everything = {"watch": "true", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    later = {"watch": "true", "resourceVersion": "2000"}
    async with serve(app) as url:
        session = watches.session(kopf.ConnectionInfo(server=url)).aiohttp_session
        async with session:
            for plural, query in (("plans", everything), ("tenants", everything), ("tenants", later)):
                await session.get(f"{url}/apis/g/v1/{plural}", params=query)
            await session.get(f"{url}/apis/g/v1/tenants", params=everything)  # the server has forgotten the version
    assert asked == [everything, {"watch": "true", "resourceVersion": "1234"}, later, everything]
