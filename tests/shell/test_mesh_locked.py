"""A mesh with a secret, over real sockets, and who tries to get in without it: nothing of theirs is read, nothing is
told to them, and the nodes go on."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager

import attrs
import msgspec
import pytest
import trio
import zmq

from cluster import Timers
from cluster.adapters.zeromq import ZeroMqTransport
from cluster.core import messages
from cluster.core.admission import KEPT_OUT
from cluster.core.identity import Card, Epoch
from cluster.core.liveness import Health
from cluster.keys import KeyPair, Keys, Sealer
from support.mesh_town import Embedder, Town, is_ready
from support.waiting import eventually

SECRET = "nobody else knows this"
QUICK = Timers(heartbeat=100)
"""Who hears anything hears a heartbeat soon."""

Socket = zmq.Socket[bytes]
NewSocket = Callable[[int], Socket]
Disguise = Callable[[Socket, Card], None]


@attrs.frozen
class Locked:
    """Two nodes with a secret."""

    town: Town
    a: Embedder
    b: Embedder

    def beliefs(self) -> list[object]:
        """What the nodes believe of each other, and what they read that they should not have."""
        found: list[object] = []
        for node in (self.a, self.b):
            core = node.mesh.core
            found += [core.epoch, core.rubbish.count, core.admission.bad_cards, core.admission.refusals]
            found += [
                (link.id, link.epoch, link.replica.sync, link.health, len(link.replica.slice))
                for link in core.links
            ]
        return found

    async def go_on(self) -> None:
        """They still hear each other."""
        word = b"%d" % len(self.b.got)
        self.a.mesh.notify("b", ["room"], word)
        self.a.mesh.flush()
        await eventually(lambda: self.b.got[-1:] == [word])


@asynccontextmanager
async def locked_mesh() -> AsyncIterator[Locked]:
    town = Town()
    async with (
        town.node("a", transport=ZeroMqTransport(), secret=SECRET, timers=QUICK, minimum_nodes=2) as a,
        town.node("b", transport=ZeroMqTransport(), secret=SECRET, timers=QUICK, minimum_nodes=2) as b,
    ):
        b.mesh.open_room("room", b"", 1)
        assert await b.mesh.settled() == []
        await eventually(lambda: is_ready(a, b))
        yield Locked(town, a, b)


@pytest.fixture
def new_socket() -> Iterator[NewSocket]:
    """Makes sockets that are closed with the test."""
    with zmq.Context() as context, ExitStack() as stack:

        def make(kind: int) -> Socket:
            socket = stack.enter_context(context.socket(kind))
            socket.set(zmq.LINGER, 0)
            return socket

        yield make


def no_disguise(_socket: Socket, _card: Card) -> None:
    """Speaks plain ZeroMQ."""


def show(socket: Socket, server: bytes, pair: KeyPair) -> None:
    socket.set(zmq.CURVE_SERVERKEY, server)
    socket.set(zmq.CURVE_PUBLICKEY, pair.public)
    socket.set(zmq.CURVE_SECRETKEY, pair.private)


def with_a_key_of_its_own(socket: Socket, card: Card) -> None:
    """Has read a card in Redis, and so knows what the node answers to."""
    show(socket, bytes.fromhex(card.server_key), Keys("anything").own)


def with_somebody_elses_key(socket: Socket, card: Card) -> None:
    """Shows the public key of a card, without the private one."""
    show(
        socket, bytes.fromhex(card.server_key), KeyPair(bytes.fromhex(card.key), Keys("anything").own.private)
    )


def with_another_secret(socket: Socket, card: Card) -> None:
    """Has the right server key, and the client key of another secret."""
    show(socket, bytes.fromhex(card.server_key), Keys("another secret").ways_in[0][1])


def of_another_cluster(socket: Socket, _card: Card) -> None:
    """Has the right secret, and the name of another cluster."""
    server, client = Keys(SECRET, cluster="another").ways_in[0]
    show(socket, server, client)


DISGUISES = [
    no_disguise,
    with_a_key_of_its_own,
    with_somebody_elses_key,
    with_another_secret,
    of_another_cluster,
]


@pytest.mark.parametrize("disguise", DISGUISES, ids=lambda disguise: disguise.__name__)
async def test_a_stranger_neither_says_nor_hears_anything(new_socket: NewSocket, disguise: Disguise) -> None:
    async with locked_mesh() as mesh:
        before, card = mesh.beliefs(), mesh.a.mesh.core.card
        asker, hearer = new_socket(zmq.DEALER), new_socket(zmq.SUB)
        hearer.subscribe(b"")
        for socket, address in ((asker, card.router), (hearer, card.pub)):
            disguise(socket, card)
            socket.connect(address)
        sealed = mesh.b.mesh.core.sealed_card  # good, and to be had from the pool
        for message in (
            messages.Hello("b", mesh.b.mesh.core.epoch, sealed, 1),
            messages.Reset("b", mesh.b.mesh.core.epoch, 7),
            messages.Sync("b", mesh.b.mesh.core.epoch, 2),
        ):
            asker.send(messages.encode(message))
        await eventually(lambda: mesh.a.mesh.strangers >= 2, "both are sent away")
        assert mesh.beliefs() == before
        for socket in (asker, hearer):
            assert not socket.poll(0)
        await mesh.go_on()


async def test_who_has_the_secret_and_a_card_is_let_in(new_socket: NewSocket) -> None:
    """So the tests above can fail."""
    async with locked_mesh() as mesh:
        keys, card = Keys(SECRET), mesh.a.mesh.core.card
        asker, hearer = new_socket(zmq.DEALER), new_socket(zmq.SUB)
        hearer.subscribe(messages.HEARTBEAT_TOPIC)
        show(asker, keys.server.public, keys.client_for(keys.server.public))
        show(hearer, keys.server.public, keys.own)
        asker.connect(card.router)
        hearer.connect(card.pub)
        own = msgspec.structs.replace(card, id="x", key=keys.own.public.hex())
        hello = messages.Hello("x", own.epoch, Sealer(SECRET).seal(own), 1)
        asker.send(messages.encode(hello))
        await eventually(lambda: asker.poll(0) != 0, "it is welcome")
        assert isinstance(messages.decode_reply(asker.recv()), messages.Welcome)
        await eventually(lambda: hearer.poll(0) != 0, "its key is known by now")


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
HELLO = b"\x04\xc8" + b"\x05HELLO\x01\x00" + bytes(72) + bytes(32) + bytes(8) + bytes(80)
"""CurveZMQ's first command, with nothing in it."""


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        bytes(1000),
        b"\xff" * 1000,
        GREETING,
        GREETING + HELLO,
        GREETING + b"\x06" + struct.pack(">Q", 1 << 62),
        GREETING + b"\x04\x00" * 100,
        GREETING.replace(b"CURVE", b"NULL\0"),
        GREETING.replace(b"CURVE", b"PLAIN"),
    ],
    ids=["http", "zeros", "ones", "greeting", "hello", "huge", "empty", "null", "plain"],
)
async def test_bytes_of_any_kind_get_nobody_in(said: bytes) -> None:
    async with locked_mesh() as mesh:
        before, card = mesh.beliefs(), mesh.a.mesh.core.card
        for address in (card.pub, card.router):
            async with await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2])) as stream:
                await stream.send_all(said)
                heard = bytearray()
                with trio.fail_after(10):  # the handshake's limit is 2 s
                    try:
                        while some := await stream.receive_some(1000):
                            heard += some
                    except trio.BrokenResourceError:
                        pass
            assert len(heard) <= len(GREETING), "a greeting says nothing"
        assert mesh.beliefs() == before
        await mesh.go_on()


