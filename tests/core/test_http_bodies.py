"""Bodies of HTTP requests: three content types, one charset, bounded parts."""

import base64
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.bodies import MAX_FORM_FIELDS, MAX_PART_HEADER_BYTES, MAX_PART_HEADERS, gathered, read_body
from server.core.errors import ApiError

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XX"


def multipart(*parts: tuple[Iterable[str], bytes], end: bytes = b"--XX--\r\n") -> bytes:
    written = b""
    for headers, data in parts:
        written += (
            b"--XX\r\n" + "".join(f"{header}\r\n" for header in headers).encode() + b"\r\n" + data + b"\r\n"
        )
    return written + end


def disposition(text: str) -> list[str]:
    return [f"Content-Disposition: form-data; {text}"]


def error_of(body: bytes, content_type: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read_body(body, content_type)
    return caught.value


def test_a_malformed_form_leaves_no_line_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    assert error_of(b"no form", MULTIPART).id == "network.http.body_parse_failed"
    assert caplog.records == []


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=utf8",
        "application/json; q=1",
    ],
)
def test_json_is_what_is_meant_when_nothing_is_said(content_type: str) -> None:
    assert read_body('{"x":"é"}'.encode(), content_type) == {"x": "é"}


def test_other_types_and_charsets_are_refused_by_name() -> None:
    error = error_of(b"x", "text/plain; charset=utf-8")
    assert (error.id, error.props) == ("network.http.unsupported_content", ("text/plain",))
    error = error_of(b"{}", "application/json; charset=latin1")
    assert (error.id, error.props) == ("network.http.unsupported_charset", ("latin1",))


def test_broken_json_is_refused() -> None:
    assert error_of(b"{nope", "").id == "network.http.body_parse_failed"
    assert error_of(b"[" * 200, "").id == "network.http.body_parse_failed"


# -- URL-encoded -----------------------------------------------------------------------------------------------------


def test_a_form_is_an_object_of_texts() -> None:
    assert read_body(b"a=1&b=&c=x+y&c=%C3%A9", FORM) == {"a": "1", "b": "", "c": ["x y", "é"]}


@pytest.mark.parametrize("body", [b"\xff=1", b"a=%ff"])
def test_a_form_is_utf8(body: bytes) -> None:
    assert "UTF-8" in error_of(body, FORM).message


def test_a_form_has_a_bounded_number_of_fields() -> None:
    assert str(MAX_FORM_FIELDS) in error_of(b"a=1&" * (MAX_FORM_FIELDS + 1), FORM).message


# -- Multipart -------------------------------------------------------------------------------------------------------


def test_fields_and_files_of_a_multipart_form() -> None:
    body = multipart(
        (disposition('name="text"'), "é".encode()),
        (disposition('name="many"'), b"1"),
        (disposition('name="many"'), b"2"),
        ([*disposition('name="file"; filename="a.bin"'), "Content-Type: image/png"], b"\x00\xff"),
        ([*disposition('name="old"; filename="b"'), "content-transfer-encoding: binary"], b"x"),
    )
    assert read_body(body, MULTIPART) == {
        "text": "é",
        "many": ["1", "2"],
        "file": {"filename": "a.bin", "encoding": "7bit", "file": base64.b64encode(b"\x00\xff").decode()},
        "old": {"filename": "b", "encoding": "binary", "file": base64.b64encode(b"x").decode()},
    }


def test_an_empty_form_is_an_empty_object() -> None:
    assert read_body(multipart(), MULTIPART) == {}


@pytest.mark.parametrize(
    "body",
    [
        b"not a form",
        multipart((disposition('name="a"'), b"1"), end=b""),
        multipart((["X: y"], b"1")),
        multipart((disposition('name="a"'), b"\xff")),
        multipart(([f"X-{n}: y" for n in range(MAX_PART_HEADERS + 1)], b"1")),
        multipart((["X: " + "y" * MAX_PART_HEADER_BYTES], b"1")),
        multipart(*[(disposition('name="a"'), b"1")] * (MAX_FORM_FIELDS + 1)),
    ],
    ids=["no form", "no end", "no name", "no utf-8", "many headers", "long header", "many parts"],
)
def test_a_broken_or_boundless_form_is_refused(body: bytes) -> None:
    assert error_of(body, MULTIPART).id == "network.http.body_parse_failed"


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=é"],
)
def test_a_multipart_form_without_a_usable_boundary_is_refused(content_type: str) -> None:
    assert error_of(multipart(), content_type).id == "network.http.body_parse_failed"


@given(
    st.binary(max_size=300), st.sampled_from(["", FORM, MULTIPART, MULTIPART + "; boundary"]), st.booleans()
)
def test_any_body_is_read_or_refused(body: bytes, content_type: str, opens_well: bool) -> None:
    if opens_well:
        body = b'--XX\r\nContent-Disposition: form-data; name="a' + body
    try:
        read_body(body, content_type)
    except ApiError as error:
        refused = error.id
    else:
        refused = None
    assert refused in (None, "network.http.body_parse_failed")


@given(st.text())
def test_any_content_type_is_known_or_refused(content_type: str) -> None:
    try:
        read_body(b"{}", content_type)
    except ApiError as error:
        assert error.id.startswith("network.http.")  # noqa: PT017 - either outcome is right


def test_pairs_of_one_name_are_gathered() -> None:
    assert gathered([("a", 1), ("b", 2), ("a", 3)]) == {"a": [1, 3], "b": 2}


@pytest.mark.parametrize("body", [b'{"name": "Argo"}', b'\n {"a=b": 1}', b"{"])
def test_json_that_says_it_is_a_form_is_refused_with_the_header_to_send(body: bytes) -> None:
    with pytest.raises(ApiError, match="Content-Type: application/json"):
        read_body(body, FORM)
