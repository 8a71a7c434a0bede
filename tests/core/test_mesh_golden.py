"""What version 1 of the mesh protocol looks like on the wire, recorded: nodes of this code have to go on understanding
it, and saying it, for as long as they name the version on their cards. A frame that changes is another version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from cluster.core import messages
from cluster.core.identity import PROTOCOL
from cluster.keys import Keys, Sealer

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "mesh-v1.json").read_text())
DECODE = {
    "published": messages.decode_published,
    "asked": messages.decode_question,
    "answered": messages.decode_reply,
}
KINDS = {"published": messages.Publication, "asked": messages.Question, "answered": messages.Reply}
FRAMES = [
    pytest.param(way, bytes.fromhex(frame["hex"]), frame["means"], id=frame["means"].partition("(")[0])
    for way in DECODE
    for frame in GOLDEN[way]
]


@pytest.mark.parametrize(("way", "frame", "means"), FRAMES)
def test_a_recorded_frame_means_what_it_meant_and_is_said_the_same(
    way: str, frame: bytes, means: str
) -> None:
    message = DECODE[way](frame)
    assert repr(message) == means
    body = msgspec.msgpack.encode(message)
    assert frame.endswith(body)
    assert way == "published" or frame == body


@pytest.mark.parametrize(("way", "frame", "means"), FRAMES)
def test_what_a_later_version_adds_behind_is_passed_over(way: str, frame: bytes, means: str) -> None:
    body = msgspec.msgpack.encode(DECODE[way](frame))
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(body), "new", {"things": 1}])
    assert repr(DECODE[way](frame[: -len(body)] + longer)) == means


def test_every_message_is_recorded() -> None:
    for way, kind in KINDS.items():
        recorded = {frame["means"].partition("(")[0] for frame in GOLDEN[way]}
        assert recorded == {message.__name__ for message in get_args(kind)}


def test_a_recorded_card_opens_with_its_secret_and_the_keys_are_the_same() -> None:
    secret, former = GOLDEN["secret"], GOLDEN["former_secret"]
    for knows in (Sealer(secret), Sealer(former), Sealer(secret, former)):
        assert knows.open(GOLDEN["card"].encode()).id == "brave-otter"
    assert [server.hex() for server, _ in Keys(secret, former).ways_in] == GOLDEN["server_keys"]
    assert [client.public.hex() for _, client in Keys(secret, former).ways_in] == GOLDEN["client_keys"]


def test_the_version_that_is_recorded_is_the_one_that_is_spoken() -> None:
    assert GOLDEN["protocol"] == PROTOCOL
