"""Every target keeps its law with what well-made clients and nodes send, and with all that was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.fuzz_engine import CORPUS, TARGETS, corpus_of, load

MOST_BYTES = 1 << 20
"""Of all corpora: what a repository can carry, and a quick test can try."""

FILES = [pytest.param(name, path, id=f"{name}-{path.name}") for name in TARGETS for path in corpus_of(name)]


@pytest.mark.parametrize("name", TARGETS)
def test_the_law_holds_for_seeds(name: str) -> None:
    target = load(name)
    seeds = list(target.seeds())
    assert seeds
    for data in seeds:
        target.check(data)


@pytest.mark.parametrize(("name", "path"), FILES)
def test_the_law_holds_for_what_was_found(name: str, path: Path) -> None:
    load(name).check(path.read_bytes())


def test_the_corpora_are_small_and_each_belongs_to_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    assert sum(path.stat().st_size for name in TARGETS for path in corpus_of(name)) < MOST_BYTES


def test_every_target_is_on_the_list() -> None:
    modules = {path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("test_")}
    assert modules == set(TARGETS)
