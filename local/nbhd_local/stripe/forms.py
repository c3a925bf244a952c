"""Stripe's nested form encoding: ``items[0][price]=x`` becomes ``{"items": [{"price": "x"}]}``.

The first step of every request; `params` then checks names and types.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .errors import StripeError

_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")


def decode(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Nests the pairs. Leaves stay strings; ``a[]=x`` appends and ``a[0]=x`` is an element of a list."""
    root: dict[str, Any] = {}
    for key, value in pairs:
        match = _KEY.fullmatch(key)
        if match is None:
            raise _malformed(key)
        _insert(root, [match[1], *_PART.findall(match[2])], value, key)
    nested: dict[str, Any] = {name: _listed(child) for name, child in root.items()}
    return nested


def _insert(node: dict[str, Any], parts: list[str], value: str, key: str) -> None:
    for part in parts[:-1]:
        child = node.setdefault(part or str(len(node)), {})
        if not isinstance(child, dict):
            raise _malformed(key)
        node = child
    last = parts[-1] or str(len(node))
    if isinstance(node.get(last), dict):
        raise _malformed(key)
    node[last] = value


def _listed(node: Any) -> Any:
    """Turns objects whose keys are all numbers into lists, in the order of the numbers."""
    if not isinstance(node, dict):
        return node
    children = {name: _listed(child) for name, child in node.items()}
    if children and all(name.isdecimal() for name in children):
        return [children[name] for name in sorted(children, key=int)]
    return children


def _malformed(key: str) -> StripeError:
    return StripeError(f"Invalid request: the parameter name is not well formed: {key}", param=key)