async def test_cards_that_are_forged_or_old_make_nobody_a_peer() -> None:
    async with locked_mesh() as mesh:
        pool, card = mesh.town.pool, mesh.b.mesh.core.card
        sealer = Sealer(SECRET)
        forged = sealer.seal(card).replace(card.key.encode(), Keys(SECRET).own.public.hex().encode())
        await pool.beat("x", forged, 60_000)
        await pool.beat("y", Sealer("another secret").seal(msgspec.structs.replace(card, id="y")), 60_000)
        await pool.beat("z", Sealer(None).seal(msgspec.structs.replace(card, id="z")), 60_000)
        former = msgspec.structs.replace(
            card, epoch=Epoch(card.epoch.boot - 1, 0), key=Keys(SECRET).own.public.hex()
        )
        await pool.beat("b again", sealer.seal(former), 60_000)
        core = mesh.a.mesh.core
        await eventually(lambda: core.admission.bad_cards >= 3, "they were looked at")
        assert [(link.id, link.epoch, link.health) for link in core.links] == [("b", card.epoch, Health.UP)]
        await mesh.go_on()


async def test_who_sits_where_a_node_was_is_told_nothing(new_socket: NewSocket) -> None:
    """An impostor has taken the addresses on a good card, and has every public key there is to be had."""
    async with locked_mesh() as mesh:
        pub, router = new_socket(zmq.PUB), new_socket(zmq.ROUTER)
        own = Keys("anything").own
        for socket in (pub, router):
            socket.set(zmq.CURVE_SERVER, 1)
            socket.set(zmq.CURVE_SECRETKEY, own.private)
            socket.set(zmq.CURVE_PUBLICKEY, own.public)
            socket.bind("tcp://127.0.0.1:*")
        taken = msgspec.structs.replace(
            mesh.b.mesh.core.card,
            id="x",
            pub=pub.get_string(zmq.LAST_ENDPOINT),
            router=router.get_string(zmq.LAST_ENDPOINT),
        )
        await mesh.town.pool.beat("x", Sealer(SECRET).seal(taken), 60_000)

        def is_noticed() -> bool:
            return any(link.id == "x" and link.refusal == KEPT_OUT for link in mesh.a.mesh.core.links)

        await eventually(is_noticed)
        assert not router.poll(0)
        await mesh.go_on()


