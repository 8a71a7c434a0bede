"""How many writes things cost. The sockets keep each write apart (SOCK_SEQPACKET), so that they can be counted."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import trio

from server.adapters.admission import Admission
from server.adapters.http import HttpClient
from server.adapters.outbox import Outbox
from server.adapters.websocket import WebSocketClient
from server.adapters.wire import Wire
from server.config import ServerConfig
from support.front import Front, call, get, handshake, masked, open_front

PACKET = 100_000


def standing() -> float:
    """Return the same time always: no turn is long, however busy the machine is."""
    return 0.0


@asynccontextmanager
async def attached(front: Front) -> AsyncIterator[trio.socket.SocketType]:
    """Serve a client as the listener does, over a socket that keeps writes apart."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    log = structlog.wrap_logger(front.log, processors=[])
    with ours, trio.socket.from_stdlib_socket(theirs) as client:
        async with trio.open_nursery() as life:
            outbox = Outbox(
                ours, "test", front.turn, life, limits=front.limits, counters=front.counters, log=log
            )
            wire = Wire(ours, outbox, "test")

            admission = Admission(ServerConfig(), front.limits, front.refused, log)
            caller = admission.caller(("127.0.0.1", 50_000))

            async def attend() -> None:
                http = HttpClient(
                    wire, front.app, front.turn, front.limits, log, admission=admission, caller=caller
                )
                if await http.run():
                    websocket = WebSocketClient(
                        wire, front.app, front.turn, life, admission, limits=front.limits, log=log
                    )
                    await websocket.run()

            life.start_soon(attend)
            yield client
            life.cancel_scope.cancel()


async def test_pipelined_requests_are_answered_in_one_write() -> None:
    async with open_front(clock=standing) as front, attached(front) as client:
        await client.send(get() * 10)
        assert (await client.recv(PACKET)).count(b"HTTP/1.1 200 OK\r\n") == 10


async def test_what_one_read_causes_is_one_write_for_each_client_that_it_concerns() -> None:
    async with open_front(clock=standing) as front, attached(front) as sender, attached(front) as listener:
        for client in (sender, listener):
            await client.send(handshake())
            assert (await client.recv(PACKET)).startswith(b"HTTP/1.1 101 ")
        await listener.send(masked(call("subscribe", "realtime", index="i", collection="c", body={})))
        assert b'"roomId"' in await listener.recv(PACKET)

        publish = masked(call("publish", "realtime", index="i", collection="c", body={"a": 1}))
        await sender.send(publish * 20)
        # The last of the messages of one read may still be on its way through trio-websocket when it asks for more.
        heard = [(await listener.recv(PACKET)).count(b'"type":"document"')]
        while sum(heard) < 20:
            heard.append((await listener.recv(PACKET)).count(b'"type":"document"'))
        assert len(heard) <= 2
        replies = [(await sender.recv(PACKET)).count(b'"published"')]
        while sum(replies) < 20:
            replies.append((await sender.recv(PACKET)).count(b'"published"'))
        assert len(replies) <= 2
