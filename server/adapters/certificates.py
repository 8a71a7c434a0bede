"""The node's certificate and key: read from two files, checked, and read anew when that is asked for.

What is checked is what clients would trip over: the files are there and fit together, a handshake with them works, and
it is the time that they are for. It refuses what cannot be used with a message that names the setting, the file and the
way out. Whoever is connected stays with what was shown when it came; while the new files cannot be used, the old are.
"""

import contextlib
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import trio
from structlog.typing import FilteringBoundLogger

WARNING_S: Final = 3 * 86_400.0
"""Before a certificate ends, the log says so: when whatever renews it should long have done so."""

_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h): we look at the times ourselves, to say them."""

_ROUNDS: Final = 3
"""Times that each side of a handshake speaks, at most."""


class CertificateError(Exception):
    """The certificate and its key cannot be used; the message says why, and what to do."""


@attrs.frozen(eq=False)
class Shown:
    """What new clients are shown."""

    context: ssl.SSLContext
    names: tuple[str, ...]
    """Hosts that the certificate is for."""
    valid_until: str
    """As certificates say it: `Nov 28 23:32:15 2026 GMT`."""
    valid_until_s: float
    """Seconds since 1970."""


class Certificates:
    """A certificate and its key, as they were in their files when those were last of use."""

    def __init__(self, certificate: str, key: str, clock: Callable[[], float] = time.time) -> None:
        """Read the files. Raises CertificateError."""
        self._certificate = certificate
        self._key = key
        self._clock = clock
        self._shown = read_files(certificate, key, clock())
        self._asked = trio.Event()

    @property
    def context(self) -> ssl.SSLContext:
        """What the next client is shown."""
        return self._shown.context

    def read_anew(self) -> None:
        """Let `run` read the files again."""
        self._asked.set()

    async def run(self, log: FilteringBoundLogger) -> None:
        """Read the files whenever that is asked for, and say when time is running out; until cancelled."""
        self._say(log)
        while True:
            await self._is_asked_for(log)
            try:
                self._shown = await trio.to_thread.run_sync(
                    read_files, self._certificate, self._key, self._clock()
                )
            except CertificateError as error:
                log.error("certificate not replaced", reason=str(error), valid_until=self._shown.valid_until)
            else:
                self._say(log)

    def _say(self, log: FilteringBoundLogger) -> None:
        log.info("certificate in use", names=list(self._shown.names), valid_until=self._shown.valid_until)

    async def _is_asked_for(self, log: FilteringBoundLogger) -> None:
        left_s = self._shown.valid_until_s - WARNING_S - self._clock()
        with trio.move_on_after(max(left_s, 0.0)) as patience:
            await self._asked.wait()
        if patience.cancelled_caught:
            log.warning("certificate expires soon", valid_until=self._shown.valid_until)
            await self._asked.wait()
        self._asked = trio.Event()


def read_files(certificate: str, key: str, now_s: float) -> Shown:
    """Return what the two files hold, if it can be used at `now_s` (seconds since 1970). Raises CertificateError."""
    if b"-----BEGIN CERTIFICATE-----" not in _read("tls_certificate", certificate):
        raise CertificateError(
            f"server.tls_certificate: {certificate} has no certificate in it. It has to be PEM: text with the line "
            "-----BEGIN CERTIFICATE-----"
        )
    key_text = _read("tls_key", key)
    if b"ENCRYPTED" in key_text:
        raise CertificateError(
            f"server.tls_key: {key} is locked with a passphrase, and nobody will be there to type it. Write the key "
            f"without one, readable by this user only: openssl pkey -in {key} -out …"
        )
    if b"PRIVATE KEY-----" not in key_text:
        raise CertificateError(
            f"server.tls_key: {key} has no private key in it. It has to be PEM: text with a line such as "
            "-----BEGIN PRIVATE KEY-----"
        )
    context = _context(certificate, key)
    facts = _as_a_client_sees_it(context, certificate)
    begins, ends = str(facts["notBefore"]), str(facts["notAfter"])
    if ssl.cert_time_to_seconds(ends) <= now_s:
        raise CertificateError(
            f"server.tls_certificate: {certificate} has expired: it was valid until {ends}"
        )
    if ssl.cert_time_to_seconds(begins) > now_s:
        raise CertificateError(
            f"server.tls_certificate: {certificate} is valid from {begins} on only; or this machine's clock is wrong"
        )
    names = tuple(name for _, name in facts.get("subjectAltName", ()))
    return Shown(context, names, ends, ssl.cert_time_to_seconds(ends))


def _read(setting: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CertificateError(f"server.{setting}: {path} cannot be read: {error.strerror}") from error


def _context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # With a password given, a key that wants one is refused. Without, OpenSSL would ask for it on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError) as error:
        raise CertificateError(
            f"server.tls_certificate: {certificate} and server.tls_key: {key} cannot be used together: "
            f"{_reason(error)}. The first certificate in the file has to be that of the key"
        ) from error
    return context


def _as_a_client_sees_it(context: ssl.SSLContext, certificate: str) -> dict[str, Any]:
    """Return the facts of the certificate, as they come out of a handshake in memory. Raises CertificateError."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client_context.load_verify_locations(cafile=certificate)
        client = client_context.wrap_bio(to_client, to_server)
        server = context.wrap_bio(to_server, to_client, server_side=True)
        for side in (client, server) * _ROUNDS:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        facts: dict[str, Any] = client.getpeercert() or {}
    except (ssl.SSLError, OSError, ValueError) as error:
        raise CertificateError(
            f"server.tls_certificate: {certificate} cannot be used by a server: {_reason(error)}"
        ) from error
    return facts


def _reason(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return error.verify_message
        case ssl.SSLError():
            return str(error.reason or error).replace("_", " ").lower()
        case OSError():
            return str(error.strerror or error).lower()
        case _:
            return str(error)
