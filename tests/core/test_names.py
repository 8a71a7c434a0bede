"""Laws of a node's readable name."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core import names
from server.core.names import ENTROPY_BYTES, readable_id


@given(st.binary(min_size=ENTROPY_BYTES, max_size=16))
def test_a_name_is_safe_wherever_it_is_written(entropy: bytes) -> None:
    assert re.fullmatch(r"[a-z]{3,9}-[a-z]{3,9}-[0-9a-f]{4}", readable_id(entropy))


def test_the_same_bytes_give_the_same_name() -> None:
    assert readable_id(b"\x05\x07\x3f\x9c") == readable_id(b"\x05\x07\x3f\x9c and more")


def test_every_byte_counts() -> None:
    base = readable_id(bytes(4))
    changed = {readable_id(bytes(1 if at == i else 0 for at in range(4))) for i in range(4)}
    assert len(changed | {base}) == 5


def test_no_word_is_there_twice_and_each_is_as_likely() -> None:
    for words in (names._ADJECTIVES, names._ANIMALS):
        assert len(words) == len(set(words)) == 128


@pytest.mark.parametrize("entropy", [b"", b"abc"])
def test_too_few_bytes_are_refused(entropy: bytes) -> None:
    with pytest.raises(ValueError, match="needs 4 random bytes"):
        readable_id(entropy)
