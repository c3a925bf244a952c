"""What is read of the API server without one of its client's classes."""

from __future__ import annotations

import pytest
from aiohttp import web
from kubernetes.aio import client

from nbhd_crds.client import is_not_found, namespace_uid
from nbhd_local.web import serve


async def test_the_uid_of_a_namespace() -> None:
    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path, request.headers.get("Authorization")))
        if request.match_info["name"] != "here":
            return web.json_response({"kind": "Status", "code": 404}, status=404)
        return web.json_response({"metadata": {"name": "here", "uid": "uid-1"}})

    asked: list[tuple[str, str | None]] = []
    app = web.Application()
    app.router.add_get("/api/v1/namespaces/{name}", answer)
    async with serve(app) as url:
        configuration = client.Configuration(host=url, api_key={"BearerToken": "Bearer t-1"})
        async with client.ApiClient(configuration) as api:
            uid = namespace_uid(api)
            assert await uid("here") == "uid-1"
            with pytest.raises(client.ApiException) as refused:
                await uid("gone")
    assert is_not_found(refused.value)
    assert asked == [("/api/v1/namespaces/here", "Bearer t-1"), ("/api/v1/namespaces/gone", "Bearer t-1")]
