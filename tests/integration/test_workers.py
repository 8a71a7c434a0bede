"""`shoal serve --workers`: several processes that are one server, from its start to its end."""

import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from server.cli.children import PYTHON_M, ChildEnded, open_child
from server.cli.workers import Supervisor, WorkersFailed
from server.config import load
from support.http import http
from support.leftovers import environment, nothing_left_behind, processes_of
from support.processes import Node, redis_server, running_cluster
from support.waiting import TIMEOUT_S, eventually
from support.websocket import websocket
from support.workers import (
    NO_REDIS,
    clients_at,
    ended,
    in_process,
    numbers,
    publish,
    running_workers,
    said,
    sees,
    workers_of,
)

SERVICE_RESTART = 1012


@pytest.fixture
def tmp(tmp_path: Path) -> Path:
    directory = tmp_path / "tmp"
    directory.mkdir()
    return directory


# -- One server ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"cluster.secret": "known to all workers"}], ids=["open", "locked"])
async def test_clients_of_all_workers_hear_each_other_without_any_redis(settings: dict[str, str]) -> None:
    async with (
        running_workers(3, settings=settings) as server,
        clients_at(server, "a-1", "a-2", "a-3") as spread,
    ):
        for _, client in spread.clients:
            await client.subscribe("harbor", "boats")
        room = (await spread.clients[0][1].subscribe("harbor", "boats"))["roomId"]
        for number, (_, client) in enumerate(spread.clients):
            await publish(client, number)
            counted = await client.result("realtime", "count", body={"roomId": room})
            assert counted["count"] == len(spread.clients)
        for _, client in spread.clients:
            wanted = list(range(len(spread.clients)))
            await eventually(lambda client=client, wanted=wanted: sorted(numbers(client)) == wanted)


async def test_any_worker_answers_for_all() -> None:
    async with redis_server() as redis, running_workers(2, redis=redis.url) as server:
        seen = set()
        while seen != {"a-1", "a-2"}:
            reply = await server.get("/_plugin/cluster/status")
            seen.add(reply.json["node"])
            assert reply.result["count"] == 2
            urls = {node["url"] for node in [reply.result["current"], *reply.result["pool"]]}
            assert urls == {server.url}
            assert (await server.get("/_ready")).status == 200
        assert (await server.post("/_plugin/cluster/reset")).result == "ok"


async def test_one_line_says_that_all_workers_listen() -> None:
    async with running_workers(2, name="") as server:
        assert re.fullmatch(r"[a-z]+-[a-z]+-[0-9a-f]{4}", server.id)
        assert [line for line in server.log if line.startswith("shoal ")] == [
            f"shoal {server.id} listening on {server.url}"
        ]
        assert set(workers_of(server.pid)) == {f"{server.id}-1", f"{server.id}-2"}
        assert any(re.search(rf"mesh bound .*worker={server.id}-2", line) for line in server.log)
        assert any("workers serving" in line for line in server.log)


async def test_workers_talk_over_sockets_that_nobody_else_can_reach(tmp: Path) -> None:
    async with running_workers(2, tmp=tmp) as server:
        (directory,) = tmp.iterdir()
        assert directory.stat().st_mode & 0o077 == 0
        sockets = Path("/proc/net/unix").read_text()
        for number in (1, 2):
            for kind in ("pub", "router"):  # one that listens, and at least one for each who connected
                assert len(re.findall(rf" {directory}/{number}\.{kind}$", sockets, re.MULTILINE)) >= 2
        assert server.id == "a"


