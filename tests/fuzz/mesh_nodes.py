"""All that a peer says to a node, and what happens meanwhile: a MessagePack array of steps (kind, milliseconds, frame).

The node, a, has two peers. What c says is fixed; what b says is the input. The law, after each step:

- whatever b says in its own name, the node holds of c what it held: its card, its slice, what it got from it;
- the node says nothing that others would refuse, and not much more than it was told;
- what it holds is bounded, what it counts adds up, and it does not ask to be woken again at once;
- what it would log is harmless to a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from cluster.core import effects as fx
from cluster.core import messages
from cluster.core.identity import Card, Epoch
from cluster.core.limits import Limits
from cluster.core.link import Link
from cluster.core.messages import LinkReport, Notification, RoomClosed, RoomOpened
from cluster.core.node import MeshNode
from cluster.errors import FrameError
from cluster.keys import Sealer
from fuzz.mesh_frames import change_frame
from support.fuzz_engine import Target
from support.fuzz_mutations import Dice, change_msgpack
from support.mesh_fuzz import publications, questions, replies

LIMITS = Limits(
    held_items=20,
    state_log_bytes=2_000,
    notify_log_bytes=2_000,
    cut_items=20,
    remembered_lives=5,
    batch_bytes=2_000,
)
SEALER = Sealer("what only nodes know")
A, B, C = (
    Card(id=name, epoch=Epoch(1_000, 0), pub=f"mem://{name}/pub", router=f"mem://{name}/router")
    for name in "abc"
)
B_SEALED, C_SEALED = SEALER.seal(B), SEALER.seal(C)

MOST_STEPS = 40
MOST_MS = 5_000
"""Of one step: long enough to be silent, down and, in a few of them, forgotten."""
SLICE_MS = 400
"""Between two heartbeats of c."""
SAID_BYTES = 64 << 10
"""In answer to one frame: a few frames of the batches above, with all that they are wrapped in."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

PUBLISHED, ASKED, ANSWERED, TIME, HUNG_UP, POOL, OWN = range(7)


def check(data: bytes) -> None:
    """Live through it."""
    life = _Life()
    for kind, ms, frame in _steps(data)[:MOST_STEPS]:
        life.step(kind % 7, min(max(ms, 0), MOST_MS), frame)
        if life.is_over:
            break


