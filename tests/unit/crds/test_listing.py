"""A complete list: page by page, only what is another, and never half of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from kubernetes.aio import client

from nbhd_crds.client import Lists, Meta
from nbhd_local.web import serve

NAMES = ["a", "b", "c"]
BROKEN = "broken"


@pytest.fixture
async def api() -> AsyncIterator[client.ApiClient]:
    """Serves one object a page; of the namespace ``broken`` the second page breaks off."""

    async def answer(request: web.Request) -> web.Response:
        at = int(request.query.get("continue", "0"))
        there = {"metadata": {"name": NAMES[at], "resourceVersion": "7", "managedFields": []}, "spec": {"n": at}}
        following = str(at + 1) if at + 1 < len(NAMES) else ""
        page = json.dumps({"metadata": {"resourceVersion": "9", "continue": following}, "items": [there]})
        cut = request.match_info["namespace"] == BROKEN and at
        return web.Response(text=page[:-9] if cut else page, content_type="application/json")

    app = web.Application()
    app.router.add_get("/apis/nbhd.united/v1alpha1/namespaces/{namespace}/tenants", answer)
    async with serve(app) as url, client.ApiClient(client.Configuration(host=url)) as api:
        yield api


async def test_every_page_is_read_and_what_is_known_is_not(api: client.ApiClient) -> None:
    def have(meta: Meta) -> str | None:
        return "known" if meta.name == "b" and meta.resource_version == "7" else None

    listed = await Lists(api, "tenants", "here", lambda text: str(json.loads(text)["spec"]["n"]))(have)
    assert (listed.items, listed.version) == (["0", "known", "2"], "9")


async def test_a_page_that_breaks_off_says_nothing(api: client.ApiClient) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await Lists(api, "tenants", BROKEN, bytes)()
