"""The project's documentation, for tests that hold it to the code: pages, their links, and their blocks.

A block may have a directive, an HTML comment on the line before it, which readers do not see:

    <!-- terminal: up -->
    ```console
    $ make up
    …
    ```
"""

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(
    r"(?:^<!-- (?P<directive>[^\n]+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@attrs.frozen
class Block:
    """A fenced block of a page."""

    directive: str
    """What the comment before it says; empty when there is none."""
    language: str
    text: str
    line: int
    """Of its fence, the first line of the page being 1."""


def pages() -> list[Path]:
    """Return every page that is ours."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the page's fenced blocks."""
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        yield Block(
            directive=found["directive"] or "",
            language=found["language"],
            text=found["text"],
            line=text.count("\n", 0, found.start("text")),
        )


def prose(page: Path) -> str:
    """Return the page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text())


def section(page: Path, heading: str) -> str:
    """Return what is under a heading, up to the next one of its level or above."""
    text = page.read_text()
    start = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert start is not None, f"{page.name} has no heading {heading!r}"
    end = re.compile(rf"^#{{1,{len(start[1])}}} ", re.MULTILINE).search(text, start.end())
    return text[start.end() : end.start() if end else len(text)]


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of every row of the Markdown tables in a text, but for headings and rules."""
    rows = []
    lines = text.splitlines()
    for at, line in enumerate(lines):
        is_heading = at + 1 < len(lines) and bool(re.fullmatch(r"\|[-| :]+\|", lines[at + 1]))
        if line.startswith("|") and not is_heading and not re.fullmatch(r"\|[-| :]+\|", line):
            rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def slug(heading: str) -> str:
    """Return the anchor that a heading gets on the usual hosts of Markdown pages."""
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