class _Life:
    """Of node a, with c attached."""

    def __init__(self) -> None:
        self.now = 1.0
        self.is_over = False
        """Whether b has made it begin another life, by a later one of its name: then all links begin anew."""
        self.core = MeshNode(A, LIMITS, seal=SEALER.seal, open_card=SEALER.open, now=self.now)
        self.core.serve()
        self._perform(self.core.cards_read([B_SEALED, C_SEALED], self.now))
        self.core.say.open_room("mine", b"of a", 2)
        for number in range(3):
            self.core.say.notify("b", ["theirs"], b"%d" % number)
        self._perform(self.core.flush(self.now))
        topic = messages.notify_topic("a", A.epoch.boot)
        for first in (1, 3):  # the second is missing
            said = messages.Notify("c", C.epoch, first, [Notification(["mine"], b"from c")])
            self._perform(self.core.published(messages.encode_published(topic, said), self.now))
        self._c_beats()
        self._of_c = _held_of(self._c)
        assert self._c.is_live

    @property
    def _c(self) -> Link:
        return next(link for link in self.core.links if link.id == "c")

    def step(self, kind: int, ms: int, frame: bytes) -> None:
        """Let time pass, and one thing happen."""
        self._pass(ms)
        out = self._happens(kind, frame)
        assert sum(_size(effect) for effect in out) <= SAID_BYTES
        self.is_over = any(isinstance(effect, fx.MoveTopic) for effect in out)
        if not self.is_over:
            self._perform(out)
            self._perform(self.core.flush(self.now))
            self._holds()

    def _pass(self, ms: int) -> None:
        while ms > 0:
            slice_ms = min(ms, SLICE_MS)
            ms -= slice_ms
            self.now += slice_ms / 1000
            self._perform(self.core.time_passed(self.now))
            assert self.core.next_deadline() > self.now
            self._c_beats()

    def _happens(self, kind: int, frame: bytes) -> list[fx.Effect]:
        core, now = self.core, self.now
        if kind in (PUBLISHED, ASKED, ANSWERED) and _speaks_for_others(kind, frame):
            return []
        match kind:
            case 0:
                return core.published(frame, now)
            case 1:
                return core.asked(b"b's dealer", frame, now)
            case 2:
                return core.answered("b", frame, now)
            case 4:
                return core.hung_up("b", now)
            case 5:
                return core.cards_read([C_SEALED, B_SEALED, frame], now)
            case 6:
                room = f"room {len(frame) % 5}"
                core.say.open_room(room, frame, 1)
                core.say.notify("b", [room], frame)
                return core.flush(now)
            case _:
                return []

    # -- What is asked of c, and what it says ----------------------------------------------------------------------

    def _perform(self, out: list[fx.Effect]) -> None:
        for effect in out:
            self._is_sound(effect)
            if isinstance(effect, fx.Ask) and effect.node == "c":
                self._c_is_asked(messages.decode_question(effect.frame))

    def _c_is_asked(self, question: messages.Question) -> None:
        match question:
            case messages.Hello(nonce=nonce):
                welcome = messages.Welcome("c", C.epoch, C_SEALED, nonce, [])
                topic = messages.notify_topic("a", A.epoch.boot)
                probe = messages.encode_published(topic, messages.Probe("c", C.epoch, nonce))
                self._perform(self.core.answered("c", messages.encode(welcome), self.now))
                self._perform(self.core.published(probe, self.now))
            case messages.Sync(nonce=nonce):
                rooms = [RoomOpened(f"room of c {number}", b"d", number) for number in range(3)]
                snapshot = messages.Snapshot("c", C.epoch, nonce, 7, 0, True, rooms)
                self._perform(self.core.answered("c", messages.encode(snapshot), self.now))
            case messages.Ping(nonce=nonce):
                self._perform(
                    self.core.answered("c", messages.encode(messages.Pong("c", C.epoch, nonce, 7)), self.now)
                )
            case _:
                pass

    def _c_beats(self) -> None:
        report = LinkReport(self.core.epoch, True, 1, self.core.say.state_tail, 0, 0, 0, 1, 1)
        beat = messages.Heartbeat("c", C.epoch, 7, {"a": (A.epoch.boot, 3)}, {"a": report})
        self._perform(
            self.core.published(messages.encode_published(messages.HEARTBEAT_TOPIC, beat), self.now)
        )

    # -- The law ------------------------------------------------------------------------------------------------------

    def _is_sound(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Publish(frame):
                messages.decode_published(frame)
            case fx.Ask(_, frame) | fx.AskAt(_, frame):
                messages.decode_question(frame)
            case fx.Answer(_, frame):
                messages.decode_reply(frame)
            case fx.Belief(event, fields):
                texts = [value for value in fields.values() if isinstance(value, str)]
                assert not any(CONTROL.search(text) for text in (event, *texts)), fields
            case fx.Lost("c", count, _):
                raise AssertionError(f"{count} of c are given up")
            case fx.PeerAway(node) | fx.PeerGone(node):
                assert node != "c"
            case _:
                pass

    def _holds(self) -> None:
        core = self.core
        assert _held_of(self._c) == self._of_c
        assert {link.id for link in core.links} <= {"b", "c"}
        for link in core.links:
            received = link.mailbox.received
            assert received.position <= received.tail
            assert received.held <= LIMITS.held_items
            assert received.delivered + received.lost <= received.position
            assert link.replica.held <= LIMITS.held_items + messages.BATCH_ITEMS
            assert link.outgoing.bytes_logged <= LIMITS.notify_log_bytes
            assert link.accounted.position <= link.outgoing.tail
            assert link.replica.position <= link.replica.tail
            msgspec.msgpack.encode(link.report(self.now))
        core.why_not_ready()
        core.unsettled(*core.settled_up_to())
        core.epochs.reset_waits_for()
        core.is_joining()


def _held_of(link: Link) -> list[object]:
    received = link.mailbox.received
    return [
        link.card,
        link.epoch,
        len(link.replica.slice),
        (received.position, received.held, received.tail, received.lost, received.delivered),
        link.replica.tail,
        link.sealed_card,
    ]


def _speaks_for_others(kind: int, frame: bytes) -> bool:
    """Tell whether it is said in the name of c: whoever has the secret may do that, and is believed."""
    decode: Any = (messages.decode_published, messages.decode_question, messages.decode_reply)[kind]
    try:
        return bool(decode(frame).origin == "c")
    except FrameError:
        return False


def _size(effect: fx.Effect) -> int:
    return len(getattr(effect, "frame", b""))


# -- Inputs -----------------------------------------------------------------------------------------------------------


def seeds() -> Iterator[bytes]:
    """A life of b as it should be, and each of its frames alone."""
    said = [
        *((PUBLISHED, frame) for frame in publications("b", B.epoch, "a", A.epoch.boot)),
        *((ASKED, frame) for frame in questions("b", B.epoch, B_SEALED)),
        *((ANSWERED, frame) for frame in replies("b", B.epoch, B_SEALED)),
    ]
    joins = _joins()
    yield msgspec.msgpack.encode(joins)
    yield msgspec.msgpack.encode([*joins, *((kind, 10, frame) for kind, frame in said)])
    for kind, frame in said:
        yield msgspec.msgpack.encode([*joins, (kind, 200, frame), (TIME, 900, b""), (OWN, 0, b"x" * 100)])
    yield msgspec.msgpack.encode(
        [(TIME, 3_000, b""), *joins, (HUNG_UP, 0, b""), (TIME, 5_000, b""), (POOL, 0, B_SEALED)]
    )
    later = SEALER.seal(msgspec.structs.replace(B, epoch=Epoch(2_000, 0)))
    yield msgspec.msgpack.encode([*joins, (POOL, 0, later), *joins])
    beyond = [Notification(["mine"], b"%d" % number) for number in range(15)]
    topic = messages.notify_topic("a", A.epoch.boot)
    notify = messages.encode_published(topic, messages.Notify("b", B.epoch, 12, beyond))
    changes: list[messages.Change] = [RoomOpened("r", b"d", 1), RoomClosed("r")]
    state = messages.encode_published(messages.STATE_TOPIC, messages.State("b", B.epoch, 12, changes))
    cut = messages.encode(messages.CutNotify("b", B.epoch, 1, [["mine"]] * 3, 4))
    yield msgspec.msgpack.encode(
        [*joins, (PUBLISHED, 5, notify), (PUBLISHED, 5, state), (ANSWERED, 150, cut)]
    )


def _joins() -> list[tuple[int, int, bytes]]:
    """Return how b is joined: the numbers are those that a uses once."""
    topic = messages.notify_topic("a", A.epoch.boot)
    hello = messages.Hello("b", B.epoch, B_SEALED, 1)
    welcome = messages.Welcome("b", B.epoch, B_SEALED, 1, [C_SEALED])
    probe = messages.encode_published(topic, messages.Probe("b", B.epoch, 1))
    joins = [
        (ASKED, 0, messages.encode(hello)),
        (ANSWERED, 0, messages.encode(welcome)),
        (PUBLISHED, 0, probe),
    ]
    life = _Life()
    nonce = 0
    for kind, ms, frame in joins:
        life.step(kind, ms, frame)
        nonce = next(link for link in life.core.links if link.id == "b").replica._nonce
    snapshot = messages.Snapshot("b", B.epoch, nonce, 0, 0, True, [RoomOpened("r", b"d", 1)])
    return [
        *joins,
        (ANSWERED, 0, messages.encode(snapshot)),
        (ASKED, 0, messages.encode(messages.Sync("b", B.epoch, 2))),
    ]


def change_life(data: bytes, dice: Dice) -> bytes:
    """Change the frame of one step, or the steps."""
    steps = _steps(data)
    if not steps or dice.random.random() < 0.3:
        return change_msgpack(data, dice)
    at = dice.random.randrange(len(steps))
    kind, ms, frame = steps[at]
    steps[at] = (kind, ms, change_frame(frame, _Frames(dice)))
    return msgspec.msgpack.encode(steps)


def _steps(data: bytes) -> list[tuple[int, int, bytes]]:
    try:
        return msgspec.msgpack.decode(data, type=list[tuple[int, int, bytes]])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


class _Frames(Dice):
    """Dice by which a part of another life is a frame of it."""

    def __init__(self, dice: Dice) -> None:
        super().__init__(dice.random, dice.tokens, dice.others)

    def other(self) -> bytes:
        steps = _steps(super().other())
        return self.random.choice(steps)[2] if steps else b"?"


TARGET = Target(check, seeds, change_life)
