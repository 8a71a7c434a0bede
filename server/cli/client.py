"""Asking a node over HTTP, for the commands. One question, one connection, a bounded wait; it blocks.

It takes no proxy from the environment: a cluster's own machine is asked, and a proxy would not find it. At an https URL
it believes only a certificate that is signed by somebody it knows, and for the name that it expects: there is no way to
turn that off, but ways to say whom and which name.
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
class Trust:
    """Whom to believe at an https URL."""

    ca: str | None = None
    """File (PEM) with the certificate of who signed the node's. None: whom this machine believes (OpenSSL's defaults,
    and SSL_CERT_FILE)."""
    name: str | None = None
    """The name in the certificate, if it is not the one in the URL: such as that of the node, asked at 127.0.0.1."""


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
    trust: Trust = Trust(),
) -> Answer:
    """Return the answer of the node at `url`; `body` goes as JSON. Raises NoAnswer."""
    headers = {"Connection": "close"} | ({} if body is None else {"Content-Type": "application/json"})
    content = None if body is None else json.dumps(body)
    where = urlsplit(url)
    try:
        connection = _connection(where, timeout_s, trust)
        try:
            connection.request(method, where.path.rstrip("/") + path, content, headers)
            response = connection.getresponse()
            status, said = response.status, response.read(MAX_BYTES)
        finally:
            connection.close()
    except ssl.SSLError as error:
        raise NoAnswer(f"No secure connection to {url}: {_tls_reason(error)}.") from error
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise NoAnswer(f"No node answers at {url} ({_reason(error)}). {_ADVICE}") from error
    try:
        envelope = json.loads(said)
    except ValueError:
        envelope = None
    if (
        isinstance(envelope, dict) and {"id", "message"} <= envelope.keys()
    ):  # refused before it was understood
        raise NoAnswer(f"{url} does not take this request: {envelope['message']}")
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


class _HttpsConnection(http.client.HTTPConnection):
    """As the library's own, which expects the name that it connects to."""

    default_port = http.client.HTTPS_PORT

    def __init__(self, host: str, port: int | None, timeout_s: float, trust: Trust) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._name = trust.name or host
        try:
            self._tls = ssl.create_default_context(cafile=trust.ca)
        except OSError as error:  # ssl.SSLError is one
            why = "it has no certificate (PEM) in it" if isinstance(error, ssl.SSLError) else error.strerror
            raise NoAnswer(f"{trust.ca} cannot be used (--ca): {why}.") from error

    def connect(self) -> None:
        """Connect, and shake hands."""
        super().connect()
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


def _connection(where: SplitResult, timeout_s: float, trust: Trust) -> http.client.HTTPConnection:
    if where.scheme == "https":
        return _HttpsConnection(where.hostname or "", where.port, timeout_s, trust)
    return http.client.HTTPConnection(where.hostname or "", where.port, timeout=timeout_s)


def _tls_reason(error: ssl.SSLError) -> str:
    match error:
        case ssl.SSLCertVerificationError(verify_code=code) if code in _WRONG_NAME:
            return f"{error.verify_message.rstrip('.')} (--tls-name says which name to expect)"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not believed: {error.verify_message} (--ca says whom to believe)"
        case _ if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
            return "this port does not speak TLS: write http://"
        case _:
            return str(error.reason or error).replace("_", " ").lower()


_WRONG_NAME = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH (openssl/x509_vfy.h)."""


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