async def test_where_the_kernel_does_not_spread_connections_workers_share_one_socket(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("server.adapters.listening.SPREADS", False)
    async with in_process() as server:
        assert (await http(f"{server.url}/_plugin/cluster/status")).result["count"] == 2
    assert server.logged.entries[0]["event"] == "connections may spread unevenly"
    assert server.supervisor.did_end_well()
    assert capsys.readouterr().out == f"shoal a listening on {server.url}\n"


async def test_two_servers_with_workers_are_one_cluster_with_a_node_beside() -> None:
    async with (
        running_cluster(1) as (single,),
        redis_of(single) as redis,
        running_workers(2, name="a", redis=redis) as a,
        running_workers(2, name="b", redis=redis) as b,
        clients_at(a, "a-1", "a-2") as of_a,
        clients_at(b, "b-1", "b-2") as of_b,
        websocket(single.ws_url) as alone,
    ):
        await eventually(lambda: sees(single, 5))
        everybody = [client for _, client in (*of_a.clients, *of_b.clients)] + [alone]
        for client in everybody:
            await client.subscribe("harbor", "boats")
        for number, client in enumerate(everybody):
            await publish(client, number)
        for client in everybody:
            await eventually(lambda client=client: sorted(numbers(client)) == list(range(len(everybody))))


@asynccontextmanager
async def redis_of(node: Node) -> AsyncIterator[str]:
    """Give the URL of the Redis in which a node is."""
    text = Path(f"/proc/{node.pid}/environ").read_text()
    found = re.search(r"\0SHOAL_CLUSTER_REDIS=([^\0]+)", text)
    assert found is not None
    yield found[1]


# -- The server stops ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [signal.SIGTERM, *(pytest.param(end, marks=pytest.mark.slow) for end in (signal.SIGINT, signal.SIGHUP))],
)
async def test_a_signal_stops_all_workers_in_order(tmp: Path, end: signal.Signals) -> None:
    with nothing_left_behind(tmp):
        async with running_workers(2, tmp=tmp) as server, clients_at(server, "a-1", "a-2") as spread:
            os.kill(server.pid, end)
            for _, client in spread.clients:
                assert (await client.ended()).code == SERVICE_RESTART
            assert (await server.ended()).exit_code == 0


async def test_all_processes_may_be_told_at_once_as_systemd_does() -> None:
    """A worker that was told twice would end at once, without a word to its clients."""
    async with running_workers(2) as server, clients_at(server, "a-1", "a-2") as spread:
        for pid in (*workers_of(server.pid).values(), server.pid):
            os.kill(pid, signal.SIGTERM)
        for _, client in spread.clients:
            assert (await client.ended()).code == SERVICE_RESTART
        assert (await server.ended()).exit_code == 0


async def test_a_second_signal_ends_all_at_once(tmp: Path) -> None:
    with nothing_left_behind(tmp):
        async with running_workers(2, tmp=tmp) as server:
            for pid in workers_of(server.pid).values():
                os.kill(pid, signal.SIGSTOP)  # they cannot stop in order
            server.terminate()
            await eventually(lambda: said(server, "workers stopping"))
            server.terminate()
            assert (await server.ended()).exit_code == -signal.SIGTERM


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_nothing_survives_whenever_it_is_ended(tmp: Path, end: signal.Signals) -> None:
    """Also while it starts: it is ended as soon as there is a worker at all."""
    options = ["--workers=2", "--port=0", f"--redis={NO_REDIS}"]
    async with open_child("serve", [*PYTHON_M, "server", "serve", *options], env=environment(tmp)) as child:
        await eventually(lambda: any("--worker " in line for line in processes_of(tmp)))
        os.kill(child.pid, end)
        with trio.fail_after(TIMEOUT_S):
            await child.wait()
        await eventually(lambda: not processes_of(tmp), "all processes have ended")
        assert list(tmp.iterdir()) == []


async def test_nothing_outlives_a_supervisor_that_is_killed(tmp: Path) -> None:
    async with running_workers(2, tmp=tmp) as server:
        server.kill()
        await server.ended()
        await eventually(lambda: not processes_of(tmp), "all workers have ended")
        assert list(tmp.iterdir()) == []


async def test_it_stops_when_whoever_started_it_is_gone(tmp: Path) -> None:
    with nothing_left_behind(tmp):
        async with running_workers(2, tmp=tmp) as server:
            assert server.child.process.stdin is not None
            await server.child.process.stdin.aclose()
            assert (await server.ended()).exit_code == 0


# -- The server does not start ---------------------------------------------------------------------------------------


