"""Any bytes at all, wherever frames come in: a stranger's change nothing, and a peer's do no harm but to itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core import effects as fx
from cluster.core import messages
from cluster.core.identity import Card, Epoch
from cluster.core.limits import Limits
from cluster.core.node import MeshNode
from cluster.keys import Sealer
from cluster.testing import World
from support.mesh_fuzz import beliefs, damaged, publications, questions, replies, resident_bytes

STRANGE = Epoch(1_700_000_000_123, 2)
SPAN = 1 << 20

ONLY = fx.Belief, fx.Answer
"""All that a stranger causes: it is said in the log, and the stranger is refused."""


@attrs.frozen
class Target:
    """A node in a mesh of two, and the time it is there."""

    core: MeshNode
    now: float

    def take(self, kind: int, frame: bytes, peer: str = "b") -> list[fx.Effect]:
        """A frame comes in, one way or another."""
        match kind:
            case 0:
                return self.core.published(frame, self.now)
            case 1:
                return self.core.asked(b"someone", frame, self.now)
            case _:
                return self.core.answered(peer, frame, self.now)


def target() -> Target:
    world = World(Random(1))
    a, b = world.start("a"), world.start("b")
    world.run(0.01)
    for node in (a, b):
        world.open_room(node, "room", b"description", 3)
    world.run_until(world.is_converged, 2)
    world.publish(b, "room")
    world.run(1)
    return Target(a.core, world.now)


SEALER = Sealer("what only nodes know")


def locked_target() -> Target:
    """A node alone, with a secret: so a damaged card is no card."""
    card = Card(id="a", epoch=Epoch(1, 0), pub="mem://a/pub", router="mem://a/router")
    core = MeshNode(card, Limits(), seal=SEALER.seal, open_card=SEALER.open, now=0)
    return Target(core, 0)


def frames_of(origin: str, epoch: Epoch, card: bytes, to: Card) -> list[list[bytes]]:
    """By the way that they come in."""
    return [
        publications(origin, epoch, to.id, to.epoch.boot),
        questions(origin, epoch, card),
        replies(origin, epoch, card),
    ]


def strangers_frames(to: Card) -> list[list[bytes]]:
    card = Card(id="stranger", epoch=STRANGE, pub="mem://s/pub", router="mem://s/router")
    return frames_of("stranger", STRANGE, Sealer("of another cluster").seal(card), to)


TARGET = target()
STRANGERS = strangers_frames(TARGET.core.card)


def assert_nothing_happened(before: list[object], out: list[fx.Effect]) -> None:
    assert beliefs(TARGET.core) == before
    assert all(isinstance(effect, ONLY) for effect in out)


@given(st.integers(0, 2), st.binary(max_size=300))
def test_any_bytes_change_nothing(kind: int, frame: bytes) -> None:
    before = beliefs(TARGET.core)
    assert_nothing_happened(before, TARGET.take(kind, frame))


@given(st.integers(0, 2), st.integers(0, SPAN))
def test_what_a_stranger_says_changes_nothing_however_well_formed(kind: int, seed: int) -> None:
    before = beliefs(TARGET.core)
    for frame in islice(damaged(Random(seed), STRANGERS[kind]), 20):
        assert_nothing_happened(before, TARGET.take(kind, frame))


@given(st.integers(0, SPAN))
def test_damaged_frames_of_a_peer_end_nobody(seed: int) -> None:
    for _ in peers_fuzz(locked_target(), seed, 100):
        pass


def peers_fuzz(victim: Target, seed: int, count: int) -> Iterator[int]:
    """Give the node damaged frames of a peer while time goes by; what it then does of that is its business. When it
    thinks that the peer has left, another comes."""
    random, core = Random(seed), victim.core
    peer, sources = "", list[Iterator[bytes]]()
    for number in range(count):
        now = victim.now + number * 0.0005
        if number % 50 == 0:
            if not core.links:
                peer = f"b{number}"
                card = Card(id=peer, epoch=Epoch(1, 0), pub="mem://b/pub", router="mem://b/router")
                core.cards_read([SEALER.seal(card)], now)
            (link,) = core.links
            frames = frames_of(peer, link.epoch, link.sealed_card, core.card)
            sources = [damaged(random, kind) for kind in frames]
            assert_it_speaks_well(core.time_passed(now))
            core.why_not_ready()
            yield number
        kind = random.randrange(3)
        assert_it_speaks_well(attrs.evolve(victim, now=now).take(kind, next(sources[kind]), peer))


def assert_it_speaks_well(said: list[fx.Effect]) -> None:
    """What it was told, however absurd, does not make it say what others would refuse."""
    for effect in said:
        match effect:
            case fx.Publish(frame):
                messages.decode_published(frame)
            case fx.Ask(_, frame):
                messages.decode_question(frame)
            case fx.Answer(_, frame):
                messages.decode_reply(frame)
            case _:
                pass


ENOUGH = 200_000
"""Frames after which all that is filled by rubbish is full."""

GROWTH_BYTES = 24 << 20
"""What the memory of this process may still grow by; lists and arenas come and go."""


@pytest.mark.slow
def test_a_million_frames_of_strangers_change_nothing() -> None:
    victim = target()
    random, before, filled = Random(1), beliefs(victim.core), 0
    sources = [damaged(random, kind) for kind in strangers_frames(victim.core.card)]
    for number in range(1_000_000):
        kind = random.randrange(3)
        assert all(isinstance(effect, ONLY) for effect in victim.take(kind, next(sources[kind])))
        if number % 10_000 == 0:
            assert beliefs(victim.core) == before
        if number == ENOUGH:
            filled = resident_bytes()
    assert beliefs(victim.core) == before
    assert victim.core.rubbish.count > 100_000
    assert victim.core.admission.refusals > 1000
    assert resident_bytes() - filled < GROWTH_BYTES


@pytest.mark.slow
def test_a_million_damaged_frames_of_a_peer_end_nobody_and_fill_no_memory() -> None:
    victim = locked_target()
    filled = 0
    for number in peers_fuzz(victim, seed=2, count=1_000_000):
        if number == ENOUGH:
            filled = resident_bytes()
    assert victim.core.rubbish.count > 100_000
    assert resident_bytes() - filled < GROWTH_BYTES
