"""The simulated network does what ZeroMQ does, and no more than was asked for."""

from __future__ import annotations

from random import Random

import pytest

from cluster.core.identity import Card, Epoch
from cluster.testing import Network, SimNode, World
from cluster.testing.clock import Clock
from cluster.testing.network import CONNECTION_LIMIT_S, LATENCY_S, split


class Post:
    """A network of nodes that do nothing but write down what arrives."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.nodes: dict[str, SimNode] = {}
        self.network = Network(self.clock, self.nodes, 1)
        self.got: list[tuple[str, str, bytes]] = []
        self.returned: list[tuple[str, str, bytes]] = []
        """What somebody published and heard itself."""
        self.hung_up: list[tuple[str, str]] = []
        self.identity = b""
        self.network.published = self._published
        self.network.asked = self._asked
        self.network.answered = lambda node, _sender, peer, frame: self.got.append((node.name, peer, frame))
        self.network.hung_up = lambda node, peer: self.hung_up.append((node.name, peer))

    def _published(self, node: SimNode, sender: SimNode, frame: bytes) -> None:
        (self.returned if node is sender else self.got).append((node.name, "pub", frame))

    def _asked(self, node: SimNode, _sender: SimNode, identity: bytes, frame: bytes) -> None:
        self.identity = identity
        self.got.append((node.name, "ask", frame))

    def node(self, name: str) -> SimNode:
        world = World(Random(1))
        node = self.nodes[name] = world.start(name)
        node.topics = (b"t",)
        return node

    def join(self, owner: SimNode, peer: str) -> None:
        card = Card(id=peer, epoch=Epoch(1, 0), pub=f"mem://{peer}/pub", router=f"mem://{peer}/router")
        self.network.connect(owner, card)
        self.clock.run(2 * LATENCY_S)

    def frames(self) -> list[bytes]:
        return [frame for _, _, frame in self.got]


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def a(post: Post) -> SimNode:
    return post.node("a")


@pytest.fixture
def b(post: Post, a: SimNode) -> SimNode:
    b = post.node("b")
    post.join(a, "b")
    return b


def test_what_one_publishes_arrives_in_order_however_late(post: Post, b: SimNode) -> None:
    post.network.weather.delay = 0.5
    for number in range(50):
        post.network.publish(b, b"t%d" % number)
        post.clock.run(0.01)
    post.clock.run(1)
    assert post.frames() == [b"t%d" % number for number in range(50)]


def test_only_what_was_subscribed_to_arrives(post: Post, a: SimNode, b: SimNode) -> None:
    post.network.publish(b, b"other")
    post.network.subscribe(a, (b"o",))
    post.network.publish(b, b"too early")
    post.clock.run(1)
    post.network.publish(b, b"other")
    post.clock.run(1)
    assert post.frames() == [b"other"]


def test_nothing_is_published_to_whom_no_connection_is_there_yet(post: Post, a: SimNode) -> None:
    b = post.node("b")
    card = Card(id="b", epoch=Epoch(1, 0), pub="mem://b/pub", router="mem://b/router")
    post.network.connect(a, card)
    post.network.publish(b, b"t lost")
    post.network.ask(a, "b", b"waits")
    post.clock.run(1)
    assert post.frames() == [b"waits"]


def test_an_answer_finds_only_the_connection_that_asked(post: Post, a: SimNode, b: SimNode) -> None:
    post.network.ask(a, "b", b"?")
    post.clock.run(1)
    post.network.answer(post.identity, b"!")
    post.clock.run(1)
    assert post.got[-1] == ("a", "b", b"!")
    post.network.break_between("a", "b")
    post.network.answer(post.identity, b"nobody hears this")
    post.clock.run(1)
    assert post.got[-1] == ("a", "b", b"!")


def test_what_is_under_way_is_lost_with_its_connection_and_questions_wait_for_the_next(
    post: Post, a: SimNode, b: SimNode
) -> None:
    post.network.publish(b, b"t under way")
    post.network.ask(a, "b", b"under way")
    post.network.break_between("a", "b")
    post.network.publish(b, b"t to nobody")
    post.network.ask(a, "b", b"waits")
    post.clock.run(1)
    assert post.frames() == [b"waits"]
    assert post.hung_up == [("a", "b")]
    assert post.network.is_connected()


def test_a_cut_loses_or_holds(post: Post, a: SimNode, b: SimNode) -> None:
    post.network.cut("b", "a", holds=False)
    post.network.publish(b, b"t lost")
    post.network.ask(a, "b", b"the way back is free")
    post.clock.run(1)
    assert post.frames() == [b"the way back is free"]
    post.network.restore()
    post.network.cut("b", "a", holds=True)
    for number in range(3):
        post.network.publish(b, b"t%d" % number)
    post.clock.run(1)
    assert len(post.got) == 1
    post.network.restore()
    post.clock.run(1)
    assert post.frames()[1:] == [b"t0", b"t1", b"t2"]


def test_a_connection_over_which_nothing_comes_is_given_up(post: Post, a: SimNode, b: SimNode) -> None:
    post.network.cut("b", "a", holds=True)
    post.network.publish(b, b"t lost in the end")
    post.clock.run(CONNECTION_LIMIT_S + 1)
    assert post.hung_up == [("a", "b")]
    assert not post.network.is_connected()
    post.network.restore()
    post.clock.run(2)
    assert post.network.is_connected()
    assert post.got == []


def test_a_queue_has_an_end(post: Post, a: SimNode, b: SimNode) -> None:
    post.network.weather.queue = 3
    for number in range(9):
        post.network.publish(b, b"t%d" % number)
    post.clock.run(1)
    assert post.frames() == [b"t0", b"t1", b"t2"]


def test_a_frame_that_is_too_large_ends_its_connection(post: Post, a: SimNode, b: SimNode) -> None:
    post.network._frame_bytes = 10
    post.network.publish(b, b"t before")
    post.network.publish(b, b"t is too large")
    post.network.publish(b, b"t behind it")
    post.clock.run(0.4)
    post.network.publish(b, b"t to nobody")
    post.clock.run(1)
    post.network.publish(b, b"t after")
    post.clock.run(1)
    assert post.frames() == [b"t before", b"t after"]
    assert post.hung_up == []
    post.network.ask(a, "b", b"?")
    post.clock.run(1)
    post.network.answer(post.identity, b"is too large")
    post.network.answer(post.identity, b"behind it")
    post.clock.run(1)
    post.network.ask(a, "b", b"is too large")
    post.network.ask(a, "b", b"behind it")
    post.clock.run(1)
    post.network.ask(a, "b", b"!")
    post.clock.run(1)
    assert post.frames()[2:] == [b"?", b"!"]
    assert post.hung_up == [("a", "b")] * 2
    assert post.network.is_connected()


def test_the_restarted_is_found_on_its_address(post: Post, a: SimNode, b: SimNode) -> None:
    del post.nodes["b"]
    post.network.gone(b, is_orderly=False)
    post.clock.run(1)
    assert post.hung_up == [("a", "b")]
    b = post.node("b")
    post.clock.run(2)
    post.network.publish(b, b"t")
    post.clock.run(1)
    assert post.frames() == [b"t"]


def test_a_seed_that_is_not_there_gets_the_last_few_questions(post: Post, a: SimNode) -> None:
    for number in range(9):
        post.network.ask_at(a, "mem://c/router", b"%d" % number)
    post.node("c")
    post.clock.run(1)
    assert post.frames() == [b"0", b"1", b"2", b"3"]


def test_duplicates_come_only_when_asked_for(post: Post, b: SimNode) -> None:
    post.network.weather.duplication = 1.0
    post.network.publish(b, b"t")
    post.clock.run(2)
    assert post.frames() == [b"t", b"t"]


def test_groups_are_parted_in_both_directions() -> None:
    assert split([["a"], ["b", "c"]]) == [("a", "b"), ("a", "c"), ("b", "a"), ("c", "a")]
