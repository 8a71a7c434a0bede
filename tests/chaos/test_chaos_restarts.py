"""What operators do on purpose, under load: restart one node after the other, reset the cluster. Nothing is lost, and
nobody is told that something was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from support.chaos_cluster import MACHINE_S, PROMISED_S, WHOLE_S, chaos_cluster
from support.chaos_transport import Chaos

RATE = 200
"""Publishes a second on each node."""

Say = Callable[[str], None]


async def test_nodes_restarted_one_after_the_other_take_nothing_with_them(say: Say) -> None:
    await restart_all(1, None, WHOLE_S, say)


@pytest.mark.slow
async def test_nor_do_they_over_a_bad_line(say: Say) -> None:
    """Of what a node said last, and of its goodbye, one frame of a hundred is lost."""
    await restart_all(1, Chaos(drop_per_mille=10), WHOLE_S, say)


@pytest.mark.slow
async def test_nor_do_they_over_a_bad_line_in_ten_rounds(say: Say) -> None:
    await restart_all(10, Chaos(drop_per_mille=10), PROMISED_S + MACHINE_S, say)


async def restart_all(rounds: int, chaos: Chaos | None, whole_s: float, say: Say) -> None:
    """Stop each node in order and start it again, under load: everything arrives, and nobody is told of a loss."""
    async with chaos_cluster(3, chaos=chaos) as cluster, trio.open_nursery() as nursery:
        stop = trio.Event()
        for author in await cluster.attach(*cluster.nodes):
            nursery.start_soon(author.publish_at, RATE, stop)
        for member in rounds * cluster.members:
            began = trio.current_time()
            await member.stop()
            stopped = trio.current_time() - began
            await member.start()
            took = await cluster.whole(whole_s)
            say(f"{member.name} stopped in {stopped:.2f} s; whole {took:.2f} s after it was started again")
            for author in await cluster.attach(member.node):
                nursery.start_soon(author.publish_at, RATE, stop)
        stop.set()
        await cluster.judge()
        assert not any(client.losses for client in cluster.load.subscribers)


@pytest.mark.slow
async def test_resets_cost_nothing(say: Say) -> None:
    async with chaos_cluster(3) as cluster:
        authors = await cluster.attach(*cluster.nodes)
        async with cluster.publishing(authors, RATE):
            for number in range(30):
                node = cluster.nodes[number % 3]
                began = trio.current_time()
                assert (await node.post("/_plugin/cluster/reset")).result == "ok"
                say(f"reset {number + 1} took {trio.current_time() - began:.2f} s")
                await cluster.healed()
        await cluster.judge()
        assert not any(client.losses for client in cluster.load.subscribers)
