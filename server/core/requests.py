"""A client's request: decoded from one message, and asked for its arguments.

    bytes  --decode_message-->  Request  --request.string("lang")-->  a typed value, or an `ApiError` that says which

It refuses to let an unchecked value through: members with a fixed meaning are checked here, once; the rest are read by
the actions through the accessors below, which name the argument and the expected type when it is wrong.
Over HTTP the arguments arrive as text (`are_texts`) and are read by the rules for query strings.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from server.core.errors import ApiError
from server.core.responses import PONG, Response
from server.core.session import Session
from server.core.values import JsonError, decode_json, decoder_of

Body = dict[str, Any] | list[Any]

_FIXED = frozenset(
    ("requestId", "controller", "action", "jwt", "volatile", "body", "index", "collection", "_id")
)  # fmt: skip
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,4096}")


class MessageError(Exception):
    """There is no request in this message; `response` is what to answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.error)
        self.response = response


MAX_NAME_BYTES: Final = 126
"""An index's or a collection's name, in UTF-8: Kuzzle's limit. Every node keeps both for every room."""


def _of_a_names_length(argument: str, name: str) -> str:
    if len(name) > MAX_NAME_BYTES or len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES:
        raise ApiError("api.assert.invalid_argument", argument, f"a name of at most {MAX_NAME_BYTES} bytes")
    return name


