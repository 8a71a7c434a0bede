"""Links lead somewhere, and what the pages name in the code is there."""

import re
from pathlib import Path

import pytest

from server.cli.commands import COMMANDS
from support.documents import ROOT, pages, prose, slug

LINK = re.compile(r"\[[^\]]*\]\(\s*([^)\s]+)\s*\)")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(
    r"(?:cluster|server|plugins|tests|compose|docs)/(?:[\w./-]+\.\w+|(?:[\w-]+/)*)|(?:\w+/)*test_\w+\.py"
)
COMMAND = re.compile(r"(?:\.venv/bin/)?shoal ([a-z]+)\b.*")
TARGET = re.compile(r"make ([a-z-]+)")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for link in LINK.findall(prose(page)):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def anchors(page: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_names_in_the_code_exist(page: Path) -> None:
    """Paths, commands of `shoal` and targets of `make`, where they are set as code."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    missing = []
    for name in CODE.findall(prose(page)):
        command, target = COMMAND.fullmatch(name), TARGET.fullmatch(name)
        if (
            (command and command[1] not in COMMANDS)
            or (target and target[1] not in targets)
            or (PATH.fullmatch(name) and not is_there(name))
        ):
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_that_are_named_exist(page: Path) -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").glob("*/test_*.py"))
    named = [name for name in CODE.findall(prose(page)) if re.fullmatch(r"test_\w+", name)]
    assert [name for name in named if f"def {name}(" not in tests] == []


def is_there(path: str) -> bool:
    """Tell whether the project has such a file or folder; of a test, the name is enough."""
    return bool(list(ROOT.glob(path))) or bool(
        list(ROOT.glob(f"tests/*/{path}")) or list(ROOT.glob(f"*/*/{path}"))
    )


def test_every_page_can_be_found() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(prose(index))}
    assert [
        str(page) for page in pages() if page.name not in ("README.md", "index.md") and page not in linked
    ] == []