def complaints(end: ChildEnded) -> list[str]:
    """Return what a person is told."""
    return [line for line in end.tail if not re.match(r"\d{4}-|\{", line)]


async def test_a_taken_port_is_told_once(tmp: Path) -> None:
    with nothing_left_behind(tmp), socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        end = await ended("--workers=2", f"--port={port}", env=environment(tmp))
    assert end.exit_code == 1
    (said,) = complaints(end)
    assert said.startswith(f"shoal: cannot listen on 127.0.0.1:{port}: another program has this port")


async def test_a_machine_that_has_no_process_to_spare_is_told_of() -> None:
    config = load(None, {}, {"server.workers": 2, "server.port": 0})
    supervisor = Supervisor(config, "a", ["/no/such/program"], "/nowhere", None)
    with pytest.raises(WorkersFailed, match=r"the worker cannot be started: .*No such file") as failure:
        await supervisor.run()
    assert failure.value.exit_code == 1


async def test_sockets_need_a_place_that_is_not_too_long(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    end = await ended("--workers=2", "--port=0", env=environment(deep))
    assert end.exit_code == 1
    assert re.fullmatch(
        r"shoal: The path .* is too long for sockets in it. Set TMPDIR .*", complaints(end)[0]
    )
    assert list(deep.iterdir()) == []


async def test_the_port_of_another_server_with_workers_is_taken_too() -> None:
    async with running_workers(2) as server:
        end = await ended("--workers=2", f"--port={server.port}")
    assert end.exit_code == 1
    assert "another program has this port" in complaints(end)[0]


async def test_what_a_worker_cannot_do_is_told_once(tmp: Path) -> None:
    """The second worker's mesh address is taken, and the first one's are not."""
    with nothing_left_behind(tmp), socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        end = await ended(
            *("--workers=2", "--port=0", f"--redis={NO_REDIS}"),
            *(f"--pub=tcp://127.0.0.1:{port - 10}", "--router=tcp://127.0.0.1:*"),
            env=environment(tmp),
        )
    assert end.exit_code == 1
    (said,) = complaints(end)
    assert said.startswith(f"shoal: [cluster] the mesh address tcp://127.0.0.1:{port} cannot be bound")


@pytest.mark.parametrize(
    ("options", "settings", "said"),
    [
        (["--workers=0"], {}, "workers must be from 1 to 64, not 0"),
        (["--workers=65"], {}, "workers must be from 1 to 64, not 65"),
        (["--workers=two"], {}, "'two' is not a valid integer"),
        (["--workers=2"], {"SERVER_PLUGINS": ""}, "no plugin in server.plugins connects them"),
        ([], {"SERVER_WORKERS": "2", "SERVER_PLUGINS": ""}, "(environment SHOAL_SERVER_WORKERS)"),
        (["--workers=2"], {"SERVER_NAME": "x" * 62}, "name must have at most 61 characters"),
        (["--workers=2"], {"SERVER_PLUGINS": "cluster,hermit:Hermit"}, '"hermit" runs in one process only'),
        (["--workers=2"], {"CLUSTER_SEEDS": "http://x"}, "seeds has 'http://x'"),
    ],
)
async def test_what_makes_no_sense_is_refused_before_anything_starts(
    tmp_path: Path, options: Sequence[str], settings: dict[str, str], said: str
) -> None:
    (tmp_path / "hermit.py").write_text(
        "from server.plugin import Plugin\n\nclass Hermit(Plugin):\n    name = 'hermit'\n    runs_alone = True\n"
    )
    env = {f"SHOAL_{name}": value for name, value in settings.items()} | {"PYTHONPATH": str(tmp_path)}
    end = await ended(*options, env=env)
    assert end.exit_code == 2
    assert said in "\n".join(end.tail)
    assert "Traceback" not in "\n".join(end.tail)


async def test_more_workers_than_cores_are_allowed_and_noted() -> None:
    cores = len(os.sched_getaffinity(0))
    async with running_workers(cores + 1) as server:
        assert any("more workers than cores" in line for line in server.log)
        await eventually(lambda: sees(server, cores + 1))
