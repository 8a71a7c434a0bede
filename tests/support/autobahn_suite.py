"""The Autobahn suite as a program: finds a Python 2.7, installs the suite into it as locked, and runs cases with it.

The suite (autobahntestsuite 25.10.1, the newest) is Python 2 code, which no supported system brings along any more: so
whoever has no Python 2.7 is told that, and nothing is downloaded but what the lock names. It refuses to leave a process
behind, and to go on for longer than it was given.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

import attrs
import trio

from support.documents import ROOT

LOCK = ROOT / "tests" / "compat" / "autobahn" / "requirements.lock"
FOLDER = ROOT / ".venv-autobahn"

INSTALL_S = 300
"""For 34 packages, some of them built from their sources: 20 s when the package index is near and the machine idle."""

LOOK_S = 20
"""For a program to say which Python it is."""

SHOWN_LINES = 20
"""Of what the suite printed, when it failed."""

_IS_IT = "import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))"
_RUN = "import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; sys.exit(run())"
"""The folder is no environment, and zope's packages come together only by what `site` does."""

_CASE = b"Running test case ID "
_NOTHING = b"Ok, will run 0 test cases"
"""Having said so, the suite waits for ever."""


class SuiteUnavailable(Exception):
    """The suite cannot be run here; the message says why, and what to do."""


# -- Having it -------------------------------------------------------------------------------------------------------


def find_python(environ: Mapping[str, str]) -> str:
    """Return the first Python 2.7 with pip. Raises SuiteUnavailable when there is none.

    Looked at: the one that `PYTHON2` names, and only that; else those on the PATH, then those that pyenv installed.
    """
    named = environ.get("PYTHON2", "")
    candidates = [named] if named else list(_candidates(environ))
    for candidate in candidates:
        if _is_python_2(candidate, environ):
            return candidate
    if named:
        raise SuiteUnavailable(f"PYTHON2={named} is no Python 2.7 with pip.")
    raise SuiteUnavailable(
        "The Autobahn suite is Python 2 code, and there is no Python 2.7 with pip here: not on the PATH (python2.7,"
        " python2), nor among those of pyenv. `pyenv install 2.7.18` makes one; PYTHON2=/path/to/python2.7 names one."
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[str]:
    for name in ("python2.7", "python2"):
        for folder in environ.get("PATH", os.defpath).split(os.pathsep):
            found = shutil.which(name, path=folder)
            if found:
                yield found
    pyenv = Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME") or "~").expanduser() / ".pyenv")
    for python in sorted(pyenv.glob("versions/2.7*/bin/python"), reverse=True):
        yield str(python)


def _is_python_2(candidate: str, environ: Mapping[str, str]) -> bool:
    # pyenv puts programs on the PATH that only say that the version is not chosen.
    try:
        done = subprocess.run(
            [candidate, "-c", _IS_IT], env=dict(environ), capture_output=True, check=False, timeout=LOOK_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def install(python: str, say: Callable[[str], None], folder: Path = FOLDER, lock: Path = LOCK) -> None:
    """Install what the lock names, unless that was done. Raises SuiteUnavailable when pip fails."""
    ready = folder / ".ready"
    wanted = f"{python} {hashlib.sha256(lock.read_bytes()).hexdigest()}"
    if ready.is_file() and ready.read_text() == wanted:
        return
    say(f"Installing the Autobahn suite into {folder.name}, with {python}")
    shutil.rmtree(folder, ignore_errors=True)
    options = [
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--target",
        str(folder),
    ]
    try:
        done = subprocess.run(
            [python, "-m", "pip", "install", *options, "-r", str(lock)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=INSTALL_S,
        )
    except subprocess.TimeoutExpired:
        raise SuiteUnavailable(f"pip did not install the Autobahn suite within {INSTALL_S} s.") from None
    if done.returncode:
        raise SuiteUnavailable(
            f"pip could not install the Autobahn suite:\n{done.stdout}{done.stderr}".rstrip()
        )
    ready.write_text(wanted)


# -- Running it ------------------------------------------------------------------------------------------------------


@attrs.frozen
class Suite:
    """The suite, installed."""

    python: str
    folder: Path = FOLDER

    async def run(
        self, url: str, cases: Sequence[str], without: Sequence[str], out: Path, began: Callable[[str], None]
    ) -> bool:
        """Run cases against a server, and leave the reports in the folder `out`; tell whether there are such cases.

        `began` is told each case. Raises SuiteUnavailable when the suite fails as a program. Cancelled, it is killed.
        """
        out.mkdir(parents=True, exist_ok=True)
        spec, log = out / "spec.json", out / "suite.log"
        spec.write_text(
            json.dumps(
                {
                    "outdir": str(out),
                    "servers": [{"agent": "Shoal", "url": url.rstrip("/")}],
                    "cases": list(cases),
                    "exclude-cases": list(without),
                }
            )
        )
        command = [self.python, "-u", "-c", _RUN, str(self.folder), "-m", "fuzzingclient", "-s", str(spec)]
        with log.open("wb") as lines:
            async with trio.open_nursery() as nursery:
                options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "check": False}
                process: trio.Process = await nursery.start(partial(trio.run_process, command, **options))
                async with aclosing(_lines(process)) as printed:
                    async for line in printed:
                        lines.write(line + b"\n")
                        if line.startswith(_CASE):
                            began(line.removeprefix(_CASE).split()[0].decode())
                        elif line.startswith(_NOTHING):
                            nursery.cancel_scope.cancel()
                            return False
        if process.returncode or not (out / "index.json").is_file():
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-SHOWN_LINES:])
            raise SuiteUnavailable(f"The Autobahn suite ended with {process.returncode}:\n{tail}")
        return True


async def _lines(process: trio.Process) -> AsyncGenerator[bytes, None]:
    assert process.stdout is not None
    rest = b""
    async for data in process.stdout:
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest
