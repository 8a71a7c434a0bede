"""What an HTTP body says: JSON, a URL-encoded form, or a multipart form.

Forms become an object of texts; a file in a multipart form becomes `{filename, encoding, file: <base64>}`. The body is
whole and within its size limit already, so the parts are too; what is bounded here is how many there are and how
long their headers may be, since each costs more memory than its bytes.
It refuses other content types and charsets than UTF-8.
"""

import base64
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import parse_qsl

import attrs
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.core.errors import ApiError
from server.core.values import JsonError, decode_json

MAX_FORM_FIELDS: Final = 1_000
"""Fields in one form: what PHP allows; forms that people make stay far below."""

MAX_PART_HEADERS: Final = 8
"""Headers of one part: there are three that mean anything."""

MAX_PART_HEADER_BYTES: Final = 4_096
"""One header of a part: a name and a file name of the longest that file systems allow, percent-encoded."""

JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"
MULTIPART_TYPE = "multipart/form-data"


def read_body(body: bytes, content_type: str) -> Any:
    """Return what a body says; no content type means JSON.

    Raises ApiError `network.http.unsupported_content`, `unsupported_charset` or `body_parse_failed`.
    """
    kind, options = _content_type(content_type)
    if kind not in (JSON_TYPE, FORM_TYPE, MULTIPART_TYPE):
        raise ApiError("network.http.unsupported_content", kind)
    charset = options.get("charset", "utf-8")
    if charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise ApiError("network.http.unsupported_charset", charset)
    if kind == FORM_TYPE:
        return _url_encoded(body)
    if kind == MULTIPART_TYPE:
        return _multipart(body, options.get("boundary", ""))
    try:
        return decode_json(body)
    except JsonError as error:
        raise ApiError("network.http.body_parse_failed", str(error)) from None


def gathered(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs by name; a name that comes more than once has the list of its values."""
    fields: dict[str, list[Any]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def _content_type(content_type: str) -> tuple[str, dict[str, str]]:
    if not content_type:
        return JSON_TYPE, {}
    kind, options = parse_options_header(content_type.encode("latin-1", "replace"))
    return kind.decode("latin-1").lower(), {
        name.decode("latin-1"): value.decode("latin-1") for name, value in options.items()
    }


def _url_encoded(body: bytes) -> dict[str, Any]:
    if body.lstrip()[:1] == b"{":
        # What `curl -d` sends when nobody says what it is: as a form it would be one field with a very odd name.
        raise ApiError(
            "network.http.body_parse_failed",
            "it is JSON, and says that it is a form; send it with the header Content-Type: application/json",
        )
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS
        )
    except UnicodeError:
        raise ApiError("network.http.body_parse_failed", "the form is not UTF-8") from None
    except ValueError:
        raise ApiError("network.http.body_parse_failed", f"more than {MAX_FORM_FIELDS} fields") from None
    return gathered(pairs)


# -- Multipart --------------------------------------------------------------------------------------------------


def _multipart(body: bytes, boundary: str) -> dict[str, Any]:
    reader = _MultipartReader()
    try:
        parser = MultipartParser(
            boundary.encode("latin-1"),
            {
                "on_part_begin": reader.part_begins,
                "on_header_begin": reader.header_begins,
                "on_header_field": reader.header_name,
                "on_header_value": reader.header_value,
                "on_header_end": reader.header_ends,
                "on_part_data": reader.data,
                "on_part_end": reader.part_ends,
                "on_end": reader.ends,
            },
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_PART_HEADER_BYTES,
        )
        parser.logger.disabled = True  # it has a line for each malformed form, and strangers send them
        parser.write(body)
        parser.finalize()
        if not reader.has_ended:
            raise FormParserError("the last boundary is missing: a part of it may be, too")
    except (FormParserError, UnicodeError) as error:
        raise ApiError("network.http.body_parse_failed", f"the form is malformed: {error}") from None
    return gathered(reader.fields)


@attrs.define
class _MultipartReader:
    """Gathers the parser's events into fields."""

    fields: list[tuple[str, Any]] = attrs.field(factory=list)
    has_ended: bool = False
    _headers: dict[str, bytes] = attrs.field(factory=dict)
    _name: bytearray = attrs.field(factory=bytearray)
    _value: bytearray = attrs.field(factory=bytearray)
    _data: bytearray = attrs.field(factory=bytearray)

    def part_begins(self) -> None:
        if len(self.fields) == MAX_FORM_FIELDS:
            raise FormParserError(f"more than {MAX_FORM_FIELDS} fields")
        self._headers.clear()
        self._data.clear()

    def header_begins(self) -> None:
        self._name.clear()
        self._value.clear()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_ends(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = bytes(self._value)

    def data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def ends(self) -> None:
        self.has_ended = True

    def part_ends(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        name = options.get(b"name")
        if name is None:
            raise FormParserError("a part has no name")
        filename = options.get(b"filename")
        if filename is None:
            self.fields.append((name.decode(), self._data.decode()))
            return
        encoding = self._headers.get("content-transfer-encoding", b"7bit").decode("latin-1")
        file = base64.b64encode(self._data).decode("ascii")
        self.fields.append(
            (name.decode(), {"filename": filename.decode(), "encoding": encoding, "file": file})
        )
