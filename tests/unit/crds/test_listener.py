"""A client that speaks no HTTP, or breaks off, gets a 400 and costs one line; requests in progress are finished."""

from __future__ import annotations

import asyncio
import gzip
import logging

import pytest
from aiohttp import ClientSession, web

from nbhd_crds.health import Readiness, health_app
from nbhd_crds.listener import listening
from nbhd_local.waiting import eventually

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\n"
BOMB = gzip.compress(b"a" * (2 << 20))


async def echo(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


def application() -> web.Application:
    app = web.Application(client_max_size=1 << 20)
    app.router.add_post("/x", echo)
    return app


async def send(url: str, data: bytes, *, answered: bool = True) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    await writer.drain()
    line = await reader.readline() if answered else b""
    writer.close()
    await writer.wait_closed()
    return line


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde", b"400", id="not gzip"),
        pytest.param(
            HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB, b"413", id="gzip bomb"
        ),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc", b"400", id="chunks"),
        pytest.param(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na", b"400", id="two lengths"),
        pytest.param(HEAD + b"X: \x00\r\n\r\n", b"400", id="NUL in a header"),
        pytest.param(HEAD + b"X: " + b"s3cret" * 4000 + b"\r\n\r\n", b"400", id="long header"),
        pytest.param(b"POST /\xff%zz HTTP/1.1\r\nHost: a\r\n\r\n", b"400", id="path"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400", id="TLS to a plain port"),
    ],
)
async def test_what_is_not_http(data: bytes, status: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with listening(application(), "127.0.0.1:0") as url:
        assert (await send(url, data)).split()[1] == status
        assert (await send(url, HEAD + b"Content-Length: 2\r\n\r\nok")).split()[1] == b"200"
    assert "Traceback" not in caplog.text
    assert "s3cret" not in caplog.text


async def test_a_body_that_breaks_off(caplog: pytest.LogCaptureFixture) -> None:
    async with listening(application(), "127.0.0.1:0") as url:
        await send(url, HEAD + b"Content-Length: 100\r\n\r\nabc", answered=False)
        await eventually(lambda: "request not readable" in caplog.text, "the log's line", every=0.005)
    assert "Traceback" not in caplog.text


async def test_a_fault_of_ours_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def fault(_: web.Request) -> web.Response:
        raise KeyError("ours")

    app = web.Application()
    app.router.add_post("/x", fault)
    async with listening(app, "127.0.0.1:0") as url:
        assert (await send(url, HEAD + b"Content-Length: 0\r\n\r\n")).split()[1] == b"500"
    assert "Traceback" in caplog.text


async def test_it_is_unready_before_it_stops_and_finishes_what_it_began(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    readiness, arrived, go = Readiness(), asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        arrived.set()
        await go.wait()
        return web.Response(text="done")

    async def status() -> int:
        async with session.get(f"{health}/readyz") as answer:
            return answer.status

    app = web.Application()
    app.router.add_post("/x", slow)
    async with ClientSession() as session, listening(health_app(readiness), "127.0.0.1:0") as health:
        assert await status() == 503
        public = listening(app, "127.0.0.1:0")
        url = await public.__aenter__()
        readiness.serving()
        assert await status() == 200
        request = asyncio.create_task(session.post(f"{url}/x"))
        await arrived.wait()
        readiness.stopping()
        stopping = asyncio.create_task(public.__aexit__(None, None, None))
        assert await status() == 503
        go.set()
        async with await request as answer:
            assert await answer.text() == "done"
        await stopping
