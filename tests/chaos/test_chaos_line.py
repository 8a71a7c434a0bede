"""The bad line of the chaos tests is as bad as it is told to be, and only between nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.adapters.memory import MemoryNetwork
from cluster.core.identity import Epoch
from cluster.core.messages import Notify, ResendNotify, encode, encode_published
from support.chaos_transport import Chaos, LossyTransport

CUT = Chaos(cut_every_ms=1000, cut_for_ms=1000)
"""All the time."""


def notify(origin: str) -> bytes:
    return encode_published(b"", Notify(origin, Epoch(1, 0), 1, []))


def line(chaos: Chaos) -> LossyTransport:
    return LossyTransport(MemoryNetwork().transport(), "here", chaos)


@pytest.mark.parametrize("chaos", [Chaos(drop_per_mille=1000), Chaos(drop_notify_per_mille=1000), CUT])
def test_what_a_node_hears_of_itself_crosses_no_line(chaos: Chaos) -> None:
    """Its own echo tells it whether it is deaf or mute, which a bad line to others does not make it."""
    assert not line(chaos).arrives(notify("there"))
    assert line(chaos).arrives(notify("here"))


def test_a_line_without_faults_carries_everything() -> None:
    assert line(Chaos()).arrives(notify("there"))


def test_only_questions_for_lost_notifications_are_lost_when_nothing_is_repaired() -> None:
    bad = line(Chaos(repairs=False))
    assert bad.arrives(notify("there"))
    assert not bad.arrives(encode(ResendNotify("there", Epoch(1, 0), 1, 1, 2)))


def test_a_line_is_bad_only_while_there_is_the_file(tmp_path: Path) -> None:
    switch = tmp_path / "bad"
    bad = line(Chaos(drop_per_mille=1000, only_with=str(switch)))
    assert bad.arrives(notify("there"))
    switch.touch()
    assert not bad.arrives(notify("there"))
