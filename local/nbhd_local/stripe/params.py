"""Parameter readers: small parsers that resources combine into what an endpoint accepts.

They work on what `forms` decoded and refuse, as Stripe does, whatever an endpoint does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .errors import StripeError

Parser = Callable[[Any, str], Any]
"""Takes a decoded value and its path, such as ``line_items[0][price]``; returns it checked."""

_URL = re.compile(r"https?://[^\s/]+(/\S*)?")


def text(value: Any, path: str) -> str:
    """A non-empty string of at most 5000 characters."""
    if not isinstance(value, str):
        raise StripeError(f"Invalid string: {_brief(value)}", param=path)
    if not value:
        raise StripeError(
            f"You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter; "
            f"however '{path}' cannot be unset.",
            code="parameter_invalid_empty",
            param=path,
        )
    if len(value) > 5000:
        raise StripeError(f"Invalid string: {value[:16]}...; must be at most 5000 characters", param=path)
    return value


def url(value: Any, path: str) -> str:
    """An absolute http(s) URL."""
    checked = text(value, path)
    if not _URL.fullmatch(checked):
        raise StripeError("Not a valid URL", code="url_invalid", param=path)
    return checked


def email(value: Any, path: str) -> str:
    """Something with an @ in the middle."""
    checked = text(value, path)
    name, at, host = checked.partition("@")
    if not (name and at and host) or " " in checked:
        raise StripeError(f"Invalid email address: {checked}", code="email_invalid", param=path)
    return checked


def boolean(value: Any, path: str) -> bool:
    """``true`` or ``false``."""
    if value not in {"true", "false"}:
        raise StripeError(f"Invalid boolean: {_brief(value)}", param=path)
    return bool(value == "true")


def integer(minimum: int = 0, maximum: int = 99_999_999_999) -> Parser:
    """A whole number within limits."""

    def parse(value: Any, path: str) -> int:
        if not isinstance(value, str) or not re.fullmatch(r"-?\d+", value):
            raise StripeError(f"Invalid integer: {_brief(value)}", code="parameter_invalid_integer", param=path)
        number = int(value)
        if number < minimum:
            raise StripeError(
                f"This value must be greater than or equal to {minimum}.", code="parameter_invalid_integer", param=path
            )
        if number > maximum:
            raise StripeError(
                f"This value must be less than or equal to {maximum}.", code="parameter_invalid_integer", param=path
            )
        return number

    return parse


timestamp = integer()
"""Seconds since the epoch."""


def choice(*allowed: str) -> Parser:
    """One of a few words."""

    def parse(value: Any, path: str) -> str:
        if value not in allowed:
            raise StripeError(f"Invalid {path}: must be one of {', '.join(allowed)}", param=path)
        return str(value)

    return parse


def metadata(value: Any, path: str) -> dict[str, str]:
    """Up to 50 keys of 40 characters with values of 500; an empty value removes its key, see `merge_metadata`."""
    if value == "":
        return {}
    if not isinstance(value, dict) or not all(isinstance(member, str) for member in value.values()):
        raise StripeError(f"Invalid object: {_brief(value)}", param=path)
    if len(value) > 50:
        raise StripeError("Metadata can have up to 50 keys", param=path)
    for key, member in value.items():
        if len(key) > 40:
            raise StripeError(f"Metadata keys can have up to 40 characters, {key} has {len(key)}", param=path)
        if len(member) > 500:
            raise StripeError(
                f"Metadata values can have up to 500 characters, the value of {key} has {len(member)}",
                param=f"{path}[{key}]",
            )
    return dict(value)


def merge_metadata(old: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Stripe merges key by key; an empty value removes."""
    return {key: value for key, value in {**old, **changes}.items() if value != ""}


def clearable(parser: Parser) -> Parser:
    """Like ``parser``, but an empty string means null."""

    def parse(value: Any, path: str) -> Any:
        return None if value == "" else parser(value, path)

    return parse


def array(item: Parser, *, most: int = 100) -> Parser:
    """A list, or the empty string for an empty one."""

    def parse(value: Any, path: str) -> list[Any]:
        if value == "":
            return []
        if not isinstance(value, list):
            raise StripeError("Invalid array", param=path)
        if len(value) > most:
            raise StripeError(f"Array too long: {len(value)} elements, at most {most}", param=path)
        return [item(member, f"{path}[{index}]") for index, member in enumerate(value)]

    return parse


def record(fields: Mapping[str, Parser], *, required: Collection[str] = ()) -> Parser:
    """An object with known members."""

    def parse(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise StripeError("Invalid object", param=path)
        unknown = [_join(path, name) for name in value if name not in fields]
        if unknown:
            raise StripeError(
                f"Received unknown parameter{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}",
                code="parameter_unknown",
                param=unknown[0],
            )
        for name in required:
            if name not in value:
                raise StripeError(
                    f"Missing required param: {_join(path, name)}.", code="parameter_missing", param=_join(path, name)
                )
        return {name: fields[name](member, _join(path, name)) for name, member in value.items()}

    return parse


def span(value: Any, path: str) -> Callable[[int], bool]:
    """A time filter, ``created=5`` or ``created[gte]=5``, as a predicate."""
    if isinstance(value, str):
        exact: int = timestamp(value, path)
        return lambda moment: moment == exact
    limits = record(dict.fromkeys(("gt", "gte", "lt", "lte"), timestamp))(value, path)
    return lambda moment: (
        moment > limits.get("gt", -1)
        and moment >= limits.get("gte", 0)
        and moment < limits.get("lt", moment + 1)
        and moment <= limits.get("lte", moment)
    )


def read(
    raw: Mapping[str, Any], fields: Mapping[str, Parser] | None = None, *, required: Collection[str] = ()
) -> dict[str, Any]:
    """Reads the parameters of one request; ``expand`` has been taken out before.

    Raises:
        StripeError: for an unknown, missing or mistyped parameter.
    """
    parsed: dict[str, Any] = record(fields or {}, required=required)(dict(raw), "")
    return parsed


def _join(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name


def _brief(value: Any) -> str:
    return value[:40] if isinstance(value, str) else "{...}"
