"""The reference page of the filter language says nothing that is not so."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from server.core.koncorde import FilterError, limits, parse
from server.core.koncorde.parse import KEYWORDS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "filters.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.+?)\n```\n(.*?)(?=```json|^#|\Z)", PAGE, re.DOTALL | re.MULTILINE)
MATCHING = re.compile(r"^\| `(\{.*\})` \| (yes|no) \|$", re.MULTILINE)
REFUSAL = re.compile(r"^> (.+)$", re.MULTILINE)


@pytest.mark.parametrize(("text", "after"), EXAMPLES, ids=[text.splitlines()[0][:40] for text, _ in EXAMPLES])
def test_the_examples_are_true(text: str, after: str) -> None:
    example: Any = json.loads(text)
    refusals, matching = REFUSAL.findall(after), MATCHING.findall(after)
    assert bool(refusals) != bool(matching), "an example has documents or a refusal"
    for message in refusals:
        with pytest.raises(FilterError) as refused:
            parse(example)
        assert str(refused.value) == message
    for document, answer in matching:
        assert parse(example).matches(json.loads(document)) == (answer == "yes"), document


def test_every_keyword_has_an_example() -> None:
    shown = " ".join(text for text, _ in EXAMPLES)
    assert [keyword for keyword in KEYWORDS if f'"{keyword}":' not in shown] == []


def test_the_limits_are_the_ones_in_force() -> None:
    section = PAGE.split("Filters have limits")[1].split("##")[0]
    written = [int(number) for number in re.findall(r"\| (\d+) \|$", section, re.MULTILINE)]
    assert written == [
        limits.MAX_FILTER_BYTES,
        limits.MAX_CONDITIONS,
        limits.MAX_DEPTH,
        limits.MAX_FIELD_CHARACTERS,
        limits.MAX_FIELD_PARTS,
        limits.MAX_MATCH_VALUES,
        limits.MAX_POLYGON_POINTS,
        limits.MAX_PATTERN_CHARACTERS,
        limits.MAX_REGEXP_INSTRUCTIONS,
    ]
    assert "| memory of a regular expression | 1 MiB |" in section
    assert limits.REGEXP_MEMORY_BYTES == 1 << 20
