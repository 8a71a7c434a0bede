"""Certificates for tests, made anew each time with the program `openssl`.

authority = Authority(tmp_path, "ours")
server = authority.issue("server", "localhost", "127.0.0.1")
"""

import shutil
import subprocess
from pathlib import Path

import attrs
import pytest

EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@attrs.frozen
class Certificate:
    """Files (PEM) with a certificate and its private key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; `certificate` is what others have to believe."""

    def __init__(self, directory: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl on PATH")
        self._directory = directory
        self.certificate = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        subject = ("-x509", "-subj", f"/CN={name}", "-days", "2")
        _openssl("req", *EC_KEY, *subject, "-keyout", self._key, "-out", self.certificate)

    def issue(self, name: str, *hosts: str) -> Certificate:
        """A certificate for a server at these names and IP addresses; without any, for a client."""
        made = Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        request, extensions = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        kinds = ("IP" if host.replace(".", "").isdigit() or ":" in host else "DNS" for host in hosts)
        names = ",".join(f"{kind}:{host}" for kind, host in zip(kinds, hosts, strict=True))
        extensions.write_text(f"subjectAltName={names}\n" if names else "extendedKeyUsage=clientAuth\n")
        _openssl("req", *EC_KEY, "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)
        signed = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", "2")
        _openssl("x509", "-req", "-in", request, *signed, "-extfile", extensions, "-out", made.certificate)
        return made


def lock(key: Path, locked: Path) -> None:
    """Write the private key once more, with a passphrase."""
    _openssl("pkcs8", "-topk8", "-in", key, "-out", locked, "-passout", "pass:a passphrase")


def _openssl(*words: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
