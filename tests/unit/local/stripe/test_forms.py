"""The nested form encoding, against the encoder of the real library."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stripe._encode import _api_encode

from nbhd_local.stripe.errors import StripeError
from nbhd_local.stripe.forms import decode

NAMES = st.text("abc_", min_size=1, max_size=4)
VALUES = st.recursive(
    st.text(max_size=5),
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(NAMES, inner, min_size=1, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60)
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_what_the_library_encodes_decodes_to_the_same(params: dict[str, Any]) -> None:
    assert decode((str(key), str(value)) for key, value in _api_encode(params)) == params


def test_empty_brackets_append() -> None:
    assert decode([("lookup_keys[]", "a"), ("lookup_keys[]", "b")]) == {"lookup_keys": ["a", "b"]}


@pytest.mark.parametrize(
    "pairs", [[("a[", "1")], [("a]b", "1")], [("a", "1"), ("a[b]", "2")], [("a[b]", "2"), ("a", "1")]]
)
def test_contradictions_are_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(StripeError):
        decode(pairs)
