"""Parameters of a Bot API call, from any of its four encodings: query, form, JSON, multipart.

The server turns all of them into strings first, and so does this; the typed readers are strict where it guesses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from .errors import bad_request

_TRUE, _FALSE = frozenset({"true", "True", "1", "yes"}), frozenset({"false", "False", "0", "no", ""})


@dataclass(frozen=True)
class Upload:
    """A file part of a multipart body."""

    name: str
    content_type: str
    data: bytes


@dataclass(frozen=True)
class Params:
    """What a call carries. The first of several values with one name counts."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[str, Upload] = field(default_factory=dict, repr=False)

    def text(self, name: str, default: str = "") -> str:
        """A string; absent is ``default``."""
        return self.values.get(name, default)

    def integer(self, name: str, default: int = 0, *, least: int = 0, most: int = 2**31 - 1) -> int:
        """A whole number within limits; absent or empty is ``default``."""
        value = self.values.get(name, "")
        if not value:
            return default
        number = parse_integer(value)
        if number is None or not least <= number <= most:
            raise bad_request(f'parameter "{name}" must be an integer between {least} and {most}')
        return number

    def boolean(self, name: str) -> bool:
        """A flag; absent is false."""
        value = self.values.get(name, "")
        if value not in _TRUE | _FALSE:
            raise bad_request(f'parameter "{name}" must be a Boolean')
        return value in _TRUE

    def json(self, name: str, kind: type[Any], what: str) -> Any:
        """A JSON-serialized object or array, or None when absent; ``what`` is the server's word for it."""
        value = self.values.get(name, "")
        if not value:
            return None
        try:
            parsed = json.loads(value)
        except ValueError:
            raise bad_request(f"can't parse {what} JSON object") from None
        if not isinstance(parsed, kind):
            raise bad_request(f"{'object' if kind is dict else 'array'} expected as {what}")
        return parsed


def parse_integer(value: str) -> int | None:
    """A decimal number with an optional minus, or None; never what else `int` accepts."""
    digits = value.removeprefix("-")
    return int(value) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None


async def read(request: web.Request) -> Params:
    """Reads the query string and whatever body there is. A body of an unknown type is ignored, as the server does."""
    values: dict[str, str] = {}
    files: dict[str, Upload] = {}
    for name, value in request.query.items():
        values.setdefault(name, value)
    if request.content_type == "application/json":
        for name, member in _json_members(await request.read()).items():
            values.setdefault(name, member)
    elif request.content_type in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        for name, part in (await request.post()).items():
            if isinstance(part, web.FileField):
                files.setdefault(name, Upload(part.filename, part.content_type, part.file.read()))
            else:
                values.setdefault(name, part if isinstance(part, str) else bytes(part).decode(errors="replace"))
    return Params(values, files)


def from_json(body: bytes) -> Params:
    """The parameters of a JSON body."""
    return Params(_json_members(body))


def _json_members(body: bytes) -> dict[str, str]:
    if not body:
        return {}
    try:
        parsed = json.loads(body)
    except ValueError:
        raise bad_request("can't parse parameters: JSON is not valid") from None
    if not isinstance(parsed, dict):
        raise bad_request("can't parse parameters: expected an Object")
    return {
        name: member if isinstance(member, str) else json.dumps(member, ensure_ascii=False)
        for name, member in parsed.items()
    }
