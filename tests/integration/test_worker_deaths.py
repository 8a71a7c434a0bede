"""A worker dies, hangs or is told to stop: it comes back, and the others notice nothing."""

import os
import signal
from pathlib import Path

import pytest
import trio

from support.http import http
from support.leftovers import environment
from support.waiting import TIMEOUT_S, eventually
from support.workers import (
    NO_REDIS,
    Load,
    clients_at,
    ended,
    in_process,
    numbers,
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


async def test_a_killed_worker_comes_back_and_the_others_notice_nothing() -> None:
    async with (
        running_workers(2) as server,
        trio.open_nursery() as nursery,
        clients_at(server, "a-1", "a-2") as spread,
    ):
        author, reader, victim = spread.at("a-1")[0], spread.at("a-1")[-1], spread.at("a-2")[0]
        for client in (reader, victim):
            await client.subscribe("harbor", "boats")
        load = Load(author)
        nursery.start_soon(load.run)
        await eventually(lambda: len(numbers(victim)) > 50)
        before = workers_of(server.pid)
        os.kill(before["a-2"], signal.SIGKILL)
        await eventually(lambda: victim.closed is not None)
        worker, again = await spread.attach()  # its clients connect again, and some of them to it
        while worker != "a-2":
            worker, again = await spread.attach()
        await again.subscribe("harbor", "boats")
        under_way = load.last + 1
        await eventually(lambda: load.last > under_way + 50)
        load.stop.set()
        await load.stopped.wait()
        for client in (reader, again):
            await eventually(lambda client=client: numbers(client)[-1:] == [load.last])
        assert numbers(reader) == list(range(1, load.last + 1)), "each once, in order"
        first = numbers(again)[0]
        assert numbers(again) == list(range(first, load.last + 1))
        assert first <= under_way + 1, "subscribed means subscribed"
        after = workers_of(server.pid)
        assert after["a-1"] == before["a-1"]
        assert after["a-2"] != before["a-2"]
        await eventually(lambda: sees(server, 2))
        assert any("worker ended" in line and "SIGKILL" in line for line in server.log)
        assert any("worker serving again" in line for line in server.log)


async def test_who_connects_while_a_worker_is_away_is_served_all_the_same() -> None:
    async with running_workers(2) as server:
        os.kill(workers_of(server.pid)["a-2"], signal.SIGKILL)
        for _ in range(30):  # about half of them are given to it
            assert (await server.get("/_healthcheck")).status == 200


async def test_a_worker_that_is_told_to_stop_does_so_in_order_and_comes_back() -> None:
    async with running_workers(2) as server, clients_at(server, "a-1", "a-2") as spread:
        os.kill(workers_of(server.pid)["a-2"], signal.SIGTERM)
        assert (await spread.at("a-2")[0].ended()).code == SERVICE_RESTART
        await eventually(lambda: any("worker serving again" in line for line in server.log))
        assert (await spread.at("a-1")[0].result("server", "now"))["now"]
        assert any("worker ended" in line and "exit code 0" in line for line in server.log)


DOOMED = """
import os, trio
from server.plugin import Plugin

class Doomed(Plugin):
    name = "doomed"

    async def run(self, *, task_status):
        task_status.started()
        print("a plugin speaks", flush=True)
        with trio.move_on_after(float(os.environ["LIVES_S"])):
            await trio.sleep_forever()
        raise RuntimeError("the reef is gone")
"""


@pytest.mark.slow
async def test_when_no_worker_can_be_kept_running_the_server_ends_and_says_why(tmp: Path) -> None:
    (tmp.parent / "doomed.py").write_text(DOOMED)
    end = await ended(
        *(
            "--workers=2",
            "--port=0",
            f"--redis={NO_REDIS}",
            "--pub=tcp://127.0.0.1:*",
            "--router=tcp://127.0.0.1:*",
        ),
        env=environment(tmp)
        | {
            "PYTHONPATH": str(tmp.parent),
            "LIVES_S": "0.5",
            "SHOAL_SERVER_PLUGINS": "cluster,doomed:Doomed",
            "SHOAL_LIMITS_STOP_S": "1",
        },
        timeout_s=5 * TIMEOUT_S,
    )
    assert end.exit_code == 1
    message = 'shoal: the plugin "doomed" failed: RuntimeError: the reef is gone'
    assert [line for line in end.tail if line.startswith("shoal: ")] == [
        f"{message} (SHOAL_LOG_LEVEL=debug shows where.)"
    ]
    assert "a plugin speaks" in end.tail


@pytest.mark.slow
async def test_a_worker_that_keeps_ending_is_not_waited_for(tmp: Path) -> None:
    async with running_workers(2) as server:
        for times in (1, 2):
            await eventually(lambda: len(workers_of(server.pid)) == 2)
            await eventually(lambda times=times: said(server, "worker serving again") == times - 1)
            os.kill(workers_of(server.pid)["a-2"], signal.SIGKILL)
            await eventually(lambda times=times: said(server, "worker ended") == times)
        assert any("again_in_s=1.0" in line for line in server.log)
        answered_by = [(await server.get("/_now")).json["node"] for _ in range(20)]
        if said(server, "worker serving again") == 1:  # a very slow machine is back before that
            assert set(answered_by) == {"a-1"}
        await eventually(lambda: said(server, "worker serving again") == 2)
        async with clients_at(server, "a-1", "a-2"):
            pass


@pytest.mark.slow
async def test_a_worker_that_hangs_is_given_nobody_until_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.cli.workers.SILENT_S", 4.0)
    async with in_process() as server:
        (pid,) = [pid for name, pid in workers_of(os.getpid()).items() if name == "a-2"]
        os.kill(pid, signal.SIGSTOP)
        try:
            await server.logs("worker hangs", worker="a-2")
            for _ in range(20):
                assert (await http(f"{server.url}/_now")).json["node"] == "a-1"
        finally:
            os.kill(pid, signal.SIGCONT)
        await server.logs("worker goes on", worker="a-2")
        seen = set()
        while seen != {"a-1", "a-2"}:
            seen.add((await http(f"{server.url}/_now")).json["node"])
        # Never all of them: somebody has to answer, late as it may be.
        pids = workers_of(os.getpid()).values()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        await eventually(
            lambda: sum(entry["event"] == "worker hangs" for entry in server.logged.entries) == 2
        )
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert (await http(f"{server.url}/_now")).status == 200
