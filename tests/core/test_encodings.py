"""Bodies in and out of their encodings: any split of the bytes, any order of layers, and bombs."""

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.encodings import BodyDecoder, Encoding, choose_encoding, encode
from server.core.errors import ApiError
from support.pieces import pieces_of

LIMIT = 10_000


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
}


def decoded(encoding: str, data: bytes, *, limit: int = LIMIT, pieces: tuple[int, ...] = (10**9,)) -> bytes:
    decoder = BodyDecoder(encoding, limit)
    for piece in pieces_of(data, pieces):
        decoder.feed(piece)
    return decoder.finish()


sizes = st.lists(st.integers(1, 50), min_size=1, max_size=5).map(tuple)


@given(st.binary(max_size=2_000), st.lists(st.sampled_from(sorted(ENCODERS)), max_size=3), sizes)
def test_a_body_is_decoded_whatever_its_layers_and_however_it_arrives(
    body: bytes, layers: list[str], pieces: tuple[int, ...]
) -> None:
    data = body
    for layer in layers:
        data = ENCODERS[layer](data)
    assert decoded(", ".join(layers).upper(), data, pieces=pieces) == body


@given(st.binary(max_size=2_000), sizes)
def test_deflate_is_understood_also_without_the_header_that_belongs_to_it(
    body: bytes, pieces: tuple[int, ...]
) -> None:
    assert decoded("deflate", raw_deflate(body), pieces=pieces) == body


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=4), sizes)
def test_several_members_of_gzip_are_one_body(bodies: list[bytes], pieces: tuple[int, ...]) -> None:
    data = b"".join(gzip.compress(body) for body in bodies)
    assert decoded("gzip", data, pieces=pieces) == b"".join(bodies)


@given(st.sampled_from(["gzip", "deflate", "gzip, deflate", ""]), st.binary(max_size=300), sizes)
def test_garbage_is_refused_or_taken_for_what_it_says_but_nothing_else_happens(
    encoding: str, data: bytes, pieces: tuple[int, ...]
) -> None:
    try:
        body = decoded(encoding, data, pieces=pieces)
    except ApiError as error:
        assert error.status in (400, 413)  # noqa: PT017 - either outcome is right
    else:
        assert len(body) <= LIMIT


def refusal(encoding: str, data: bytes, **options: int) -> str:
    with pytest.raises(ApiError) as caught:
        decoded(encoding, data, **options)  # type: ignore[arg-type]  # only `limit` is passed
    return caught.value.id


def test_a_bomb_goes_off_at_the_limit_in_any_layer() -> None:
    bomb = gzip.compress(bytes(100_000_000))
    assert refusal("gzip", bomb, limit=1_000_000) == "network.http.request_too_large"
    assert refusal("gzip, gzip", gzip.compress(bomb), limit=1_000_000) == "network.http.request_too_large"
    assert refusal("deflate", zlib.compress(bytes(LIMIT + 1))) == "network.http.request_too_large"


def test_the_limit_is_exact() -> None:
    assert len(decoded("", bytes(LIMIT))) == LIMIT
    assert refusal("", bytes(LIMIT + 1)) == "network.http.request_too_large"
    assert len(decoded("gzip", gzip.compress(bytes(LIMIT)))) == LIMIT
    assert refusal("gzip", gzip.compress(bytes(LIMIT + 1))) == "network.http.request_too_large"


def test_a_body_that_ends_too_early_is_refused() -> None:
    assert refusal("gzip", gzip.compress(b"hello")[:-1]) == "network.http.unexpected_error"
    assert refusal("deflate", b"x") == "network.http.unexpected_error"


def test_what_follows_the_end_of_deflate_is_refused() -> None:
    assert refusal("deflate", zlib.compress(b"hello") + b"x") == "network.http.unexpected_error"


def test_no_body_needs_no_decoding() -> None:
    assert decoded("gzip", b"") == b""


def test_encodings_that_are_none_or_too_many_are_refused_before_the_body() -> None:
    with pytest.raises(ApiError, match="br"):
        BodyDecoder("gzip, br", LIMIT)
    with pytest.raises(ApiError, match="too many"):
        BodyDecoder("gzip, gzip, gzip, gzip", LIMIT)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", Encoding.IDENTITY),
        ("gzip", Encoding.GZIP),
        ("x-gzip", Encoding.GZIP),
        ("gzip, deflate, br", Encoding.GZIP),
        ("deflate, gzip", Encoding.GZIP),
        ("deflate;q=0.9, gzip;q=0.5", Encoding.DEFLATE),
        ("deflate", Encoding.DEFLATE),
        ("*", Encoding.GZIP),
        ("gzip;q=0, *", Encoding.DEFLATE),
        ("identity, gzip;q=0.5", Encoding.IDENTITY),
        ("identity;q=0.5, gzip;q=0.4", Encoding.IDENTITY),
        ("br", Encoding.IDENTITY),
        ("gzip;q=0", Encoding.IDENTITY),
        ("*;q=0, identity;q=0", Encoding.IDENTITY),
        ("gzip;level=9;q=1.0", Encoding.GZIP),
        ("gzip;q=nonsense", Encoding.IDENTITY),
        ("gzip;q=nan", Encoding.IDENTITY),
    ],
)
def test_the_client_gets_the_encoding_that_it_likes_best(accept: str, chosen: Encoding) -> None:
    assert choose_encoding(accept) is chosen


@given(st.text())
def test_any_wish_is_understood_somehow(accept: str) -> None:
    assert choose_encoding(accept) in Encoding


@given(st.binary(), st.sampled_from(Encoding))
def test_an_answer_can_be_decoded_again(body: bytes, encoding: Encoding) -> None:
    assert decoded(encoding.value, encode(body, encoding), limit=10**9) == body
