"""TLS for the tests of the front door: certificates, and a way to run a test in plain text and over TLS."""

import ssl
from collections.abc import Iterator

import pytest

from server.adapters.certificates import Certificates
from support.certificates import Authority
from support.front import Tls, Usual


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture(scope="session")
def tls(authority: Authority) -> Tls:
    """What a front door shows at `localhost` and 127.0.0.1, to clients that believe it."""
    made = authority.issue("front", "localhost", "127.0.0.1", "::1")
    certificates = Certificates(str(made.certificate), str(made.key))
    return Tls(certificates, ssl.create_default_context(cafile=authority.certificate))


@pytest.fixture(params=["plain", "tls"])
def plain_and_tls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the test twice: in plain text, and over TLS (but for what it opens with `is_plain`)."""
    if request.param == "tls":
        Usual.tls = request.getfixturevalue("tls")
    yield
    Usual.tls = None
