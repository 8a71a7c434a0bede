"""JSON from strangers: sound, of bounded depth, and always of one kind of failure."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.values import MAX_DEPTH, JsonError, decode_json, encode_json


def nested(depth: int, inner: str = "") -> str:
    return "[" * depth + inner + "]" * depth


def test_depth_is_bounded() -> None:
    assert decode_json(nested(MAX_DEPTH)) is not None
    assert decode_json(nested(MAX_DEPTH).encode()) is not None
    for text in (nested(MAX_DEPTH + 1), nested(900), nested(100_000)):
        with pytest.raises(JsonError, match="too deep"):
            decode_json(text)
    with pytest.raises(JsonError, match="too deep"):
        decode_json('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1))


def test_depth_is_not_length_nor_brackets_in_texts() -> None:
    flat = [{"a": [1]}] * 1_000
    assert decode_json(encode_json(flat)) == flat
    assert decode_json(encode_json("[" * 1_000)) == "[" * 1_000
    assert decode_json("1" + " " * 1_000) == 1


@pytest.mark.parametrize(
    "data",
    ["", " ", "{", "nope", "NaN", "1e999", '"\\ud800"', b"\xff", b'"\xed\xa0\x80"', '"\ud800"', "9" * 5_000],
)
def test_what_is_no_json_has_one_kind_of_failure(data: str | bytes) -> None:
    with pytest.raises(JsonError):
        decode_json(data)


@given(st.binary() | st.text())
def test_any_bytes_are_a_value_or_a_json_error(data: bytes | str) -> None:
    try:
        value = decode_json(data)
    except JsonError:
        return
    encode_json(value)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_was_encoded_is_decoded(value: Any) -> None:
    assert decode_json(encode_json(value)) == value
