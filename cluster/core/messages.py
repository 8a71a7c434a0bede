"""What nodes say to each other: a closed union of frozen messages, and the frames that carry them.

A published frame is one ZeroMQ message: a topic, a zero byte, and a MessagePack array. A direct frame (DEALER to ROUTER
and back) is the array alone. The first element of the array is the message's tag. Every size is capped by
type, and a transport refuses frames over `FRAME_BYTES` before they are read, so what a hostile peer can make this node
allocate for one frame has an end. What this node says itself is cut so that it fits (`cluster.core.publisher`).

The topics of one node are few and fixed, because a bulk change of SUB topics can itself be lost:

    h           heartbeats and farewells, for everybody
    s           the node's state stream, for everybody
    n<id>@<b>   notifications for one peer in one life of it (boot, hexadecimal)
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec

from cluster.core.identity import PRINTABLE, Epoch, NodeId, Number
from cluster.errors import FrameError

FRAME_BYTES: Final = 8 << 20
"""The largest frame of the mesh, bytes. A client's message is at most 1 MiB, and a batch stops growing long before."""

PAYLOAD_BYTES: Final = 4 << 20
"""The largest notification or room description: four times the default size of a client's message, for the envelope
and for whoever raises that limit."""

BATCH_ITEMS: Final = 4096
"""The most changes or notifications in one frame: far above what one turn of the loop gathers."""

ROOMS_PER_NOTIFICATION: Final = 65_536
"""The most rooms one notification can name at one peer. One for more is said in several, long before."""

ROOMS_BYTES: Final = 2 << 20
"""The most that the rooms of one notification weigh when it is said: with the largest payload it fits into a frame."""

ROOM_ID_CHARACTERS: Final = 256
"""The longest room id: four times Shoal's own, which are hashes in hexadecimal."""

LINKS_PER_HEARTBEAT: Final = 4096
"""The most peers a heartbeat speaks of; the practical limit of a full mesh is far below."""

CARDS_PER_WELCOME: Final = 64
"""How many other cards a welcome hands on; they hand on more in turn."""

TOPIC_END: Final = b"\x00"
HEARTBEAT_TOPIC: Final = b"h" + TOPIC_END
STATE_TOPIC: Final = b"s" + TOPIC_END
LONGEST_TOPIC: Final = 1 + 64 + 1 + 16 + 1
"""Bytes of the longest topic, a notify topic: its letter, a node id, an at sign, a boot, and the end."""


def notify_topic(node: str, boot: int) -> bytes:
    """The topic on which peers publish what is meant for this life of `node`."""
    return b"n%s@%x\x00" % (node.encode(), boot)


First = Annotated[int, msgspec.Meta(ge=0, le=1 << 61)]
"""The number of the first item of a batch: the last one's has to be a `Number`, too."""

RoomId = Annotated[str, msgspec.Meta(min_length=1, max_length=ROOM_ID_CHARACTERS)]
Payload = Annotated[bytes, msgspec.Meta(max_length=PAYLOAD_BYTES)]
SealedCard = Annotated[bytes, msgspec.Meta(max_length=8192)]


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of every message: who says it, and in which of its epochs."""

    origin: NodeId
    epoch: Epoch


# -- changes of a slice, the items of a state stream --


class RoomOpened(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """The origin has subscribers in a room it had none in. `description` is opaque to the mesh."""

    room: RoomId
    description: Payload
    count: Number


class RoomCounted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """The number of subscribers that the origin has in a room."""

    room: RoomId
    count: Number


class RoomClosed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=3):
    """The origin has no subscriber in the room any more."""

    room: RoomId


Change = RoomOpened | RoomCounted | RoomClosed


class Notification(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One notification for the receiver's `rooms`; the payload is opaque to the mesh."""

    rooms: Annotated[list[RoomId], msgspec.Meta(max_length=ROOMS_PER_NOTIFICATION)]
    payload: Payload


