"""The reference pages say nothing that is not so: their tables come from the code, and their examples are run."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.core.standing import Standing
from plugins.cluster.controller import NOT_STARTED
from server.core.notifications import LossNotification, RoomLoss
from server.core.values import decode_json, encode_json
from server.testing import TestClient, open_test_node
from support.documents import ROOT, blocks, section, table_rows
from support.reference_parts import NOT_LIMITS, PARTS, constants, pages_with_parts, updated

API = ROOT / "docs" / "reference" / "api.md"
OPERATE = ROOT / "docs" / "guides" / "operate.md"

# -- Made from the code ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", pages_with_parts(), ids=lambda page: str(page.stem))
def test_parts_are_what_the_code_says(page: Path) -> None:
    assert page.read_text() == updated(page), "write it anew with `make docs`"


def test_every_part_is_on_a_page() -> None:
    text = "".join(page.read_text() for page in pages_with_parts())
    assert [name for name in PARTS if f"<!-- made from the code: {name} -->" not in text] == []


@pytest.mark.parametrize("package", ["server", "cluster", "plugins"])
def test_every_limit_has_a_reason(package: str) -> None:
    found = list(constants(package))
    assert [f"{each.module}: {each.name}" for each in found if not each.reason] == []


def test_what_is_no_limit_exists() -> None:
    for module, names in NOT_LIMITS.items():
        text = (ROOT / module).read_text()
        assert [name for name in names if f"\n{name}" not in text] == [], module


# -- Examples of the API ---------------------------------------------------------------------------------------------


async def test_the_examples_of_the_api_are_true() -> None:
    async with open_test_node() as node:
        client, answers, runs = node.client(), [], 0
        for block in blocks(API):
            if block.language != "json":
                continue
            runs += 1
            match block.directive:
                case "say":
                    answers.append(await client.send(block.text))
                case "hear":
                    assert_like(answers[-1], json.loads(block.text), f"line {block.line}")
                case "hear: notification":
                    assert_like(client.notifications[-1], json.loads(block.text), f"line {block.line}")
                case "hear: user":
                    assert_like(
                        await news_of_a_user(client, node.client()),
                        json.loads(block.text),
                        f"line {block.line}",
                    )
                case "hear: loss":
                    assert_like(a_loss(), json.loads(block.text), f"line {block.line}")
                case other:
                    raise AssertionError(f"line {block.line}: what is an example for, {other!r}?")
    assert runs >= 12, "they were found"


async def news_of_a_user(watcher: TestClient, other: TestClient) -> Any:
    place = {"index": "harbor", "collection": "boats", "body": {"equals": {"kind": "sail"}}}
    await watcher.call("realtime", "subscribe", users="all", **place)
    await other.call("realtime", "subscribe", **place)
    return watcher.notifications[-1]


def a_loss() -> Any:
    lost = [RoomLoss("room", ["channel"], 3)]
    return decode_json(encode_json(LossNotification(origin="a", node="b", timestamp=0, rooms=lost)))


def assert_like(found: Any, shown: Any, where: str) -> None:
    """Compare, but for what is shown as `…`."""
    if shown == "…":
        return
    if isinstance(shown, dict) and isinstance(found, dict):
        assert set(found) == set(shown), where
        for name, value in shown.items():
            assert_like(found[name], value, f"{where}.{name}")
    elif isinstance(shown, list) and isinstance(found, list):
        assert len(found) == len(shown), where
        for one, other in zip(found, shown, strict=True):
            assert_like(one, other, where)
    else:
        assert found == shown, where


# -- Readiness -------------------------------------------------------------------------------------------------------

GIVE_REASONS = (
    "cluster/core/readiness.py",
    "cluster/core/senses.py",
    "cluster/core/node.py",
    "cluster/health.py",
    "server/app.py",
)


def test_every_reason_not_to_be_ready_is_explained() -> None:
    told = {re.sub(r" \(.*", "", row[0]) for row in table_rows(section(OPERATE, "Health"))}
    assert told == {*reasons_not_to_be_ready(), NOT_STARTED}


def reasons_not_to_be_ready() -> Iterator[str]:
    """Yield what every `NotReady` says, and what functions named `why_not…` can return, with `…` for what differs."""
    for path in GIVE_REASONS:
        for part in ast.walk(ast.parse((ROOT / path).read_text())):
            match part:
                case ast.Call(func=ast.Name(id="NotReady"), args=[_, why]):
                    yield from _texts(why)
                case ast.FunctionDef(name=name) if "why_not" in name:
                    for inner in ast.walk(part):
                        if isinstance(inner, ast.Return):
                            yield from _texts(inner.value)


def test_every_state_of_a_node_is_explained() -> None:
    told = {re.sub("`", "", row[0]) for row in table_rows(section(OPERATE, "States of a node"))}
    assert told == {standing.value for standing in Standing}


def _texts(value: ast.expr | None) -> Iterator[str]:
    match value:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.IfExp(body=one, orelse=other):
            yield from (*_texts(one), *_texts(other))
        case _:
            pass


# -- The log ---------------------------------------------------------------------------------------------------------

SPEAKS = ("cluster", "plugins/cluster", "server")
LEVELS = ("debug", "info", "warning", "error", "exception")


def test_every_line_of_the_log_is_explained() -> None:
    rows = table_rows(section(OPERATE, "Reading the log"))
    told = [event for row in rows for event in re.findall("`([^`]+)`", row[0])]
    assert sorted(told) == sorted(set(told)), "each is explained once"
    assert set(told) == set(said_in_logs())


def said_in_logs() -> Iterator[str]:
    """Yield the event of every line that a node can log."""
    for folder in SPEAKS:
        for path in (ROOT / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call):
                    yield from _event_of(call)


def _event_of(call: ast.Call) -> Iterator[str]:
    match call:
        case ast.Call(func=ast.Name(id="Belief"), args=[ast.Constant(value=str(event)), *_]):
            yield event
        case ast.Call(func=ast.Attribute(attr="_report"), args=[_, ast.Constant(value=str(event)), *_]):
            yield event
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id=log) | ast.Attribute(attr=log), attr=level),
            args=[ast.Constant(value=str(event)), *_],
        ) if log.endswith("log") and level in LEVELS:
            yield event
