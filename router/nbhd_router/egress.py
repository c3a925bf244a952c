"""The Bot API as tenants see it: ``<root>/<spec.id>/bot<stand-in token>/<method>``, and files beside it.

Their containers talk to the shared bot through here only. ``scope`` says what may pass; the real token is put in at the
last step, by ``telegram``. Uploads are held in memory, 50 MB each and a few at a time.
"""

from __future__ import annotations

import asyncio
import io
import logging
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import aiohttp
import msgspec
from aiohttp import web

from nbhd_crds.identity import Keyring, bot_token, same_secret
from nbhd_router import scope
from nbhd_router.directory import Directory, TenantView
from nbhd_router.errors import DatabaseError
from nbhd_router.grants import Grants
from nbhd_router.metrics import Metrics
from nbhd_router.scope import Call, RefusedError, Upload
from nbhd_router.telegram import Telegram

log = logging.getLogger(__name__)

MAX_BYTES = 50 << 20
_UPLOADS = 4  # at a time
_READ_SECONDS = 60.0
_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=5)
_JSON: Final = "application/json"


class _File(msgspec.Struct):
    file_path: str | None = None


class _FileAnswer(msgspec.Struct):
    ok: bool = False
    result: _File | None = None


class Egress:
    """Serves tenants' Bot API calls."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        telegram: Telegram,
        bot: asyncio.Future[dict[str, Any]],
        bot_id: int,
        ring: Keyring,
        platform: str,
        directory: Directory,
        grants: Grants,
        metrics: Metrics,
    ) -> None:
        """``bot`` is the real bot's user, once Telegram has told it."""
        self._session = session
        self._telegram = telegram
        self._bot = bot
        self._bot_id = bot_id
        self._ring = ring
        self._platform = platform
        self._directory = directory
        self._grants = grants
        self._metrics = metrics
        self._uploads = asyncio.Semaphore(_UPLOADS)

    def app(self) -> web.Application:
        """The internal listener's application."""
        app = web.Application(client_max_size=MAX_BYTES)
        for verb in ("GET", "POST"):
            app.router.add_route(verb, r"/{spec_id}/bot{token:[^/]+}/{method:[A-Za-z]+}", self._serve)
        app.router.add_get(r"/{spec_id}/file/bot{token:[^/]+}/{path:.+}", self._serve_file)
        app.router.add_route("*", "/{rest:.*}", self._unknown)
        return app

    async def _unknown(self, _: web.Request) -> web.StreamResponse:
        return refusal(404, "Not Found")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["method"].lower()
        method = scope.FORWARDED.get(name)
        local = name == "getme" or name in scope.LOCAL
        label = method.name if method else name if local else "other"
        try:
            tenant = self._authenticate(request)
            if local:
                answer = await self._get_me() if name == "getme" else {"ok": True, "result": scope.LOCAL[name]}
                self._metrics.egress.labels(label, "200").inc()
                return web.json_response(answer)
            if method is None:
                raise RefusedError(404, "Not Found")
            async with asyncio.timeout(_READ_SECONDS):
                asked = await self._read(request, method)
            await self._authorize(tenant, asked)
        except RefusedError as error:
            return self._refuse(label, error)
        except web.HTTPRequestEntityTooLarge:
            return self._refuse(label, RefusedError(413, "Request Entity Too Large"))
        except TimeoutError:
            return self._refuse(label, RefusedError(408, "Request Timeout"))
        except DatabaseError:
            return self._refuse(label, RefusedError(503, "Service Unavailable"))
        return await self._forward(tenant, asked)

    def _refuse(self, method: str, error: RefusedError) -> web.Response:
        self._metrics.egress.labels(method, str(error.code)).inc()
        if error.code == 403:
            log.warning("call refused", extra={"method": method, "reason": str(error)})
        return refusal(error.code, str(error))

    def _authenticate(self, request: web.Request) -> TenantView:
        spec_id, token = request.match_info["spec_id"], request.match_info["token"]
        tenant = self._directory.tenant(spec_id)
        if (tenant is None and not self._directory.fresh()) or (tenant and not tenant.accepted_credentials):
            raise RefusedError(503, "Service Unavailable")  # a client gives up on 401, and this may yet be right
        accepted = [
            bot_token(self._ring, self._bot_id, self._platform, spec_id, item.version, item.bot_key)
            for item in (tenant.accepted_credentials if tenant else ())
            if item.bot_key in self._ring.keys
        ]
        if tenant is None or not same_secret(token, accepted):
            raise RefusedError(401, "Unauthorized")
        if not tenant.entitled or tenant.deleting:
            raise RefusedError(403, "Forbidden: bot is not active")
        return tenant

    async def _get_me(self) -> dict[str, Any]:
        try:
            user = await asyncio.wait_for(asyncio.shield(self._bot), 10)
        except TimeoutError:
            raise RefusedError(503, "Service Unavailable") from None
        return {"ok": True, "result": {**user, "has_topics_enabled": False}}

    async def _read(self, request: web.Request, method: scope.Method) -> Call:
        try:
            pairs: list[tuple[str, Any]] = list(
                parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, errors="strict")
            )
            if request.content_type == "multipart/form-data":
                async with self._uploads:
                    fields, uploads = await _read_multipart(request)
                return scope.call(method, "form", pairs + fields, uploads)
            body = await request.read()
            if request.content_type == _JSON:
                document = scope.read_json(body)
                if not isinstance(document, dict):
                    raise RefusedError(400, "Bad Request: the body must be a JSON object")
                return scope.call(method, "json", pairs + list(document.items()))
            if request.content_type == "application/x-www-form-urlencoded":
                pairs += parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
            elif body:
                raise RefusedError(400, "Bad Request: unknown content type")
        except (UnicodeDecodeError, ValueError):
            raise RefusedError(400, "Bad Request: can't parse the request") from None
        return scope.call(method, "form", pairs)

    async def _authorize(self, tenant: TenantView, asked: Call) -> None:
        chat = self._directory.served_chat(tenant)
        if chat is None:
            raise RefusedError(403, "Forbidden: bot has no chat")
        for kind, value in scope.check(asked, chat):
            if not await self._grants.holds(tenant.spec.id, kind, value):
                raise RefusedError(403, f"Forbidden: this {kind} id is not known to this bot")

    async def _forward(self, tenant: TenantView, asked: Call) -> web.Response:
        # Fair shares of the bot's send rate belong here: every call that reaches Telegram passes this point.
        method = asked.method.name
        body: dict[str, Any] = {"json": asked.params} if asked.encoding == "json" else {"data": _form(asked)}
        try:
            async with self._session.post(
                self._telegram.method_url(method), timeout=_TIMEOUT, allow_redirects=False, **body
            ) as response:
                raw, status = await response.read(), response.status
                retry_after = response.headers.get("Retry-After")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("call not forwarded", extra={"method": method, "error": type(error).__name__})
            return self._refuse(method, RefusedError(502, "Bad Gateway"))
        self._metrics.egress.labels(method, str(status)).inc()
        if status == 401:
            log.error("Telegram does not accept the bot's token")
            return refusal(502, "Bad Gateway")  # it is not the tenant's token that is wrong
        if asked.method.target == "file" and status == 200:
            try:
                await self._grant_path(tenant, raw)
            except (msgspec.MsgspecError, DatabaseError):
                return refusal(503, "Service Unavailable")
        headers = {"Retry-After": retry_after} if retry_after else {}
        text = self._telegram.scrub(raw.decode(errors="replace"))
        return web.Response(status=status, text=text, content_type=_JSON, headers=headers)

    async def _grant_path(self, tenant: TenantView, raw: bytes) -> None:
        answer = msgspec.json.decode(raw, type=_FileAnswer)
        if answer.result and answer.result.file_path:
            await self._grants.grant(tenant.spec.id, [("path", answer.result.file_path)])

    async def _serve_file(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        try:
            tenant = self._authenticate(request)
            if not await self._grants.holds(tenant.spec.id, "path", path):
                raise RefusedError(404, "Not Found")
            return await self._stream(request, path)
        except RefusedError as error:
            return self._refuse("file", error)
        except DatabaseError:
            return self._refuse("file", RefusedError(503, "Service Unavailable"))

    async def _stream(self, request: web.Request, path: str) -> web.StreamResponse:
        answer: web.StreamResponse | None = None
        try:
            async with self._session.get(
                self._telegram.file_url(quote(path)), timeout=_TIMEOUT, allow_redirects=False
            ) as upstream:
                if upstream.status != 200:
                    raise RefusedError(404 if upstream.status == 404 else 502, "Not Found")
                answer = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
                answer.content_length = upstream.content_length
                await answer.prepare(request)
                async for chunk in upstream.content.iter_chunked(1 << 16):
                    await answer.write(chunk)
                await answer.write_eof()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("file not forwarded", extra={"error": type(error).__name__})
            if answer is None:
                raise RefusedError(502, "Bad Gateway") from None
            if request.transport is not None:
                request.transport.abort()  # a file that ends early must not look whole
        self._metrics.egress.labels("file", "200").inc()
        return answer


def refusal(code: int, description: str) -> web.Response:
    """An error in the Bot API's own form."""
    return web.json_response({"ok": False, "error_code": code, "description": description}, status=code)


async def _read_multipart(request: web.Request) -> tuple[list[tuple[str, Any]], tuple[Upload, ...]]:
    fields: list[tuple[str, Any]] = []
    uploads: list[Upload] = []
    left = MAX_BYTES
    async for part in await request.multipart():
        if not isinstance(part, aiohttp.BodyPartReader) or not part.name:
            raise RefusedError(400, "Bad Request: wrong multipart body")
        data = bytearray()
        while chunk := await part.read_chunk(1 << 16):
            left -= len(chunk)
            if left < 0:
                raise web.HTTPRequestEntityTooLarge(max_size=MAX_BYTES, actual_size=MAX_BYTES - left)
            data += chunk
        if part.filename is None:
            fields.append((part.name, data.decode()))
        else:
            kind = part.headers.get("Content-Type", "application/octet-stream")
            uploads.append(Upload(part.name, part.filename, kind, bytes(data)))
    return fields, tuple(uploads)


def _form(asked: Call) -> dict[str, str] | aiohttp.FormData:
    fields = scope.form(asked.params)
    if not asked.uploads:
        return fields
    data = aiohttp.FormData()
    for name, value in fields.items():
        data.add_field(name, value)
    for upload in asked.uploads:
        data.add_field(upload.name, io.BytesIO(upload.data), filename=upload.filename, content_type=upload.content_type)
    return data