class LinkReport(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the origin of a heartbeat holds of one peer: the peer's epoch, whether the link is live, when it was
    heard last (milliseconds ago), the last state change applied, what became of the notifications up to `position`, how
    long ago something came from it under the origin's notify topic (milliseconds; a canary, if nothing else), and the
    number of the last hello or sync that the origin sent it: what was reported before that is old news."""

    epoch: Epoch
    is_live: bool
    heard_ms: Number
    applied: Number
    position: Number
    repaired: Number
    lost: Number
    told_ms: Number
    asked: Number


NotifyTails = Annotated[dict[NodeId, tuple[Number, Number]], msgspec.Meta(max_length=LINKS_PER_HEARTBEAT)]
"""For each peer: its boot, and the number of the last notification sent to it."""


# -- published --


class Heartbeat(Message, frozen=True, tag=1):
    """A sign of life with the tails of the origin's streams, so that a lost last message is noticed. `takes_clients`:
    those who have to look for another node may go to the origin."""

    state_tail: Number
    notify_tails: NotifyTails
    links: Annotated[dict[NodeId, LinkReport], msgspec.Meta(max_length=LINKS_PER_HEARTBEAT)]
    takes_clients: bool = True


class Farewell(Message, frozen=True, tag=2):
    """The origin leaves on purpose: drop its slice now, do not wait for it."""

    reason: Annotated[str, msgspec.Meta(max_length=200, pattern=PRINTABLE)]
    notify_tails: NotifyTails


class State(Message, frozen=True, tag=3):
    """Changes `first`, `first + 1`, … of the origin's slice."""

    first: First
    changes: Annotated[list[Change], msgspec.Meta(max_length=BATCH_ITEMS)]


class Notify(Message, frozen=True, tag=4):
    """Notifications `first`, `first + 1`, … from the origin to the node that the topic names. Without any it is a
    canary: nothing is said, and it can be heard."""

    first: First
    items: Annotated[list[Notification], msgspec.Meta(max_length=BATCH_ITEMS)]


class Probe(Message, frozen=True, tag=5):
    """Published to one peer in answer to its hello: that it arrives proves the pipe."""

    nonce: Number


# -- asked by DEALER, answered by ROUTER --


class Hello(Message, frozen=True, tag=10):
    """Who I am and what I speak; asks for `Welcome` and for a `Probe` on the PUB side."""

    card: SealedCard
    nonce: Number


class Sync(Message, frozen=True, tag=11):
    """Asks for a snapshot of the receiver's slice. `has_served`: the origin serves clients, and never had that slice
    before: what they published for the receiver's rooms went nowhere."""

    nonce: Number
    has_served: bool = False


class Applied(Message, frozen=True, tag=12):
    """I have applied the receiver's state stream of epoch `of` up to and including `number`. No answer."""

    of: Epoch
    number: Number


class Ping(Message, frozen=True, tag=13):
    """Are you there? Asked when somebody has been silent for too long."""

    nonce: Number


class ResendState(Message, frozen=True, tag=14):
    """Asks for changes `first` … `last` of the receiver's state stream in epoch `of`."""

    of: Epoch
    first: First
    last: Number


class ResendNotify(Message, frozen=True, tag=15):
    """Asks for notifications `first` … `last` that the receiver sent to me in its life `boot`."""

    boot: Number
    first: First
    last: Number


class Reset(Message, frozen=True, tag=16):
    """Take a new epoch. `nonce` names the reset, so that one asked twice is done once."""

    nonce: Number


class Welcome(Message, frozen=True, tag=20):
    """Answers a hello whose card is good, and hands on the cards of others that the origin knows."""

    card: SealedCard
    nonce: Number
    others: Annotated[list[SealedCard], msgspec.Meta(max_length=CARDS_PER_WELCOME)]


class Refused(Message, frozen=True, tag=21):
    """Answers a hello that cannot be accepted, with the reason for people. `known` is the highest epoch that
    the origin remembers of the asker when that is the reason, so that the asker can take a higher one."""

    nonce: Number
    reason: Annotated[str, msgspec.Meta(max_length=300, pattern=PRINTABLE)]
    known: Epoch | None


class Snapshot(Message, frozen=True, tag=22):
    """One part of the origin's slice as it was after change `state_tail`; all parts of one snapshot agree on that."""

    nonce: Number
    state_tail: Number
    part: Number
    is_last: bool
    rooms: Annotated[list[RoomOpened], msgspec.Meta(max_length=BATCH_ITEMS)]


class Pong(Message, frozen=True, tag=23):
    """I am here, and so far go my streams: the asker may be deaf to my PUB socket only. `notify_tail` is the asker's
    boot, and the number of the last notification sent to it."""

    nonce: Number
    state_tail: Number = 0
    notify_tail: tuple[Number, Number] = (0, 0)


class ResentState(Message, frozen=True, tag=24):
    """A part of the state stream again, from the log."""

    first: First
    changes: Annotated[list[Change], msgspec.Meta(max_length=BATCH_ITEMS)]


class ResentNotify(Message, frozen=True, tag=25):
    """A part of the notify stream again, from the log."""

    first: First
    items: Annotated[list[Notification], msgspec.Meta(max_length=BATCH_ITEMS)]


class CutState(Message, frozen=True, tag=26):
    """The log no longer holds what was asked for; `tail` is the last number given out. Ask for a snapshot."""

    tail: Number


class CutNotify(Message, frozen=True, tag=27):
    """Notifications `first`, `first + 1`, … are not in the log any more: they were for these rooms, one list for each.

    With no list at all, not even that is known any more of anything before `oldest`."""

    first: First
    rooms: Annotated[
        list[Annotated[list[RoomId], msgspec.Meta(max_length=ROOMS_PER_NOTIFICATION)]],
        msgspec.Meta(max_length=BATCH_ITEMS),
    ]
    oldest: Number


class ResetTaken(Message, frozen=True, tag=28):
    """The origin has taken the epoch in this message because of the reset named by `nonce`."""

    nonce: Number


Publication = Heartbeat | Farewell | State | Notify | Probe
Question = Hello | Sync | Applied | Ping | ResendState | ResendNotify | Reset
Reply = Welcome | Refused | Snapshot | Pong | ResentState | ResentNotify | CutState | CutNotify | ResetTaken


class _Claim(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What every message begins with, those that this version does not know included."""

    tag: int
    origin: NodeId


_T = TypeVar("_T")

_encoder = msgspec.msgpack.Encoder()
_publications: msgspec.msgpack.Decoder[Publication] = msgspec.msgpack.Decoder(Publication)
_questions: msgspec.msgpack.Decoder[Question] = msgspec.msgpack.Decoder(Question)
_claims: msgspec.msgpack.Decoder[_Claim] = msgspec.msgpack.Decoder(_Claim)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode(message: Question | Reply) -> bytes:
    """A direct frame."""
    return _encoder.encode(message)


def encode_published(topic: bytes, message: Publication) -> bytes:
    """A published frame: the topic (zero byte included) and the message."""
    return topic + _encoder.encode(message)


def decode_published(frame: bytes) -> Publication:
    """The message in a published frame. Raises `FrameError` for anything else."""
    end = frame.find(TOPIC_END, 0, LONGEST_TOPIC)
    if end < 0:
        raise FrameError("a published frame without a topic")
    return _decode(_publications, memoryview(frame)[end + 1 :])


def claimed_origin(frame: bytes) -> str:
    """The name in a published frame that is no message, if it can be read; else nothing."""
    end = frame.find(TOPIC_END, 0, LONGEST_TOPIC)
    try:
        return _claims.decode(memoryview(frame)[end + 1 :]).origin
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def decode_question(frame: bytes) -> Question:
    """The message in a frame that a peer's DEALER sent to our ROUTER. Raises `FrameError` for anything else."""
    return _decode(_questions, frame)


def decode_reply(frame: bytes) -> Reply:
    """The message in a frame that a peer's ROUTER sent to our DEALER. Raises `FrameError` for anything else."""
    return _decode(_replies, frame)


def _decode(decoder: msgspec.msgpack.Decoder[_T], frame: bytes | memoryview) -> _T:
    try:
        return decoder.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError(f"not a message of the mesh protocol: {error}") from error