async def test_nodes_find_each_other_by_seeds_alone_and_wrong_secrets_are_named() -> None:
    town = Town()
    town.pool.failure = "no Redis"
    async with town.node("a", transport=ZeroMqTransport(), secret=SECRET) as a:
        seeds = (a.mesh.core.card.router,)
        async with (
            town.node(
                "b", transport=ZeroMqTransport(), secret="b" * 16, former_secret=SECRET, seeds=seeds
            ) as b,
            town.node("c", transport=ZeroMqTransport(), secret="c" * 16, seeds=seeds) as c,
        ):
            await eventually(lambda: all(any(link.is_live for link in n.mesh.core.links) for n in (a, b)))
            await eventually(lambda: "refused by peer" in town.log.events)
            assert list(c.mesh.core.links) == []
            assert [link.id for link in a.mesh.core.links] == ["b"]


async def test_who_has_no_secret_is_told_that_a_seed_has_one() -> None:
    town = Town()
    town.pool.failure = "no Redis"
    async with town.node("a", transport=ZeroMqTransport(), secret=SECRET) as a:
        seeds = (a.mesh.core.card.router,)
        async with town.node("b", transport=ZeroMqTransport(), seeds=seeds) as b:
            await eventually(lambda: "refused by peer" in town.log.events)
            assert list(a.mesh.core.links) == list(b.mesh.core.links) == []


async def test_a_card_that_says_no_key_is_not_connected_to() -> None:
    async with locked_mesh() as mesh:
        open_card = Card(id="x", epoch=Epoch(1, 0), pub="tcp://127.0.0.1:1", router="tcp://127.0.0.1:2")
        await mesh.town.pool.beat("x", Sealer(SECRET).seal(open_card), 60_000)
        await eventually(lambda: "peer cannot be connected to" in mesh.town.log.events)
        await mesh.go_on()
