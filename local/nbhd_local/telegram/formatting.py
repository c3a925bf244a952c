"""``parse_mode``: HTML and MarkdownV2 to plain text and entities, with the server's complaints.

Offsets and lengths count UTF-16 code units, as everywhere in the Bot API.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from typing import Any

from .errors import bad_request

Entity = dict[str, Any]

_TAG = re.compile(r"<(/?)([a-zA-Z0-9-]*)([^<>]*)>?")
_ATTRIBUTE = re.compile(r"([a-zA-Z-]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|(\S+)))?")
_HTML_TYPES = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "code": "code",
    "pre": "pre",
    "a": "text_link",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "blockquote": "blockquote",
    "tg-emoji": "custom_emoji",
}
_RESERVED = "_*[]()~`>#+-=|{}.!"
_MARKS = (("||", "spoiler"), ("__", "underline"), ("_", "italic"), ("*", "bold"), ("~", "strikethrough"))
_DETECTED = (
    ("bot_command", re.compile(r"(?<!\S)/[A-Za-z0-9_]{1,32}(?:@[A-Za-z0-9_]+)?")),
    ("url", re.compile(r"https?://[^\s<>\"]+[^\s<>\".,;:!?)]")),
)


def utf16_length(text: str) -> int:
    """Code units of UTF-16."""
    return len(text.encode("utf-16-le")) // 2


@dataclass
class _Builder:
    text: str = ""
    units: int = 0
    entities: list[Entity] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.text += text
        self.units += utf16_length(text)

    def close(self, kind: str, start: int, extra: Entity) -> None:
        if self.units > start and not (kind == "text_link" and not extra.get("url")):
            self.entities.append({"type": kind, "offset": start, "length": self.units - start, **extra})

    def result(self) -> tuple[str, list[Entity]]:
        self.entities.sort(key=lambda entity: (entity["offset"], -entity["length"]))
        return self.text, self.entities


def parse(text: str, mode: str) -> tuple[str, list[Entity]]:
    """Plain text and its entities; ``mode`` is empty, ``HTML`` or ``MarkdownV2``.

    Raises:
        TelegramError: ``can't parse entities``, or a mode that is not supported.
    """
    if not mode:
        return text, []
    if mode.lower() == "html":
        return _html(text)
    if mode.lower() == "markdownv2":
        return _markdown(text)
    raise bad_request("unsupported parse_mode")


def detect(text: str) -> list[Entity]:
    """Commands and links that the server marks by itself."""
    return [
        {"type": kind, "offset": utf16_length(text[: match.start()]), "length": utf16_length(match[0])}
        for kind, pattern in _DETECTED
        for match in pattern.finditer(text)
    ]


def _html(source: str) -> tuple[str, list[Entity]]:
    built = _Builder()
    open_tags: list[tuple[str, str, int, Entity]] = []
    position = 0
    for match in _TAG.finditer(source):
        built.add(html.unescape(source[position : match.start()]))
        position = match.end()
        closing, name = bool(match[1]), match[2].lower()
        offset = len(source[: match.start()].encode())
        if closing:
            if not open_tags:
                raise _unparsable(f"Unexpected end tag at byte offset {offset}")
            opened, kind, start, extra = open_tags.pop()
            if name not in {opened, ""}:
                raise _unparsable(
                    f'Unmatched end tag at byte offset {offset}, expected "</{opened}>", found "</{name}>"'
                )
            built.close(kind, start, extra)
            continue
        if name not in _HTML_TYPES or not match[0].endswith(">"):
            raise _unparsable(f'Unsupported start tag "{name}" at byte offset {offset}')
        attributes = {found[1].lower(): found[2] or found[3] or found[4] or "" for found in _attributes(match[3])}
        kind, extra = _html_entity(name, attributes, open_tags, offset)
        open_tags.append((name, kind, built.units, extra))
    built.add(html.unescape(source[position:]))
    if open_tags:
        raise _unparsable(f'Can\'t find end tag corresponding to start tag "{open_tags[-1][0]}"')
    return built.result()


def _attributes(text: str) -> list[re.Match[str]]:
    return list(_ATTRIBUTE.finditer(text))


def _html_entity(
    name: str, attributes: dict[str, str], open_tags: list[tuple[str, str, int, Entity]], offset: int
) -> tuple[str, Entity]:
    if name == "a":
        return "text_link", {"url": html.unescape(attributes.get("href", ""))}
    if name == "span" and attributes.get("class") != "tg-spoiler":
        raise _unparsable(f'Tag "span" must have class "tg-spoiler" at byte offset {offset}')
    if name == "blockquote" and "expandable" in attributes:
        return "expandable_blockquote", {}
    if name == "tg-emoji":
        return "custom_emoji", {"custom_emoji_id": attributes.get("emoji-id", "")}
    language = attributes.get("class", "").removeprefix("language-")
    if name == "code" and language and open_tags and open_tags[-1][0] == "pre":
        open_tags[-1][3]["language"] = language
    return _HTML_TYPES[name], {}


def _markdown(source: str) -> tuple[str, list[Entity]]:
    built = _Builder()
    open_marks: list[tuple[str, str, int]] = []
    links: list[int] = []
    position = 0
    while position < len(source):
        rest = source[position:]
        character = rest[0]
        if character == "\\" and len(rest) > 1 and ord(rest[1]) < 127:
            built.add(rest[1])
            position += 2
        elif character == "`":
            position += _code(built, rest)
        elif mark := next(((sign, kind) for sign, kind in _MARKS if rest.startswith(sign)), None):
            if open_marks and open_marks[-1][0] == mark[0]:
                _, kind, start = open_marks.pop()
                built.close(kind, start, {})
            else:
                open_marks.append((*mark, built.units))
            position += len(mark[0])
        elif character == "[":
            links.append(built.units)
            position += 1
        elif character == "]" and links:
            target = re.match(r"\]\(((?:\\.|[^)\\])*)\)", rest)
            start = links.pop()
            if target is not None:
                built.close("text_link", start, {"url": re.sub(r"\\(.)", r"\1", target[1])})
            position += target.end() if target else 1
        elif character == ">" and (not built.text or built.text.endswith("\n")):
            position += 1
        elif character in _RESERVED:
            raise _unparsable(f"Character '{character}' is reserved and must be escaped with the preceding '\\'")
        else:
            built.add(character)
            position += 1
    if open_marks or links:
        kind = open_marks[-1][1] if open_marks else "text_link"
        raise _unparsable(f"Can't find end of {kind.capitalize()} entity at byte offset {len(source.encode())}")
    return built.result()


def _code(built: _Builder, rest: str) -> int:
    """A `` `code` `` or a fenced block at the start of ``rest``; returns how much of it was read."""
    fence = "```" if rest.startswith("```") else "`"
    block = re.match(rf"{fence}((?:\\.|(?!{fence}).)*){fence}", rest, re.DOTALL)
    if block is None:
        raise _unparsable(f"Can't find end of {'Pre' if len(fence) == 3 else 'Code'} entity at byte offset 0")
    content, extra = block[1], {}
    if len(fence) == 3:
        language, newline, body = content.partition("\n")
        if newline:
            content, extra = body, {"language": language.strip()} if language.strip() else {}
    start = built.units
    built.add(re.sub(r"\\(.)", r"\1", content))
    built.close("pre" if len(fence) == 3 else "code", start, extra)
    return block.end()


def _unparsable(reason: str) -> Exception:
    return bad_request(f"can't parse entities: {reason}")
