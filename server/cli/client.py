"""Asking a node over HTTP, for the commands. One question, one connection, a bounded wait; it blocks.

It takes no proxy from the environment: a cluster's own machine is asked, and a proxy would not find it.
"""

import http.client
import json
import socket
import ssl
from typing import Any
from urllib.parse import SplitResult, urlsplit

import attrs

TIMEOUT_S = 5.0
"""A node answers these questions from memory; one that takes longer is in trouble, and that is the answer."""

MAX_BYTES = 16 * 1024 * 1024
"""Of an answer. The status of a thousand nodes is under one."""


class NoAnswer(Exception):
    """There is no node at the URL, or nothing of use came from it; the message says what to do."""


@attrs.frozen
class Answer:
    """What a node answered."""

    status: int
    envelope: dict[str, Any]

    @property
    def result(self) -> Any:
        """What was asked for; None when the answer is an error."""
        return self.envelope.get("result")

    @property
    def reason(self) -> str:
        """Why the answer is an error. The cluster's own says `ko` and carries the reason beside it."""
        error = self.envelope.get("error") or {}
        message, props = error.get("message"), [str(prop) for prop in error.get("props") or []]
        if message == "ko" and props:
            return "; ".join(props)
        return str(message or f"HTTP status {self.status}")


def ask(
    url: str,
    path: str,
    method: str = "GET",
    timeout_s: float = TIMEOUT_S,
    *,
    body: dict[str, Any] | None = None,
) -> Answer:
    """Return the answer of the node at `url`; `body` goes as JSON. Raises NoAnswer."""
    headers = {"Connection": "close"} | ({} if body is None else {"Content-Type": "application/json"})
    content = None if body is None else json.dumps(body)
    where = urlsplit(url)
    try:
        connection = _connection(where, timeout_s)
        try:
            connection.request(method, where.path.rstrip("/") + path, content, headers)
            response = connection.getresponse()
            status, said = response.status, response.read(MAX_BYTES)
        finally:
            connection.close()
    except ssl.SSLError as error:
        raise NoAnswer(f"No secure connection to {url}: {error.reason or error}.") from error
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise NoAnswer(f"No node answers at {url} ({_reason(error)}). {_ADVICE}") from error
    try:
        envelope = json.loads(said)
    except ValueError:
        envelope = None
    if not isinstance(envelope, dict) or "error" not in envelope:
        raise NoAnswer(f"What answers at {url} is not a Shoal node (HTTP status {status}). {_ADVICE}")
    return Answer(status, envelope)


def is_url(url: str) -> bool:
    """Tell whether `ask` can make sense of the URL."""
    try:
        where = urlsplit(url)
        return where.scheme in ("http", "https") and bool(where.hostname) and where.port != 0
    except ValueError:
        return False


_ADVICE = "Start a cluster with `shoal up`, or name a running node with --url."


def _connection(where: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    return kind(where.hostname or "", where.port, timeout=timeout_s)


def _reason(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "it did not answer in time"
        case socket.gaierror() | UnicodeError():
            return "its host name is not known"
        case OSError():
            return (error.strerror or str(error)).lower()
        case _:
            return "it does not speak HTTP"
