"""What every Transport guarantees, run against each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import msgspec
import pytest
import trio

from cluster.adapters.memory import MemoryNetwork
from cluster.adapters.zeromq import ZeroMqTransport
from cluster.core.identity import Card, Epoch
from cluster.core.messages import FRAME_BYTES
from cluster.errors import AddressError, BindError
from cluster.keys import Keys
from cluster.ports import Addresses, Transport
from support.waiting import eventually

Make = Callable[[], Transport]


class Received:
    """Keeps what arrived, as it arrived."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.questions: list[tuple[bytes, bytes]] = []
        self.replies: list[tuple[str, bytes]] = []
        self.gone: list[str] = []
        self.kept_out_by: list[str | None] = []

    def published(self, frames: Sequence[bytes]) -> int:
        self.frames += frames
        return 0

    def asked(self, questions: Sequence[tuple[bytes, bytes]]) -> int:
        self.questions += questions
        return 0

    def answered(self, node: str, frames: Sequence[bytes]) -> int:
        self.replies += [(node, frame) for frame in frames]
        return 0

    def hung_up(self, node: str) -> None:
        self.gone.append(node)

    def kept_out(self, node: str | None) -> None:
        self.kept_out_by.append(node)


@attrs.frozen
class End:
    transport: Transport
    addresses: Addresses
    received: Received
    keys: Keys | None

    def card(self, name: str) -> Card:
        card = Card(id=name, epoch=Epoch(1, 0), pub=self.addresses.pub, router=self.addresses.router)
        if self.keys is None:
            return card
        server, own = self.keys.server.public.hex(), self.keys.own.public.hex()
        return msgspec.structs.replace(card, server_key=server, key=own)

    def connect(self, other: End, name: str) -> None:
        """Know the other by that name; where there are keys, the other has to know us, too, before we hear it."""
        self.transport.connect(other.card(name))
        if self.keys is not None:
            other.transport.connect(self.card(f"end-{id(self):x}"))


@attrs.frozen
class Kind:
    make: Make
    pub: str
    router: str
    secret: str | None = None

    def keys(self) -> Keys | None:
        """For a new life of a node."""
        return None if self.secret is None else Keys(self.secret)


