"""Another release of Shoal next to the one that is here: its tree out of the repository's history, built and unpacked,
so that nodes of both can be put into one cluster.

    release = last_release()                    # "v0.1.0", or None when there has been none
    old = build_release(release, directory)
    async with running_node(redis=…, env=old.env) as node: ...

It takes no network: what the release is built with, and what it needs when it runs, is what this one has installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import attrs

from server.cli.children import PYTHON_M
from support.documents import ROOT

BUILD_S = 120
"""For a wheel, which takes two seconds."""


@attrs.frozen
class Release:
    """A tree of another time, ready to run."""

    name: str
    packages: Path
    """Where its packages are: in front of all others when its nodes run."""
    version: str
    """That it says to be."""

    @property
    def env(self) -> dict[str, str]:
        """What a node of it has to have in its environment. Plugins of the tests are those of this tree."""
        return {"PYTHONPATH": os.pathsep.join([str(self.packages), str(ROOT / "tests")])}


def last_release(repository: Path = ROOT) -> str | None:
    """Return the highest release (a tag like v1.2.3) that this state of the repository was made from, and is not
    itself; None when there is none, or nothing that says so."""
    try:
        merged = _git(repository, "tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname")
        here = _git(repository, "tag", "--list", "--points-at", "HEAD").split()
    except (OSError, subprocess.CalledProcessError):
        return None
    found = [tag for tag in merged.split() if re.fullmatch(r"v\d+(\.\d+)*", tag) and tag not in here]
    return found[0] if found else None


def build_release(commit: str, directory: Path, version: str | None = None) -> Release:
    """Build what the commit holds, in a directory that is empty. With `version` it says to be that one."""
    tree, built, packages = (directory / name for name in ("tree", "built", "packages"))
    archive = directory / "tree.zip"
    _git(ROOT, "archive", "--format=zip", f"--output={archive}", commit)
    _unpack(archive, tree)
    if version is not None:
        project = tree / "pyproject.toml"
        text = re.sub(r'^version = ".*"$', f'version = "{version}"', project.read_text(), flags=re.MULTILINE)
        project.write_text(text)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(built)]
    subprocess.run(build, cwd=tree, capture_output=True, check=True, timeout=BUILD_S)
    (wheel,) = built.glob("*.whl")
    _unpack(wheel, packages)
    release = Release(commit, packages, wheel.name.split("-")[1])
    assert origin_of_packages(release) == {str(packages)}, "its nodes run what was built, and nothing else"
    return release


def origin_of_packages(release: Release) -> set[str]:
    """Return the folders that a process of the release takes Shoal's packages from."""
    program = (
        "import cluster, plugins, server; print(cluster.__file__, plugins.__path__[0], server.__path__[0])"
    )
    command = [*PYTHON_M[:-1], "-c", program]
    ran = subprocess.run(command, env=os.environ | release.env, capture_output=True, text=True, check=True)
    return {str(Path(path.removesuffix("/__init__.py")).parent) for path in ran.stdout.split()}


def _unpack(archive: Path, directory: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        content.extractall(directory)


def _git(repository: Path, *words: str) -> str:
    command = ["git", "-C", str(repository), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
