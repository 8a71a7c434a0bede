"""The secret is changed under load, node by node, as the security page says: nothing is lost, nothing refused, and
nobody is told that something was. Afterwards the former secret opens nothing."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
import trio

from support.chaos_cluster import ChaosCluster, chaos_cluster
from support.chaos_load import AuthorClient
from support.chaos_member import Member
from support.processes import running_node
from support.waiting import eventually

RATE = 200
"""Publishes a second on each node."""

FORMER, PRESENT = "what everybody knew before", "what everybody is going to know"

Say = Callable[[str], None]


@attrs.define
class Publishing:
    """An author for each node, which is done when its node is about to be restarted."""

    cluster: ChaosCluster
    nursery: trio.Nursery
    _running: dict[str, tuple[trio.Event, trio.Event]] = attrs.field(factory=dict)

    async def begin(self, member: Member) -> None:
        (author,) = await self.cluster.attach(member.node)
        stop, stopped = self._running[member.name] = trio.Event(), trio.Event()

        async def publish(author: AuthorClient) -> None:
            await author.publish_at(RATE, stop)
            await author.all_acknowledged()
            stopped.set()

        self.nursery.start_soon(publish, author)

    async def end(self, member: Member) -> None:
        stop, stopped = self._running.pop(member.name)
        stop.set()
        await stopped.wait()


@pytest.mark.slow
async def test_the_secret_is_changed_node_by_node_under_load(say: Say) -> None:
    first = {"cluster.secret": FORMER}
    steps = [{"cluster.secret": PRESENT, "cluster.former_secret": FORMER}, {"cluster.secret": PRESENT}]
    async with chaos_cluster(3, settings=first) as cluster, trio.open_nursery() as nursery:
        publishing = Publishing(cluster, nursery)
        for member in cluster.members:
            await publishing.begin(member)
        for step in steps:
            for member in cluster.members:
                await publishing.end(member)
                await member.stop()
                member.settings.pop("cluster.former_secret", None)
                member.settings |= step
                await member.start()
                took = await cluster.whole()
                say(f"whole {took:.2f} s after {member.name} was started with {', '.join(step)}")
                await publishing.begin(member)
        for member in cluster.members:
            await publishing.end(member)
        await cluster.judge()
        authors = [client.author for client in cluster.load.authors]
        assert sum(author.acknowledged for author in authors) > 1000
        assert not any(author.refused for author in authors)
        assert not any(client.losses for client in cluster.load.subscribers)
        await late_comer_stays_outside(cluster)


async def late_comer_stays_outside(cluster: ChaosCluster) -> None:
    seeds = ",".join(member.settings["cluster.bindings.router"] for member in cluster.members)
    settings = {"cluster.secret": FORMER, "cluster.seeds": seeds}
    async with running_node(redis=cluster.redis.url, name="late", settings=settings) as late:
        await eventually(
            lambda: sum("refused by peer" in line for line in late.log) == 3, "it is told by each"
        )
        seen = (await late.get("/_plugin/cluster/status")).result
        assert (seen["current"]["ready"], seen["current"]["state"], seen["count"]) == (False, "joining", 1)
        assert "the secret" in seen["current"]["reasons"][0]
        assert {refusal["router"] for refusal in seen["refused_by"]} == set(seeds.split(","))
        assert all("the secret" in refusal["reason"] for refusal in seen["refused_by"])
        for status in (await cluster.statuses()).values():
            assert status["count"] == 3
            assert status["current"]["strangers"] > 0
            assert status["current"]["bad_cards"] > 0
