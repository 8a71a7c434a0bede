"""New inputs for every target, each time others; and the proof that the fuzzer finds faults, if there are any."""

from __future__ import annotations

import re

import pytest

from support.documents import ROOT
from support.fuzz import fuzz
from support.fuzz_coverage import Plant
from support.fuzz_engine import TARGETS

TARGET_S = 10.0
"""For each target: with ten of them, and two seconds to start each, two minutes. It is for what somebody breaks who did
not think of it; who works on a parser runs `make fuzz` for longer."""

FEWEST_RUNS = 200
"""Where other programs have most of the machine: the slowest target does 300 a second, most do thousands."""

PLANTED_S = 120.0
"""For a planted fault. The test is over when it is found, which takes 1 to 10 s of a core."""


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_new_inputs_break_no_law(target: str) -> None:
    outcome = fuzz(target, TARGET_S)
    print(outcome.output)
    assert not outcome.is_fault
    assert outcome.runs > FEWEST_RUNS


FAULTS = {
    "a seal of which only the beginning is compared": (
        "cards",
        Plant(
            "cluster.keys",
            "return any(hmac.compare_digest(one, seal) for one in wanted for seal in seals)",
            "return any(hmac.compare_digest(one[:2], seal[:2]) for one in wanted for seal in seals)",
        ),
    ),
    "what came before a fault is lost, by chance": (
        "connections",
        Plant(
            "server.adapters.inflating",
            '                return data\n        return b""',
            '                return data\n        self.tell_fault()\n        return b""',
        ),
    ),
    "true is 1": (
        "filters",
        Plant(
            "server.core.koncorde.compile",
            "return lambda value: value == expected and value.__class__ is not bool",
            "return lambda value: value == expected",
        ),
    ),
    "a form that is no UTF-8": (
        "http_bodies",
        Plant(
            "server.core.bodies",
            "except (FormParserError, UnicodeError) as error:",
            "except FormParserError as error:",
        ),
    ),
    "a key of any length": (
        "http_heads",
        Plant("server.core.heads", "if len(keys) != 1 or not _is_key(keys[0]):", "if len(keys) != 1:"),
    ),
    "a text that is no UTF-8": (
        "mesh_frames",
        Plant(
            "cluster.core.messages",
            "except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:",
            "except (msgspec.MsgspecError, RecursionError) as error:",
        ),
    ),
    "a name that commands a terminal": (
        "mesh_nodes",
        Plant(
            "cluster.core.admission",
            "return name if name.isprintable() else ascii(name)",
            "return name",
        ),
    ),
    "an id of nothing is an id": (
        "requests",
        Plant(
            "server.core.requests",
            'if request_id is None or request_id == "":',
            "if request_id is None:",
        ),
    ),
    "a mask that begins anew with each piece": (
        "websocket_deflate",
        Plant("server.core.inflating", "turned = len(piece) % 4", "turned = 0"),
    ),
    "a length in a form that is too long": (
        "websocket_lane",
        Plant(
            "server.core.splitting",
            "                if length < 126:\n                    break",
            "                if length < 0:\n                    break",
        ),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("target", "plant"), FAULTS.values(), ids=FAULTS)
def test_fuzzers_find_planted_faults(target: str, plant: Plant) -> None:
    outcome = fuzz(target, PLANTED_S, seed=1, plants=[plant])
    print(outcome.output)
    assert outcome.is_fault
    kept = re.search(rf"make fuzz TARGET={target} INPUT=(\S+)", outcome.output)
    assert kept is not None
    assert (ROOT / kept[1]).is_file()


def test_there_is_a_planted_fault_for_every_target() -> None:
    assert sorted(target for target, _ in FAULTS.values()) == sorted(TARGETS)


@pytest.mark.slow
def test_what_ends_the_process_is_found() -> None:
    abort = Plant(
        "cluster.keys",
        "if len(sealed) > CARD_BYTES:",
        "if b'?' in sealed: import os; os.abort()\n        if 0:",
    )
    outcome = fuzz("cards", PLANTED_S, seed=1, plants=[abort])
    assert outcome.is_fault
    assert "the process ended with signal 6" in outcome.output
    kept = re.search(r"INPUT=(\S+)", outcome.output)
    assert kept is not None
    assert b"?" in (ROOT / kept[1]).read_bytes()
