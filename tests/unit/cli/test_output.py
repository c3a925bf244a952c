"""Tables, ages and durations as kubectl has them."""

from __future__ import annotations

import datetime
import json

import pytest
import yaml

from nbhd_cli.errors import WrongUsageError
from nbhd_cli.output import age, document, duration, table
from tests.unit.cli.make import NOW


@pytest.mark.parametrize(
    ("length", "text"),
    [
        ({"seconds": -5}, "0s"),
        ({"seconds": 119}, "119s"),
        ({"minutes": 2}, "2m"),
        ({"minutes": 9, "seconds": 59}, "9m59s"),
        ({"minutes": 179}, "179m"),
        ({"hours": 3, "minutes": 5}, "3h5m"),
        ({"hours": 8}, "8h"),
        ({"hours": 47}, "47h"),
        ({"hours": 49}, "2d1h"),
        ({"days": 8}, "8d"),
        ({"days": 800}, "2y70d"),
    ],
)
def test_an_age(length: dict[str, float], text: str) -> None:
    assert age(NOW - datetime.timedelta(**length), NOW) == text


def test_an_age_that_nobody_knows() -> None:
    assert age(None, NOW) == "<unknown>"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("0s", 0)])
def test_a_duration(text: str, seconds: int) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "soon", "-1m", "1m1h", "1.5h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(WrongUsageError):
        duration(text)


def test_a_table() -> None:
    text = table(["NAME", "PHASE"], [["a-long-name", "Ready"], ["b", ""]])
    assert text == "NAME          PHASE\na-long-name   Ready\nb\n"


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_document(form: str) -> None:
    value = {"zebra": ["ä", None, 1], "ant": {}}
    text = document(value, form)
    assert (json.loads(text) if form == "json" else yaml.safe_load(text)) == value
    assert text.index("zebra") < text.index("ant")
    assert text.endswith("\n")
