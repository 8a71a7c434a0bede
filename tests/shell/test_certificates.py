"""The certificate and its key: what is refused, with which words, and what becomes of it when the files change."""

import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import structlog
import trio
import trio.testing
from structlog.testing import CapturingLogger

from server.adapters.certificates import WARNING_S, CertificateError, Certificates
from server.config import ServerConfig
from support.certificates import Authority, Certificate, lock
from support.front import Tls, call, get, masked, open_front, raw_client
from support.tls import replace, subject_of

DAY_S = 86_400.0


@pytest.fixture
def own(tmp_path: Path, authority: Authority) -> Certificate:
    """Files that a test may change."""
    made = authority.issue("own", "localhost")
    mine = Certificate(tmp_path / "own.pem", tmp_path / "own.key")
    replace(mine, made)
    return mine


def read(files: Certificate, **options: Callable[[], float]) -> Certificates:
    return Certificates(str(files.certificate), str(files.key), **options)


# -- What is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "missing"), [("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")]
)
def test_one_without_the_other_is_refused(there: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"{there} is set without {missing}: TLS needs both"):
        ServerConfig(**{there: "/a/file"})


def test_files_that_cannot_be_used_are_named_with_what_to_do(
    tmp_path: Path, own: Certificate, authority: Authority
) -> None:
    other, empty, locked = authority.issue("other", "x"), tmp_path / "empty.pem", tmp_path / "locked.key"
    client, broken = authority.issue("client"), tmp_path / "broken.pem"
    empty.write_text("")
    lock(own.key, locked)
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    c, k, nowhere = own.certificate, own.key, tmp_path / "nowhere"
    for certificate, key, reasons in [
        (nowhere, k, [f"server.tls_certificate: {nowhere} cannot be read: No such file"]),
        (c, nowhere, [f"server.tls_key: {nowhere} cannot be read: No such file"]),
        (tmp_path, k, ["server.tls_certificate", "Is a directory"]),
        (empty, k, [f"server.tls_certificate: {empty} has no certificate in it", "BEGIN CERTIFICATE"]),
        (k, k, [f"server.tls_certificate: {k} has no certificate in it"]),
        (c, c, [f"server.tls_key: {c} has no private key in it", "BEGIN PRIVATE KEY"]),
        (c, locked, [f"server.tls_key: {locked} is locked with a passphrase", "openssl pkey"]),
        (c, other.key, ["cannot be used together: key values mismatch", str(c), str(other.key)]),
        (broken, k, ["cannot be used together"]),
        (client.certificate, client.key, ["cannot be used by a server", "purpose"]),
    ]:
        with pytest.raises(CertificateError) as refused:
            read(Certificate(certificate, key))
        assert all(reason in str(refused.value) for reason in reasons), str(refused.value)


def test_a_certificate_out_of_its_time_is_refused_with_the_time(own: Certificate) -> None:
    ends = read(own)._shown.valid_until_s
    with pytest.raises(CertificateError, match=r"has expired: it was valid until \w+ +\d+ .* GMT"):
        read(own, clock=lambda: ends)
    assert read(own, clock=lambda: ends - 1)
    with pytest.raises(
        CertificateError, match=r"is valid from .* GMT on only; or this machine's clock is wrong"
    ):
        read(own, clock=lambda: ends - 3 * DAY_S)


def test_what_is_shown_is_tls_1_2_and_later_without_renegotiation(own: Certificate) -> None:
    context = read(own).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_a_file_may_hold_the_whole_chain_and_other_text(own: Certificate, authority: Authority) -> None:
    chain = "Bag Attributes: é\n" + own.certificate.read_text() + authority.certificate.read_text()
    own.certificate.write_text(chain)
    assert read(own)._shown.names == ("localhost",)


# -- Reading anew -------------------------------------------------------------------------------------------------


@attrs.frozen
class Running:
    certificates: Certificates
    log: CapturingLogger

    async def read_anew(self) -> list[tuple[str, str]]:
        """Ask for it; return what was logged of it."""
        before = len(self.said())
        self.certificates.read_anew()
        with trio.fail_after(20):
            while len(self.said()) == before:
                await trio.lowlevel.checkpoint()
        return self.said()[before:]

    def said(self) -> list[tuple[str, str]]:
        """What was logged, but for warnings: certificates for tests end in two days."""
        lines = [(call.method_name, call.kwargs["event"]) for call in self.log.calls]
        return [line for line in lines if line[0] != "warning"]


@asynccontextmanager
async def running(certificates: Certificates) -> AsyncIterator[Running]:
    log = CapturingLogger()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(certificates.run, structlog.wrap_logger(log, processors=[]))
        await trio.testing.wait_all_tasks_blocked()
        yield Running(certificates, log)
        nursery.cancel_scope.cancel()


async def test_new_clients_are_shown_the_new_one_and_who_is_there_stays(
    own: Certificate, authority: Authority
) -> None:
    trust = ssl.create_default_context(cafile=authority.certificate)
    certificates = read(own)
    async with (
        running(certificates) as run,
        open_front(tls=Tls(certificates, trust)) as front,
        raw_client(front) as client,
    ):
        assert subject_of(client.stream) == "own"
        await client.upgrade()
        replace(own, authority.issue("renewed", "localhost"))
        assert await run.read_anew() == [("info", "certificate in use")]
        await client.send(masked(call("echo", requestId="there")))
        assert (await client.message())["room"] == "there"
        async with raw_client(front) as later:
            assert subject_of(later.stream) == "renewed"
            assert (await later.ask(get())).status == 200


async def test_while_the_new_one_cannot_be_used_the_old_one_stays(
    own: Certificate, authority: Authority
) -> None:
    certificates = read(own)
    async with running(certificates) as run:
        before = certificates.context
        shutil.copy(
            authority.issue("renewed", "localhost").certificate, own.certificate
        )  # and the key not yet
        assert await run.read_anew() == [("error", "certificate not replaced")]
        (said,) = (call.kwargs for call in run.log.calls if call.method_name == "error")
        assert str(own.key) in said["reason"]
        assert said["valid_until"].endswith("GMT")
        assert certificates.context is before
        own.key.unlink()
        assert await run.read_anew() == [("error", "certificate not replaced")]
        replace(own, authority.issue("renewed", "localhost"))
        assert await run.read_anew() == [("info", "certificate in use")]
        assert certificates.context is not before


async def test_the_log_says_it_when_a_certificate_is_about_to_end(
    own: Certificate, autojump_clock: trio.testing.MockClock
) -> None:
    ends = read(own)._shown.valid_until_s
    certificates = read(own)
    certificates._clock = lambda: ends - WARNING_S - 10 + trio.current_time()
    async with running(certificates) as run:
        assert [call.kwargs["event"] for call in run.log.calls] == ["certificate in use"]
        await trio.sleep(9)
        assert len(run.log.calls) == 1
        await trio.sleep(2 * DAY_S)
        assert [call.method_name for call in run.log.calls] == ["info", "warning"]
        assert run.log.calls[1].kwargs["event"] == "certificate expires soon"
