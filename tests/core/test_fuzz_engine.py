"""The fuzzer's own laws: rewritten code does the same, an input becomes smaller, and what takes too long is noticed."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from support import fuzz, fuzz_engine
from support.fuzz_coverage import Coverage, install, rewritten
from support.fuzz_engine import Session, Target, TooSlow, bounded, fewest
from support.fuzz_mutations import MOST_BYTES, Dice, change_bytes, change_json, change_msgpack, several

SOURCE = '''
"""A module with branches."""
from collections.abc import Iterator

def kind(value: object, *, loud: bool = False) -> str:
    """Say what it is."""
    found: list[str] = []
    match value:
        case int() if value > 3 and value % 2 == 0:
            found.append("even")
        case str():
            found += [letter for letter in value if letter != "x" or loud]
        case _:
            found.append("other" if value else "none")
    for each in found:
        if each == "even":
            break
    else:
        found.append("all")
    try:
        found.append(str({key: 1 for key in found}["even"]))
    except KeyError:
        found.append((lambda name: name or "nobody")(""))
    return "".join(found)

def numbers(below: int) -> Iterator[int]:
    at = 0
    while at < below:
        at += 1
        yield at
'''


def names_of(code: Any, coverage: Coverage | None = None) -> dict[str, Any]:
    names: dict[str, Any] = {} if coverage is None else {"__seen__": coverage.seen}
    exec(compile(code, "module", "exec"), names)
    return names


def test_rewritten_code_does_the_same_and_tells_its_ways() -> None:
    coverage = Coverage()
    plain, told = names_of(SOURCE), names_of(rewritten(ast.parse(SOURCE), coverage), coverage)
    assert told["kind"].__doc__ == plain["kind"].__doc__
    known = 0
    for value in (4, 5, "axb", 0, None, []):
        coverage.begin()
        assert told["kind"](value) == plain["kind"](value)
        assert told["kind"](value, loud=True) == plain["kind"](value, loud=True)
        if value in (4, 5, "axb", 0):
            assert len(coverage.edges) > known
            known = len(coverage.edges)
    assert len(coverage.edges) == known, "nothing new was taken"
    assert list(told["numbers"](3)) == [1, 2, 3]
    assert {b"even", b"nobody"} <= coverage.tokens


def test_what_was_imported_before_cannot_be_rewritten() -> None:
    with pytest.raises(RuntimeError, match="too early"):
        install(["support"])


def fails_with_x_and_y(data: bytes) -> None:
    assert not (b"x" in data and b"y" in data)


def session(check: Any, *seeds: bytes) -> Session:
    return Session(Target(check, lambda: seeds, change_bytes), Coverage(tokens={b"xx", b"yy"}), Random(1))


def test_a_fault_is_found_and_its_input_is_made_smaller() -> None:
    found = session(fails_with_x_and_y, b"hello").run([b"hello"], 60)
    assert found is not None
    assert sorted(found.data) == sorted(b"xy")
    assert set(b"xy") <= set(found.found)
    assert "AssertionError" in found.report


def test_what_takes_too_long_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def loops(_data: bytes) -> None:
        while True:
            pass

    monkeypatch.setattr(fuzz_engine, "INPUT_S", 0.01)
    with bounded():
        found = session(loops).run([b"x"], 1)
    assert found is not None
    assert TooSlow.__name__ in found.report


def test_few_inputs_take_all_ways() -> None:
    coverage = Coverage()

    def check(data: bytes) -> None:
        for byte in data:
            coverage.seen(byte)

    target = Target(check, lambda: (), change_bytes)
    kept = fewest(target, coverage, [b"a"], [b"a", b"b", b"bc", b"bcd", b"z"])
    assert sorted(kept) == [b"bcd", b"z"]


@pytest.mark.parametrize(
    "mutate", [change_bytes, change_json, change_msgpack], ids=lambda each: each.__name__
)
def test_mutators_make_something_of_anything_and_the_same_of_the_same_dice(mutate: Any) -> None:
    inputs = [
        b"",
        b"\xff",
        b'{"a":[1,"b",null]}',
        json.dumps([[]] * 5).encode(),
        msgspec.msgpack.encode({"a": [b"x"]}),
    ]
    made = []
    for _ in range(2):
        dice = Dice(Random(7), [b"token"], inputs)
        made.append([several(mutate)(data, dice) for data in inputs for _ in range(300)])
    assert made[0] == made[1]
    assert len(set(made[0])) > 500
    assert max(map(len, made[0])) <= MOST_BYTES


def test_an_input_can_be_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"no card")
    assert fuzz.main(["cards", "--input", str(path)]) == 0
    assert "keeps its law" in capsys.readouterr().out