class Request(msgspec.Struct, eq=False, kw_only=True):
    """One call of one API action. A struct: made for each message, at a third of the cost.

    Pipes may change it on its way. `index`, `collection` and `document_id` are None also when the client sent something
    that is no string; it is then still in `args`, so that the accessors can say so.
    """

    id: str
    controller: str | None
    action: str | None
    session: Session
    received_at: int
    """Milliseconds since 1970."""
    index: str | None = None
    collection: str | None = None
    document_id: str | None = None
    body: Body | None = None
    volatile: dict[str, Any] | None = None
    jwt: str | None = None
    args: dict[str, Any] = {}
    """All other top-level members, unchecked."""
    protocol: str = "websocket"
    are_texts: bool = False
    """Whether `args` came from a URL, where everything is text."""
    is_pretty: bool = False
    """Whether the response is for people's eyes (`?pretty`)."""
    headers: dict[str, str] = {}
    """Of the response; see `set_header`."""
    on_sent: Callable[[], None] | None = None
    """Set by an action that has something to do as soon as the response was handed to the socket."""

    def set_header(self, name: str, value: str) -> None:
        """Let the response carry a header (in the envelope, and over HTTP as a real one). ValueError if it is none."""
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"not a header that HTTP can carry: {name!r}: {value!r}")
        self.headers[name] = value

    # -- The place that the request is about ------------------------------------------------------------------

    def require_index(self) -> str:
        """Return the index's name; `api.assert.*` when it is missing, empty, too long or no string."""
        return _of_a_names_length("index", self._required_name("index", self.index))

    def require_collection(self) -> str:
        """Return the collection's name; `api.assert.*` when it is missing, empty, too long or no string."""
        return _of_a_names_length("collection", self._required_name("collection", self.collection))

    def optional_id(self) -> str | None:
        """Return the document's id, None when there is none; `api.assert.*` when it is empty or no string."""
        if self.document_id is None and self.args.get("_id") is None:
            return None
        return self._required_name("_id", self.document_id)

    def _required_name(self, name: str, value: str | None) -> str:
        if value:
            return value
        if value is not None:
            raise ApiError("api.assert.empty_argument", name)
        if self.args.get(name) is None:
            raise ApiError("api.assert.missing_argument", name)
        raise ApiError("api.assert.invalid_type", name, "string")

    # -- The body ---------------------------------------------------------------------------------------------

    def require_body(self) -> dict[str, Any]:
        """Return the body; `api.assert.body_required` without one, `invalid_type` when it is an array."""
        if self.body is None:
            raise ApiError("api.assert.body_required")
        if not isinstance(self.body, dict):
            raise ApiError("api.assert.invalid_type", "body", "object")
        return self.body

    def body_string(self, name: str) -> str:
        """Return a text of the body; `api.assert.*` when it is missing, empty or no string."""
        value = self.require_body().get(name)
        if value is None:
            raise ApiError("api.assert.missing_argument", f"body.{name}")
        if not isinstance(value, str):
            raise ApiError("api.assert.invalid_type", f"body.{name}", "string")
        if not value:
            raise ApiError("api.assert.empty_argument", f"body.{name}")
        return value

    # -- Other arguments --------------------------------------------------------------------------------------

    def string(self, name: str, default: str | None = None) -> str:
        """Return a text argument; `missing_argument` when there is neither it nor a default, `invalid_type`."""
        value = self.args.get(name)
        if value is None:
            value = default
        if value is None:
            raise ApiError("api.assert.missing_argument", name)
        if not isinstance(value, str):
            raise ApiError("api.assert.invalid_type", name, "string")
        return value

    def boolean(self, name: str) -> bool:
        """Return a flag, False when absent. In a URL its presence means true, whatever it is set to."""
        if self.are_texts:
            return name in self.args
        value = self.args.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise ApiError("api.assert.invalid_type", name, "boolean")
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """Return a whole number (in a URL: decimal digits); `missing_argument`, `invalid_type`."""
        value = self.number(name, default)
        if value != int(value):
            raise ApiError("api.assert.invalid_type", name, "integer")
        return int(value)

    def number(self, name: str, default: float | None = None) -> float:
        """Return a number (in a URL: as JSON writes it); `missing_argument`, `invalid_type`."""
        value = self._parsed(name, "number")
        if value is None:
            value = default
        if value is None:
            raise ApiError("api.assert.missing_argument", name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ApiError("api.assert.invalid_type", name, "number")
        return value

    def array(self, name: str) -> list[Any]:
        """Return a list (in a URL: as JSON text, or one repeated argument); `missing_argument`, `invalid_type`."""
        value = self._parsed(name, "array")
        if value is None:
            raise ApiError("api.assert.missing_argument", name)
        if not isinstance(value, list):
            raise ApiError("api.assert.invalid_type", name, "array")
        return value

    def object(self, name: str) -> dict[str, Any]:
        """Return an object (in a URL: as JSON text); `missing_argument`, `invalid_type`."""
        value = self._parsed(name, "object")
        if value is None:
            raise ApiError("api.assert.missing_argument", name)
        if not isinstance(value, dict):
            raise ApiError("api.assert.invalid_type", name, "object")
        return value

    def _parsed(self, name: str, expected: str) -> Any:
        value = self.args.get(name)
        if not self.are_texts or not isinstance(value, str):
            return value
        try:
            return decode_json(value)
        except JsonError:
            raise ApiError("api.assert.invalid_type", name, expected) from None


# -- Decoding ---------------------------------------------------------------------------------------------------


class _Plain(
    msgspec.Struct, forbid_unknown_fields=True, rename={"request_id": "requestId", "document_id": "_id"}
):
    """A message with nothing but members of a fixed meaning, each of the right type: most are. It is decoded into this
    at once, and checked by that."""

    request_id: str | None = None
    controller: str | None = None
    action: str | None = None
    jwt: str | None = None
    volatile: dict[str, Any] | None = None
    body: Body | None = None
    index: str | None = None
    collection: str | None = None
    document_id: str | None = None


_decode_plain = decoder_of(_Plain)


def decode_message(data: str | bytes, session: Session, new_id: Callable[[], str], now_ms: int) -> Request:
    """Return the request in one WebSocket message.

    `new_id` is called when the client gave no request id. Raises `MessageError` with the answer when the message is
    no request: it is the heartbeat `{"p":1}` (answer: pong), it is no JSON object, or a member has the wrong type.
    """
    try:
        plain = _decode_plain(data)
    except JsonError:
        pass  # what is wrong with it, or only unusual, is found below
    else:
        return Request(
            id=plain.request_id or new_id(),
            controller=plain.controller,
            action=plain.action,
            session=session,
            received_at=now_ms,
            index=plain.index,
            collection=plain.collection,
            document_id=plain.document_id,
            body=plain.body,
            volatile=plain.volatile,
            jwt=plain.jwt,
            protocol=session.protocol,
        )
    try:
        message = decode_json(data)
    except JsonError as error:
        raise _refusal(new_id(), ApiError("network.websocket.unexpected_error", str(error))) from None
    if not isinstance(message, dict):
        raise _refusal(new_id(), ApiError("network.websocket.unexpected_error", "not a JSON object"))
    if len(message) == 1 and message.get("p") == 1:
        raise MessageError(PONG)
    return request_from(message, session, new_id, now_ms)


def request_from(
    message: Mapping[str, Any],
    session: Session,
    new_id: Callable[[], str],
    now_ms: int,
    *,
    fixed_id: str | None = None,
) -> Request:
    """Return the request in a decoded object; a `fixed_id` replaces the one in it. Raises `MessageError`."""
    get = message.get
    request_id = fixed_id if fixed_id is not None else get("requestId")
    if request_id is None or request_id == "":
        request_id = new_id()
    elif type(request_id) is not str:
        # A number is echoed, since it is all that the client can tell its answer by.
        echo = request_id if isinstance(request_id, (int, float)) else new_id()
        raise _refusal(echo, ApiError("api.assert.invalid_type", "requestId", "string"))

    controller, action, jwt, volatile, body = (
        get("controller"),
        get("action"),
        get("jwt"),
        get("volatile"),
        get("body"),
    )
    if (
        (controller is not None and type(controller) is not str)
        or (action is not None and type(action) is not str)
        or (jwt is not None and type(jwt) is not str)
        or (volatile is not None and type(volatile) is not dict)
        or (body is not None and type(body) is not dict and type(body) is not list)
    ):
        raise _refusal(request_id, _wrong_member(message))

    args = {name: value for name, value in message.items() if name not in _FIXED}
    return Request(
        id=request_id,
        controller=controller,
        action=action,
        session=session,
        received_at=now_ms,
        index=_text_or_kept("index", message, args),
        collection=_text_or_kept("collection", message, args),
        document_id=_text_or_kept("_id", message, args),
        body=body,
        volatile=volatile,
        jwt=jwt,
        args=args,
        protocol=session.protocol,
    )


def _text_or_kept(name: str, message: Mapping[str, Any], args: dict[str, Any]) -> str | None:
    value = message.get(name)
    if value is None or type(value) is str:
        return value
    args[name] = value
    return None


def _wrong_member(message: Mapping[str, Any]) -> ApiError:
    for name in ("controller", "action", "jwt"):
        if not isinstance(message.get(name), str | None):
            return ApiError("api.assert.invalid_type", name, "string")
    if not isinstance(message.get("volatile"), dict | None):
        return ApiError("api.assert.invalid_type", "volatile", "object")
    return ApiError("api.assert.invalid_type", "body", "object, array")


def _refusal(request_id: Any, error: ApiError) -> MessageError:
    return MessageError(Response(status=error.status, request_id=request_id, error=error))
