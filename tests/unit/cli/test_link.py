"""The QR code that ``kubectl nbhd link`` draws is the one that a phone reads."""

from __future__ import annotations

import re

import segno

from nbhd_cli.link import picture

URL = "https://t.me/nbhd_bot?start=" + "A" * 64
_LIGHT = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
"""Whether the upper and the lower half of a character are drawn, white."""


def test_the_picture_shows_every_module() -> None:
    lines = [re.fullmatch(r"\x1b\[97;40m(.*)\x1b\[0m", line) for line in picture(URL).splitlines()]
    rows: list[list[int]] = []
    for line in lines:
        assert line is not None
        rows += map(list, zip(*(_LIGHT[character] for character in line.group(1)), strict=True))
    code = segno.make(URL, error="m", micro=False)
    expected = [[int(not module) for module in row] for row in code.matrix_iter(border=2)]
    assert rows[: len(expected)] == expected
    assert len(rows) - len(expected) <= 1


def test_it_fits_a_terminal_of_eighty_columns() -> None:
    lines = re.sub(r"\x1b\[[0-9;]*m", "", picture(URL)).splitlines()
    assert max(map(len, lines)) <= 60
    assert len(lines) <= 30
