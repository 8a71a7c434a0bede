"""Frames of the mesh that somebody has tampered with: every message there is, as one node says it, and damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec

from cluster.core import messages
from cluster.core.identity import Epoch
from cluster.core.messages import LinkReport, Notification, RoomClosed, RoomCounted, RoomOpened
from cluster.core.node import MeshNode

EXTREMES = (
    b"\x00",
    b"\x7f",
    b"\x80",
    b"\xc0",
    b"\xc1",
    b"\xff",
    b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + bytes(7),
    b"\xdb\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\x91" * 200,
)
"""What a decoder may stumble over: the ends of ranges, lengths that promise what does not come, nesting."""


def publications(origin: str, epoch: Epoch, to: str, boot: int) -> list[bytes]:
    """All that can be published, to that life of a node where it is for one."""
    report = LinkReport(epoch, True, 5, 1, 2, 3, 4, 5, 6)
    tails = {to: (boot, 9)}
    changes: list[messages.Change] = [RoomOpened("r", b"d", 1), RoomCounted("r", 2), RoomClosed("r")]
    items = [Notification(["r", "s"], b"payload")]
    said: list[tuple[bytes, messages.Publication]] = [
        (messages.HEARTBEAT_TOPIC, messages.Heartbeat(origin, epoch, 3, tails, {to: report})),
        (messages.HEARTBEAT_TOPIC, messages.Farewell(origin, epoch, "shutdown", tails)),
        (messages.STATE_TOPIC, messages.State(origin, epoch, 1, changes)),
        (messages.notify_topic(to, boot), messages.Notify(origin, epoch, 1, items)),
        (messages.notify_topic(to, boot), messages.Probe(origin, epoch, 4)),
    ]
    return [messages.encode_published(topic, message) for topic, message in said]


def questions(origin: str, epoch: Epoch, card: bytes) -> list[bytes]:
    """All that can be asked."""
    said: list[messages.Question] = [
        messages.Hello(origin, epoch, card, 1),
        messages.Sync(origin, epoch, 1, True),
        messages.Applied(origin, epoch, epoch, 3),
        messages.Ping(origin, epoch, 1),
        messages.ResendState(origin, epoch, epoch, 1, 1 << 60),
        messages.ResendNotify(origin, epoch, 7, 1, 1 << 60),
        messages.Reset(origin, epoch, 1),
    ]
    return [messages.encode(question) for question in said]


def replies(origin: str, epoch: Epoch, card: bytes) -> list[bytes]:
    """All that can be answered, but a refusal: whoever sits where a node is may refuse, and is believed."""
    said: list[messages.Reply] = [
        messages.Welcome(origin, epoch, card, 1, [card]),
        messages.Snapshot(origin, epoch, 1, 2, 0, True, [RoomOpened("r", b"d", 1)]),
        messages.Pong(origin, epoch, 1, 1 << 60, (1, 1 << 60)),
        messages.ResentState(origin, epoch, 1, [RoomClosed("r")]),
        messages.ResentNotify(origin, epoch, 1, [Notification(["r"], b"p")]),
        messages.CutState(origin, epoch, 1 << 60),
        messages.CutNotify(origin, epoch, 1, [["r"]], 2),
        messages.ResetTaken(origin, epoch, 1),
    ]
    return [messages.encode(reply) for reply in said]


def damaged(random: Random, frames: list[bytes]) -> Iterator[bytes]:
    """Frames without end: whole ones, and such in which bytes were changed, cut out, doubled or put in, or that go on
    as another does."""
    while True:
        frame = bytearray(random.choice(frames))
        for _ in range(random.randrange(4)):
            at = random.randrange(len(frame) + 1)
            match random.randrange(6):
                case 0:
                    frame[at : at + 1] = bytes([random.randrange(256)])
                case 1:
                    del frame[at : at + random.randrange(1, 8)]
                case 2:
                    frame[at:at] = frame[at : at + random.randrange(1, 16)]
                case 3:
                    frame[at:at] = random.choice(EXTREMES)
                case 4:
                    other = random.choice(frames)
                    frame[at:] = other[random.randrange(len(other) + 1) :]
                case _:
                    del frame[at:]
        yield bytes(frame)


def beliefs(core: MeshNode) -> list[object]:
    """All that a node believes, but what it counts."""
    found: list[object] = [core.card, core.say.rooms, core.say.state_tail, core.why_not_ready()]
    found += [core.admission.later_self, sorted(core.admission.foreign), core.epochs.reset_waits_for()]
    for link in core.links:
        received = link.mailbox.received
        found += [
            link.card,
            link.epoch,
            link.replica.sync,
            link.health,
            len(link.replica.slice),
            link.applied,
            link.accounted,
        ]
        found += [
            link.replica.position,
            link.replica.tail,
            link.replica.held,
            link.outgoing.tail,
            link.refusal,
        ]
        found += [
            received.position,
            received.tail,
            received.held,
            received.lost,
            link.reset_taken,
            link.replica.resyncs,
        ]
        found += [
            link.missed_since,
            link.missed_until,
            link.is_known_to_peer,
            msgspec.to_builtins(link.peer_links),
        ]
    return found


def resident_bytes(pid: int | None = None) -> int:
    """The memory that a process holds now."""
    pages = Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
