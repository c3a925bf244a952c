"""What Azure has, compared with what we want: the paths that differ.

Only what we set is compared, for Azure adds defaults, changes the case of ids and enums, and writes absent values in
several ways (``null``, ``""``, ``[]``, left out). Lists of named things must have exactly the names that we want: an
extra container or environment variable is a difference, although we did not ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NAMES = ("name", "server", "identity")
# Beneath these, text is ours and its case matters. Everywhere else it is Azure's: ids, regions, enums.
_EXACT = ("tags", "containers", "value")


def differences(want: Any, have: Any) -> list[str]:
    """Paths at which ``have`` lacks or contradicts ``want``, such as ``properties.template.scale.maxReplicas``."""
    return sorted(set(_walk(want, have, (), exact=False)))


def _walk(want: Any, have: Any, path: tuple[str, ...], *, exact: bool) -> Iterator[str]:
    if _empty(want) and _empty(have):
        return
    if isinstance(want, Mapping):
        yield from _mapping(want, have if isinstance(have, Mapping) else {}, path, exact=exact)
    elif isinstance(want, Sequence) and not isinstance(want, str):
        found = have if isinstance(have, Sequence) and not isinstance(have, str) else []
        yield from _sequence(want, found, path, exact=exact)
    elif not _same(want, have, exact=exact):
        yield _text(path)


def _mapping(want: Mapping[str, Any], have: Mapping[str, Any], path: tuple[str, ...], *, exact: bool) -> Iterator[str]:
    by_folded = {key.casefold(): value for key, value in have.items()}
    for key, value in want.items():
        if _empty(value) and key.casefold() in by_folded and isinstance(by_folded[key.casefold()], Mapping):
            continue  # an entry that only has to be there, such as a user-assigned identity
        if value == {} and key.casefold() not in by_folded:
            yield _text((*path, key))
            continue
        deeper = exact or key in _EXACT
        yield from _walk(value, by_folded.get(key.casefold()), (*path, key), exact=deeper)


def _sequence(want: Sequence[Any], have: Sequence[Any], path: tuple[str, ...], *, exact: bool) -> Iterator[str]:
    label = next((name for name in _NAMES if want and all(isinstance(w, Mapping) and name in w for w in want)), None)
    if label is None:
        if len(want) != len(have):
            yield _text(path)
            return
        for index, (one, other) in enumerate(zip(want, have, strict=True)):
            yield from _walk(one, other, (*path, str(index)), exact=exact)
        return
    found = {str(item.get(label)).casefold(): item for item in have if isinstance(item, Mapping)}
    for item in want:
        name = str(item[label])
        yield from _walk(item, found.pop(name.casefold(), None), (*path, name), exact=exact)
    yield from (_text((*path, name)) for name in found)


def _same(want: Any, have: Any, *, exact: bool) -> bool:
    if isinstance(want, str) and isinstance(have, str):
        return want == have if exact else _fold(want) == _fold(have)
    number, other = _number(want), _number(have)
    if number is not None and other is not None:
        return number == other
    return bool(want == have)


def _fold(text: str) -> str:
    return text.replace(" ", "").casefold()  # a region is sent as eastus2 and returned as East US 2


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _empty(value: Any) -> bool:
    return value is None or value is False or value in ("", 0) or (isinstance(value, Mapping | Sequence) and not value)


def _text(path: tuple[str, ...]) -> str:
    return ".".join(path) or "."