@pytest.fixture(
    params=["memory", "zeromq-tcp", "zeromq-ipc", "zeromq-ipv6", "zeromq-curve", "zeromq-curve-ipc"]
)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    match request.param:
        case "memory":
            return Kind(MemoryNetwork().transport, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*")
        case "zeromq-tcp":
            return Kind(ZeroMqTransport, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*")
        case "zeromq-ipv6":
            return Kind(ZeroMqTransport, "tcp://[::1]:*", "tcp://[::1]:*")
        case "zeromq-curve":
            return Kind(ZeroMqTransport, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*", "s" * 16)
        case "zeromq-curve-ipc":
            return Kind(ZeroMqTransport, f"ipc://{tmp_path}/*", f"ipc://{tmp_path}/*", "s" * 16)
        case _:
            return Kind(ZeroMqTransport, f"ipc://{tmp_path}/*", f"ipc://{tmp_path}/*")


@asynccontextmanager
async def an_end(kind: Kind, near: Addresses | None = None) -> AsyncIterator[End]:
    transport, received = kind.make(), Received()
    pub, router = kind.pub, kind.router
    if pub.startswith("ipc://"):
        name = str(id(transport))
        pub, router = pub.replace("*", f"{name}.pub"), router.replace("*", f"{name}.router")
    keys = kind.keys()
    async with transport.open(pub, router, near, keys) as addresses, trio.open_nursery() as nursery:
        nursery.start_soon(transport.run, received)
        yield End(transport, addresses, received, keys)
        nursery.cancel_scope.cancel()


async def say_until_heard(speaker: End, listener: End, frame: bytes) -> None:
    """PUB has no memory: what is said before a subscription has arrived is gone."""
    while frame not in listener.received.frames:
        speaker.transport.publish(frame)
        with trio.move_on_after(0.01):
            await eventually(lambda: frame in listener.received.frames)


async def ask_until_heard(asker: End, peer: End, question: bytes) -> None:
    """What is asked over a connection that is about to end is gone."""
    while question not in (asked for _, asked in peer.received.questions):
        asker.transport.ask("a", question)
        with trio.move_on_after(0.05):
            await eventually(lambda: question in (asked for _, asked in peer.received.questions))


async def test_published_frames_arrive_in_order_and_by_topic(kind: Kind) -> None:
    async with an_end(kind) as a, an_end(kind) as b:
        b.transport.subscribe(b"yes\x00")
        b.connect(a, "a")
        await say_until_heard(a, b, b"yes\x00hello")
        for number in range(500):
            a.transport.publish(b"no\x00%d" % number)
            a.transport.publish(b"yes\x00%d" % number)
        await eventually(lambda: b.received.frames[-1:] == [b"yes\x00499"])
        numbers = [frame for frame in b.received.frames if frame != b"yes\x00hello"]
        assert numbers == [b"yes\x00%d" % number for number in range(500)]


async def test_a_node_hears_itself_by_the_topics_that_it_subscribed_to(kind: Kind) -> None:
    async with an_end(kind) as a:
        a.transport.subscribe(b"mine\x00")
        await say_until_heard(a, a, b"mine\x00first")
        a.transport.publish(b"others\x00")
        a.transport.publish(b"mine\x00last")
        await eventually(lambda: a.received.frames[-1:] == [b"mine\x00last"])
        assert b"others\x00" not in a.received.frames
        a.transport.unsubscribe(b"mine\x00")


async def test_a_second_pair_of_addresses_reaches_the_same_node(kind: Kind, tmp_path: Path) -> None:
    near = Addresses(f"ipc://{tmp_path}/near.pub", f"ipc://{tmp_path}/near.router")
    async with an_end(kind, near) as a, an_end(kind) as b, an_end(kind) as c:
        nearby = msgspec.structs.replace(a.card("a"), pub=near.pub, router=near.router)
        for end, card in ((b, a.card("a")), (c, nearby)):
            end.transport.subscribe(b"t\x00")
            end.connect(a, "a")
            end.transport.connect(card)
        await say_until_heard(a, b, b"t\x00one")
        await say_until_heard(a, c, b"t\x00two")
        for end, question in ((b, b"from b"), (c, b"from c")):
            assert end.transport.ask("a", question)
            await eventually(
                lambda question=question: [asked[1] for asked in a.received.questions[-1:]] == [question]
            )
            assert a.transport.answer(a.received.questions[-1][0], b"answer")
            await eventually(lambda end=end: end.received.replies == [("a", b"answer")])


async def test_a_second_pair_of_addresses_that_is_taken_is_an_error_and_leaves_nothing(kind: Kind) -> None:
    async with an_end(kind) as a:
        if a.addresses.pub.startswith("ipc"):
            return  # a file is taken over: nobody can tell one that was left behind from one in use
        with pytest.raises(BindError):
            async with an_end(kind, a.addresses):
                pass


async def test_a_peer_that_does_not_read_overflows_and_harms_nobody_else(kind: Kind) -> None:
    async with an_end(kind) as a, an_end(kind) as reader:
        deaf = kind.make()
        pub = kind.pub.replace("*", "deaf.pub") if kind.pub.startswith("ipc") else kind.pub
        router = kind.router.replace("*", "deaf.router") if kind.router.startswith("ipc") else kind.router
        keys = kind.keys()
        async with deaf.open(pub, router, None, keys) as addresses:  # and never runs
            for end in (End(deaf, addresses, Received(), keys), reader):
                end.transport.subscribe(b"t\x00")
                end.connect(a, "a")
            await say_until_heard(a, reader, b"t\x00hello")

            async def overflows() -> bool:
                return not all(a.transport.publish(b"t\x00" + bytes(10_000)) for _ in range(1000))

            await eventually(overflows)
            await say_until_heard(a, reader, b"t\x00still here")


async def test_a_topic_can_be_given_up(kind: Kind) -> None:
    async with an_end(kind) as a, an_end(kind) as b:
        b.transport.subscribe(b"x\x00")
        b.transport.subscribe(b"y\x00")
        b.connect(a, "a")
        await say_until_heard(a, b, b"x\x001")
        b.transport.unsubscribe(b"x\x00")
        a.transport.publish(b"x\x00late")
        await say_until_heard(a, b, b"y\x001")
        assert b"x\x00late" not in b.received.frames


async def test_questions_and_answers_find_their_way(kind: Kind) -> None:
    async with an_end(kind) as a, an_end(kind) as b:
        b.connect(a, "a")
        for number in range(100):
            assert b.transport.ask("a", b"%d" % number)
        await eventually(lambda: len(a.received.questions) == 100)
        assert [frame for _, frame in a.received.questions] == [b"%d" % number for number in range(100)]
        for identity, frame in a.received.questions:
            assert a.transport.answer(identity, b"re " + frame)
        await eventually(lambda: len(b.received.replies) == 100)
        assert b.received.replies == [("a", b"re %d" % number) for number in range(100)]


async def test_two_askers_are_told_apart(kind: Kind) -> None:
    async with an_end(kind) as a, an_end(kind) as b, an_end(kind) as c:
        for end, word in ((b, b"from b"), (c, b"from c")):
            end.connect(a, "a")
            assert end.transport.ask("a", word)
        await eventually(lambda: len(a.received.questions) == 2)
        for identity, frame in a.received.questions:
            a.transport.answer(identity, frame)
        await eventually(lambda: len(b.received.replies) == len(c.received.replies) == 1)
        assert b.received.replies == [("a", b"from b")]
        assert c.received.replies == [("a", b"from c")]


async def test_who_is_not_connected_cannot_be_asked(kind: Kind) -> None:
    async with an_end(kind) as a, an_end(kind) as b:
        assert not b.transport.ask("a", b"?")
        b.connect(a, "a")
        assert b.transport.ask("a", b"?")
        b.transport.disconnect("a")
        b.transport.disconnect("a")
        assert not b.transport.ask("a", b"?")


async def test_connecting_again_replaces(kind: Kind) -> None:
    async with an_end(kind) as a, an_end(kind) as b:
        b.transport.subscribe(b"t\x00")
        for _ in range(3):
            b.connect(a, "a")
        await say_until_heard(a, b, b"t\x001")
        a.transport.publish(b"t\x00once")
        a.transport.publish(b"t\x00end")
        await eventually(lambda: b"t\x00end" in b.received.frames)
        assert b.received.frames.count(b"t\x00once") == 1


class Leaving(Received):
    """Disconnects from whoever answers, within the call that says so."""

    transport: Transport

    def answered(self, node: str, frames: Sequence[bytes]) -> int:
        self.transport.disconnect(node)
        return super().answered(node, frames)


async def test_what_arrives_may_end_the_connection_on_which_it_came(kind: Kind) -> None:
    async with an_end(kind) as a:
        leaving = Leaving()
        leaving.transport = kind.make()
        pub = kind.pub.replace("*", "leaving.pub") if kind.pub.startswith("ipc") else kind.pub
        router = kind.router.replace("*", "leaving.router") if kind.router.startswith("ipc") else kind.router
        async with leaving.transport.open(pub, router, None, kind.keys()), trio.open_nursery() as nursery:
            nursery.start_soon(leaving.transport.run, leaving)
            for number in range(20):
                leaving.transport.connect(a.card("a"))
                leaving.transport.disconnect("a")  # before anything of it ran
                leaving.transport.connect(a.card("a"))
                leaving.transport.ask("a", b"?")
                await eventually(lambda n=number: len(a.received.questions) == n + 1)
                a.transport.answer(*a.received.questions[-1])
                await eventually(lambda n=number: len(leaving.replies) == n + 1)
            nursery.cancel_scope.cancel()


async def test_a_peer_may_have_the_addresses_of_a_former_one(kind: Kind) -> None:
    """A machine that lost its node starts another on the same ports, under another name; then the dead is forgotten."""
    async with an_end(kind) as a, an_end(kind) as b:
        b.transport.subscribe(b"s\x00")
        b.connect(a, "dead")
        b.connect(a, "alive")
        await say_until_heard(a, b, b"s\x00both are connected")
        b.transport.disconnect("dead")
        await say_until_heard(a, b, b"s\x00one is")
        b.connect(a, "alive")
        await say_until_heard(a, b, b"s\x00connected anew")
        assert b.transport.ask("alive", b"?")
        b.transport.disconnect("alive")
        assert not b.transport.ask("alive", b"?")


@pytest.mark.parametrize("kind", ["zeromq-tcp"], indirect=True)
@pytest.mark.parametrize("part", ["pub", "router"])
@pytest.mark.parametrize("address", ["rubbish", "tcp://", "foo://bar:1", "tcp://a\x00:1"])
async def test_an_address_that_is_none_is_refused_and_harms_nobody(
    kind: Kind, address: str, part: str
) -> None:
    async with an_end(kind) as a, an_end(kind) as b:
        b.transport.subscribe(b"s\x00")
        b.connect(a, "a")
        with pytest.raises(AddressError, match="no address to connect to"):
            b.transport.connect(msgspec.structs.replace(a.card("x"), **{part: address}))
        assert not b.transport.ask("x", b"?")
        b.transport.disconnect("x")
        await say_until_heard(a, b, b"s\x00still here")


async def test_a_frame_that_is_too_large_is_not_carried_and_the_next_is(kind: Kind) -> None:
    """MAXMSGSIZE in ZeroMQ: who gets such a frame does not read it, and hangs up."""
    oversized = bytes(FRAME_BYTES + 1)
    async with an_end(kind) as a, an_end(kind) as b:
        b.transport.subscribe(b"t\x00")
        b.connect(a, "a")
        await say_until_heard(a, b, b"t\x00before")
        a.transport.publish(b"t\x00" + oversized)
        await say_until_heard(a, b, b"t\x00after")
        assert max(map(len, b.received.frames)) < FRAME_BYTES
        await ask_until_heard(b, a, b"one")
        a.transport.answer(a.received.questions[-1][0], oversized)
        await eventually(lambda: b.received.gone == ["a"])
        await ask_until_heard(b, a, b"two")
        b.transport.ask("a", oversized)
        await eventually(lambda: b.received.gone == ["a", "a"])
        await ask_until_heard(b, a, b"three")
        assert b.received.replies == []
        assert max(len(question) for _, question in a.received.questions) < FRAME_BYTES


async def test_who_has_gone_cannot_be_answered(kind: Kind) -> None:
    async with an_end(kind) as a:
        async with an_end(kind) as b:
            b.connect(a, "a")
            b.transport.ask("a", b"?")
            await eventually(lambda: len(a.received.questions) == 1)
        identity, _ = a.received.questions[0]
        await eventually(lambda: not a.transport.answer(identity, b"too late"))


async def test_an_address_can_be_asked_without_a_name(kind: Kind) -> None:
    async with an_end(kind) as a, an_end(kind) as b:
        b.transport.ask_at(a.addresses.router, b"hello")
        b.transport.ask_at(a.addresses.router, b"again")
        await eventually(lambda: len(a.received.questions) == 2)
        for identity, frame in a.received.questions:
            a.transport.answer(identity, b"re " + frame)
        await eventually(lambda: len(b.received.replies) == 2)
        assert b.received.replies == [(a.addresses.router, b"re hello"), (a.addresses.router, b"re again")]


async def test_a_closed_connection_is_noticed(kind: Kind) -> None:
    async with an_end(kind) as b:
        async with an_end(kind) as a:
            b.connect(a, "a")
            b.transport.ask("a", b"?")
            await eventually(lambda: len(a.received.questions) == 1)
        await eventually(lambda: b.received.gone == ["a"])


# Not ipc: there ZeroMQ takes a path over from whoever had it.
@pytest.mark.parametrize("kind", ["memory", "zeromq-tcp", "zeromq-ipv6"], indirect=True)
async def test_an_address_can_be_bound_once(kind: Kind) -> None:
    async with an_end(kind) as a:
        again = kind.make()
        with pytest.raises(BindError, match="cannot be bound"):
            async with again.open(a.addresses.pub, kind.router):
                pass


async def test_it_says_where_it_is_bound(kind: Kind) -> None:
    async with an_end(kind) as a:
        assert a.addresses.pub != a.addresses.router
        assert "*" not in a.addresses.pub + a.addresses.router
