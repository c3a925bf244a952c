"""The HTTP face of the account: keys, versions, form parameters, idempotency, expansion, Stripe's headers.

Between a client library and the resource modules; paying is on `pages`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import re
import urllib.parse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web

from nbhd_local.traffic import Traffic

from . import catalog, checkout, customers, forms, params, records, subscriptions
from .account import API_VERSION, Account, Json, Origin, new_id
from .errors import StripeError
from .expand import expand
from .routing import Call, Route

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?")
_FORM = "application/x-www-form-urlencoded"
ROUTES: list[Route] = [
    *customers.ROUTES,
    *catalog.ROUTES,
    *checkout.ROUTES,
    *subscriptions.ROUTES,
    *records.ROUTES,
]


@dataclass(frozen=True)
class _Replay:
    fingerprint: str
    status: int
    body: bytes = field(repr=False)
    request_id: str


class Api:
    """Serves the resources."""

    def __init__(
        self, account: Account, traffic: Traffic, *, secret_key: str, latency: tuple[float, float], rng: random.Random
    ) -> None:
        self._account, self._traffic = account, traffic
        self._secret_key = secret_key
        self._latency = latency
        self._rng = rng
        self._replays: dict[str, _Replay] = {}
        self.pages_url = ""

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[self._traffic.middleware("stripe")])
        for route in ROUTES:
            app.router.add_route(route.method, route.path, self._handler(route))
        app.router.add_route(hdrs.METH_ANY, "/{tail:.*}", self._handler(None))
        return app

    def _handler(self, route: Route | None) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            # Half of the delay before the work and half after it: an answer may be old when it arrives.
            delay = self._rng.uniform(*self._latency) / 2
            await asyncio.sleep(delay)
            response = self._answer(request, route, body)
            await asyncio.sleep(delay)
            return response

        return handle

    def _answer(self, request: web.Request, route: Route | None, body: bytes) -> web.Response:
        request_id = new_id("req_", 14)
        headers = {"Request-Id": request_id}
        try:
            self._authenticate(request)
            headers["Stripe-Version"] = _version(request)
            if route is None:
                raise StripeError(
                    f"Unrecognized request URL ({request.method}: {request.path}).", status=HTTPStatus.NOT_FOUND
                )
            status, answer = self._run(request, route, body, request_id, headers)
        except StripeError as error:
            status, answer = error.status, _encode(error.envelope())
        return web.Response(status=status, body=answer, content_type="application/json", headers=headers)

    def _run(
        self, request: web.Request, route: Route, body: bytes, request_id: str, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        raw = _parameters(request, body)
        key = request.headers.get("Idempotency-Key") if request.method == hdrs.METH_POST else None
        if key is not None:
            headers["Idempotency-Key"] = key
            if len(key) > 255:
                raise StripeError("Idempotency-Key must be at most 255 characters.", kind="idempotency_error")
            fingerprint = _fingerprint(request, raw)
            replay = self._replays.get(key)
            if replay is not None:
                if replay.fingerprint != fingerprint:
                    raise StripeError(
                        "Keys for idempotent requests can only be used with the same parameters they were first used "
                        f"with. Try using a key other than '{key}' if you meant to execute a different request.",
                        kind="idempotency_error",
                    )
                headers |= {"Idempotent-Replayed": "true", "Original-Request": replay.request_id}
                return replay.status, replay.body
        answer = _encode(self._call(request, route, raw, Origin(request_id, key)))
        if key is not None:
            self._replays[key] = _Replay(fingerprint, HTTPStatus.OK, answer, request_id)
        return HTTPStatus.OK, answer

    def _call(self, request: web.Request, route: Route, raw: Json, origin: Origin) -> Json:
        paths = params.array(params.text)(raw.pop("expand", []), "expand")
        call = Call(dict(request.match_info), raw, self.pages_url)
        with self._account.changes(origin):
            result = route.handler(self._account, call)
        return expand(self._account, result, paths) if paths else result

    def _authenticate(self, request: web.Request) -> None:
        scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given).decode().partition(":")[0]
            except ValueError:
                given = ""
        if not given or scheme.lower() not in {"basic", "bearer"}:
            raise StripeError(
                "You did not provide an API key. You need to provide your API key in the Authorization header, using "
                "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
                status=HTTPStatus.UNAUTHORIZED,
            )
        if not hmac.compare_digest(given.encode(), self._secret_key.encode()):
            raise StripeError(
                f"Invalid API Key provided: {given[:8]}{'*' * 12}{given[-4:] if len(given) > 16 else ''}",
                status=HTTPStatus.UNAUTHORIZED,
            )


def _version(request: web.Request) -> str:
    version = request.headers.get("Stripe-Version", API_VERSION)
    if not _VERSION.fullmatch(version):
        raise StripeError(f"Invalid Stripe API version: {version[:40]}")
    return version


def _parameters(request: web.Request, body: bytes) -> Json:
    pairs = list(request.query.items())
    if body:
        if request.content_type != _FORM:
            raise StripeError(
                "Invalid request (check that your POST content type is application/x-www-form-urlencoded)."
            )
        if request.method == hdrs.METH_GET:
            raise StripeError("Invalid request: a GET request has no body.")
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            raise StripeError("Invalid request: the body is not UTF-8.") from None
        pairs += urllib.parse.parse_qsl(text, keep_blank_values=True)
    return forms.decode(pairs)


def _fingerprint(request: web.Request, raw: Json) -> str:
    content: Any = [request.method, request.path, raw]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _encode(answer: Json) -> bytes:
    return json.dumps(answer, indent=2, ensure_ascii=False).encode()
