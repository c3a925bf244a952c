"""Methods for files: photos and documents out, getFile in. Light: sizes are not measured, media is not converted."""

from __future__ import annotations

from http import HTTPStatus

from . import formatting
from .bot import Bot
from .errors import TelegramError, bad_request
from .files import DOWNLOAD_LIMIT, StoredFile
from .methods_messages import formatted, options, writable
from .params import Params
from .updates import Json

CAPTION_LIMIT = 1024


def send_document(bot: Bot, params: Params) -> Json:
    chat = writable(bot, params)
    stored = _given_file(bot, params, "document")
    return bot.say(chat, {"document": document(stored)} | _caption(params) | options(chat, params))


def send_photo(bot: Bot, params: Params) -> Json:
    chat = writable(bot, params)
    stored = _given_file(bot, params, "photo")
    return bot.say(chat, {"photo": photo(stored)} | _caption(params) | options(chat, params))


def get_file(bot: Bot, params: Params) -> Json:
    if not params.text("file_id"):
        raise bad_request("file_id not specified")
    stored = bot.files.by_id(params.text("file_id"))
    if stored is None:
        raise bad_request("wrong file_id or the file is temporarily unavailable")
    if len(stored.data) > DOWNLOAD_LIMIT:
        raise bad_request("file is too big")
    return stored.wire() | {"file_path": stored.path}


def document(stored: StoredFile) -> Json:
    """A Document."""
    return stored.wire() | {"file_name": stored.name, "mime_type": stored.content_type}


def photo(stored: StoredFile) -> list[Json]:
    """The sizes of a photo; there is one."""
    return [stored.wire() | {"width": 640, "height": 480}]


def _caption(params: Params) -> Json:
    text, entities = formatted(params, "caption", limit=CAPTION_LIMIT)
    if not text:
        return {}
    marked = entities + formatting.detect(text)
    return {"caption": text} | ({"caption_entities": marked} if marked else {})


def _given_file(bot: Bot, params: Params, name: str) -> StoredFile:
    """A new upload, directly or as ``attach://<part>``, or a file that the server has already."""
    given = params.text(name)
    upload = params.files.get(given.removeprefix("attach://") if given.startswith("attach://") else name)
    if upload is not None:
        if not upload.data:
            raise bad_request("file must be non-empty")
        return bot.files.add(f"{name}s", upload.name, upload.content_type, upload.data)
    if not given:
        raise bad_request(f"there is no {name} in the request")
    if given.startswith(("http://", "https://")):
        raise bad_request("failed to get HTTP URL content")
    stored = bot.files.by_id(given)
    if stored is None:
        raise TelegramError(HTTPStatus.BAD_REQUEST, "Bad Request: wrong remote file identifier specified")
    return stored
