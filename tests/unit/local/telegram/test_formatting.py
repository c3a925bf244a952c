"""``parse_mode``: plain text, entities in UTF-16 units, complaints."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbhd_local.telegram.errors import TelegramError
from nbhd_local.telegram.formatting import detect, parse, utf16_length


def entity(kind: str, offset: int, length: int, **more: str) -> dict[str, object]:
    return {"type": kind, "offset": offset, "length": length, **more}


@pytest.mark.parametrize(
    ("mode", "source", "text", "entities"),
    [
        ("", "<b>", "<b>", []),
        ("HTML", "a &lt;b&gt; c", "a <b> c", []),
        ("HTML", "<b>x <i>y</i></b>", "x y", [entity("bold", 0, 3), entity("italic", 2, 1)]),
        ("HTML", "🙂<u>z</u>", "🙂z", [entity("underline", 2, 1)]),
        (
            "HTML",
            '<a href="https://x.test/?a&amp;b">l</a>',
            "l",
            [entity("text_link", 0, 1, url="https://x.test/?a&b")],
        ),
        (
            "HTML",
            '<pre><code class="language-python">1</code></pre>',
            "1",
            [entity("pre", 0, 1, language="python"), entity("code", 0, 1)],
        ),
        ("HTML", '<span class="tg-spoiler">s</span>', "s", [entity("spoiler", 0, 1)]),
        (
            "MarkdownV2",
            "*b* _i_ ~s~",
            "b i s",
            [entity("bold", 0, 1), entity("italic", 2, 1), entity("strikethrough", 4, 1)],
        ),
        ("MarkdownV2", r"1\.5 \*", "1.5 *", []),
        ("MarkdownV2", "`a*b`", "a*b", [entity("code", 0, 3)]),
        ("MarkdownV2", "```py\nx=1```", "x=1", [entity("pre", 0, 3, language="py")]),
        ("MarkdownV2", r"[l](https://x.test/\))", "l", [entity("text_link", 0, 1, url="https://x.test/)")]),
    ],
)
def test_what_is_shown(mode: str, source: str, text: str, entities: list[dict[str, object]]) -> None:
    shown, found = parse(source, mode)
    assert shown == text
    assert sorted(map(str, found)) == sorted(map(str, entities))


@pytest.mark.parametrize(
    ("mode", "source", "complaint"),
    [
        ("HTML", "a < b", "Unsupported start tag"),
        ("HTML", "<p>x</p>", 'Unsupported start tag "p" at byte offset 0'),
        ("HTML", "<b>x</i>", 'Unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("HTML", "x</b>", "Unexpected end tag at byte offset 1"),
        ("HTML", "<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("MarkdownV2", "1.5", r"Character '.' is reserved and must be escaped with the preceding '\'"),
        ("MarkdownV2", "*b", "Can't find end of Bold entity"),
        ("MarkdownV2", "`b", "Can't find end of Code entity"),
    ],
)
def test_complaints(mode: str, source: str, complaint: str) -> None:
    with pytest.raises(TelegramError) as caught:
        parse(source, mode)
    assert complaint in caught.value.description


@given(st.text())
def test_escaped_html_shows_what_was_escaped(text: str) -> None:
    shown, entities = parse(f"<b>{html.escape(text, quote=False)}</b>", "HTML")
    assert shown == text
    assert entities == ([entity("bold", 0, utf16_length(text))] if text else [])


def test_commands_and_links_are_detected() -> None:
    assert detect("🙂 /start now https://t.me/x?start=1.") == [
        entity("bot_command", 3, 6),
        entity("url", 14, 22),
    ]
