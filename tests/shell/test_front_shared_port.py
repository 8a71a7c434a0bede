"""Workers share a port: connections spread over them, and none that the kernel has accepted is lost with a worker."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from server.adapters.listening import SPREADS, ListenError, Listening, open_listening
from support.waiting import eventually

needs_spreading = pytest.mark.skipif(
    not SPREADS, reason="this kernel does not spread connections over sockets"
)

CLIENTS = 200
"""Of four workers each should get 50, and gets less than 20 once in ten million runs."""


def waiting(listening: Listening) -> list[socket.socket]:
    """Accept all who wait there."""
    accepted = []
    for sock in listening.sockets:
        while True:
            try:
                accepted.append(sock.accept()[0])
            except BlockingIOError:
                break
    return accepted


@contextmanager
def closed_at_end(*all_listening: Listening) -> Iterator[None]:
    try:
        yield
    finally:
        for listening in all_listening:
            listening.close()


def connect(stack: ExitStack, port: int, count: int = 1) -> list[socket.socket]:
    return [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]


async def workers(count: int) -> tuple[list[Listening], int]:
    first = await open_listening("127.0.0.1", 0)
    return first.shared_among(count), first.addresses[0][1]


@needs_spreading
async def test_connections_spread_over_the_workers() -> None:
    shares, port = await workers(4)
    with closed_at_end(*shares), ExitStack() as stack:
        connect(stack, port, CLIENTS)
        counts = []
        for share in shares:
            accepted = [stack.enter_context(sock) for sock in waiting(share)]
            counts.append(len(accepted))
        assert sum(counts) == CLIENTS
        assert min(counts) >= 20


@needs_spreading
async def test_who_waits_for_a_worker_that_died_is_there_for_the_next() -> None:
    shares, port = await workers(2)
    with closed_at_end(*shares), ExitStack() as stack:
        # What a worker has is a copy of the descriptor, which ends with it.
        copies = [
            stack.enter_context(socket.socket(fileno=sock.dup().detach())) for sock in shares[1].sockets
        ]
        connect(stack, port, 40)
        for copy in copies:
            copy.close()
        accepted = [stack.enter_context(sock) for share in shares for sock in waiting(share)]
        assert len(accepted) == 40


@needs_spreading
async def test_a_paused_share_gets_nobody_and_the_others_get_all() -> None:
    shares, port = await workers(2)
    with closed_at_end(*shares), ExitStack() as stack:
        shares[0].pause()
        shares[0].pause()
        connect(stack, port, 40)
        assert len([stack.enter_context(sock) for sock in waiting(shares[1])]) == 40
        shares[0].resume()
        shares[1].resume()
        shares[1].pause()
        connect(stack, port, 40)
        assert len([stack.enter_context(sock) for sock in waiting(shares[0])]) == 40


@needs_spreading
async def test_a_worker_that_stops_gives_its_share_to_the_others() -> None:
    shares, port = await workers(2)
    with closed_at_end(*shares), ExitStack() as stack:
        Listening([socket.socket(fileno=sock.dup().detach()) for sock in shares[0].sockets]).close()
        connect(stack, port, 40)
        assert len([stack.enter_context(sock) for sock in waiting(shares[1])]) == 40


async def test_where_the_kernel_does_not_spread_all_accept_at_one_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.adapters.listening.SPREADS", False)
    shares, port = await workers(2)
    with closed_at_end(shares[0]), ExitStack() as stack:
        assert all(share.is_shared and share.sockets == shares[0].sockets for share in shares)
        shares[0].pause()
        connect(stack, port)
        accepted = await eventually(lambda: waiting(shares[1]))
        stack.enter_context(accepted[0])


@pytest.mark.parametrize("count", [1, 2])
async def test_a_shared_port_is_as_taken_as_any(count: int) -> None:
    shares, port = await workers(2)
    with closed_at_end(*shares), pytest.raises(ListenError, match="another program has this port"):
        (await open_listening("127.0.0.1", port)).shared_among(count)


@needs_spreading
async def test_ipv6_is_shared_too() -> None:
    try:
        first = await open_listening("::1", 0)
    except ListenError:
        pytest.skip("this machine has no IPv6")
    shares = first.shared_among(2)
    with closed_at_end(*shares):
        assert shares[0].addresses == shares[1].addresses
