"""The catalogue keeps to what the bot may say."""

from __future__ import annotations

import re

import pytest

from nbhd_router.texts import Text, Texts

FORBIDDEN = re.compile(
    r"\b(pay|pays|paid|payment|payments|price|prices|priced|money|bill|bills|billing|invoice|invoices|subscribe|"
    r"subscription|subscriptions|subscriber|renew|renews|renewal|checkout|portal|stripe|card|cost|costs|charge|"
    r"charged|refund|purchase|buy|trial|plan|plans|upgrade|usd|dollar|dollars|euro|eur|stars?)\b|[$€£]",
    re.IGNORECASE,
)
BUTTONS = (Text.BUTTON_CONNECT, Text.BUTTON_NOT_ME)
SENTENCES = [text for text in Text if text not in BUTTONS]


@pytest.mark.parametrize("text", list(Text), ids=lambda text: text.name)
def test_no_text_speaks_of_money(text: Text) -> None:
    assert not FORBIDDEN.search(text.value)


@pytest.mark.parametrize("text", list(Text), ids=lambda text: text.name)
def test_links_lead_to_the_account_page_only(text: Text) -> None:
    assert set(re.findall(r"\{(\w*)\}", text.value)) <= {"link", "account", "until"}
    said = Texts("https://account.example/me").say(text, "ABC123")
    assert set(re.findall(r"(?:https?://|www\.|t\.me/)\S*", said)) <= {"https://account.example/me"}


@pytest.mark.parametrize("text", SENTENCES, ids=lambda text: text.name)
def test_each_says_what_happened_and_what_to_do_next(text: Text) -> None:
    assert len(re.findall(r"[.:!?;](?:\s|$)", text.value)) >= 2
    assert re.search(r"\b(open|write|send|wait|press|use|read|need not|look|see|compare)\b", text.value, re.IGNORECASE)


def test_texts_are_distinct_and_fit_a_message() -> None:
    assert len({text.value for text in Text}) == len(Text.__members__)
    assert all(len(text.value) < 1000 for text in Text)
