"""Where the front door is: addresses, ports, and errors that say what to do about them."""

import errno
import socket

import attrs
import pytest
import trio

from server.adapters import listener, listening
from server.adapters.listening import ListenError
from server.adapters.turn import Turn
from server.config import LoadedConfig, ServerConfig
from support.front import get, open_front, raw_client


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


async def failure(host: str, port: int) -> str:
    config = LoadedConfig(server=ServerConfig(host=host, port=port))
    with trio.fail_after(20), pytest.raises(ListenError) as caught:
        await listener.serve(None, config, Turn())  # type: ignore[arg-type]  # no client ever gets to the app
    return str(caught.value)


async def test_a_taken_port_is_named_with_what_to_do() -> None:
    async with open_front() as front:
        said = await failure(front.host, front.port)
        assert f"127.0.0.1:{front.port}" in said
        assert "another program has this port" in said
        assert "--port" in said


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "x" * 300, ""])
async def test_an_address_that_is_not_this_machines_is_named_with_those_that_are(host: str) -> None:
    said = await failure(host, 0)
    assert "cannot listen on" in said
    assert "127.0.0.1" in said


def test_other_reasons_are_told_as_the_machine_tells_them() -> None:
    why = listening._why_not
    assert "below 1024" in why("127.0.0.1", 80, OSError(errno.EACCES, "Permission denied"))
    assert "Too many open files" in why("127.0.0.1", 80, OSError(errno.EMFILE, "Too many open files"))


@pytest.mark.parametrize("host", ["0.0.0.0", pytest.param("::", marks=needs_ipv6), "localhost"])
async def test_all_addresses_of_a_host_are_listened_on_at_one_port(host: str) -> None:
    async with open_front(host=host) as front:
        assert len({port for _, port in front.addresses}) == 1
        reachable = {"127.0.0.1"} | ({"::1"} if host == "::" else set())
        for address in reachable:
            async with raw_client(attrs.evolve(front, host=address)) as client:
                assert (await client.ask(get())).status == 200


async def test_a_port_can_be_listened_on_again_right_after_its_server_ended() -> None:
    async with open_front() as front, raw_client(front) as client:
        assert (await client.ask(get())).status == 200
        front.stopping.set()
        await front.stopped.wait()
        async with open_front(port=front.port) as again, raw_client(again) as another:
            assert (await another.ask(get())).status == 200
