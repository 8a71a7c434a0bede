"""A cluster of real nodes to which things are done, and the judgement whether it is whole again.

async with chaos_cluster(3) as cluster:
    a, b, c = cluster.members
    reader = await cluster.load.subscriber(c.node)
    ...
    await b.kill()
    await b.start()
    await cluster.judge()
"""

from __future__ import annotations

import random
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio

from server.cli.nursery import open_inner_nursery
from support.chaos_load import INDEX, AuthorClient, Load
from support.chaos_member import Member
from support.chaos_transport import Chaos
from support.chaos_views import check_balance, check_clients, check_hand_over, check_views
from support.processes import Node, RedisServer, redis_server
from support.waiting import eventually

WHOLE_S: Final = 20.0
"""For a cluster to be whole, where nothing is promised: a start, a short test on a machine that does other things."""

PROMISED_S: Final = 1.0
"""Two heartbeats after the end of a fault all nodes agree on everything."""

MACHINE_S: Final = 0.5
"""What the long tests add to a promise: three nodes, a Redis and all their clients share a core or two, so a heart
beats late by what another one does at the time, such as starting. The most that was seen in all was 0.83 s."""

PORTS: Final = range(15_000, 30_000)
"""Linux gives 32,768 and above to whoever asks for any."""

COMPLETE_S: Final = 30.0
"""For what was published to have arrived everywhere."""

AGREE_S: Final = 3.0
"""For clients to have read what their nodes have counted: they have seen everything by then."""


@attrs.define(eq=False)
class ChaosCluster:
    """Nodes, their Redis, and clients."""

    members: list[Member]
    _redis: RedisServer | None
    load: Load
    _switch: Path = Path("/nonexistent")
    _newcomer: Callable[[str], Member] | None = None
    impaired: set[Node] = attrs.field(factory=set)
    """Nodes that the test made deaf or mute, which may send their clients away."""

    @property
    def redis(self) -> RedisServer:
        """The Redis that was started for it."""
        assert self._redis is not None, "it was given the URL of one"
        return self._redis

    def mend_line(self) -> None:
        """The line between the nodes is good from now on."""
        self._switch.unlink(missing_ok=True)

    @property
    def nodes(self) -> list[Node]:
        """Those that run."""
        return [member.node for member in self.members if member.is_running]

    def newcomer(self, name: str) -> Member:
        """One that was never in the pool, and is not a member yet: not started, its settings may be changed."""
        assert self._newcomer is not None, "the nodes of this cluster are not on loopback"
        return self._newcomer(name)

    async def reports(self) -> dict[str, Any]:
        """What each running node says of the cluster at this moment, by its name; None of one that is not in it."""
        found: dict[str, Any] = {}

        async def ask(node: Node) -> None:
            reply = await node.get("/_plugin/cluster/status")
            found[node.id] = reply.result if reply.status == 200 else None

        async with trio.open_nursery() as asking:
            for node in self.nodes:
                asking.start_soon(ask, node)
        return found

    async def statuses(self) -> dict[str, Any]:
        """The same; None of a node that says that it is not ready."""
        return {
            name: report if report is not None and report["current"]["ready"] else None
            for name, report in (await self.reports()).items()
        }

    async def whole(self, timeout_s: float = WHOLE_S) -> float:
        """Wait until all running nodes agree on everything; return how long that took, seconds."""
        began = trio.current_time()
        await eventually(self._is_whole, "the cluster is whole", timeout_s)
        return trio.current_time() - began

    async def healed(self, promised_s: float = PROMISED_S) -> float:
        """As `whole`, to be called at the end of a fault: fails when it takes longer than promised."""
        return await self.whole(promised_s + MACHINE_S)

    async def balanced(self, unconfirmed: Collection[tuple[str, str]] = ()) -> None:
        """Wait until the books of all nodes balance, those included that are not ready; `unconfirmed` as in
        `check_balance`. Nobody may publish meanwhile."""

        async def are_balanced() -> bool:
            check_balance(await self.reports(), unconfirmed)
            return True

        await eventually(are_balanced, "the books balance")

    async def down(self, member: Member, timeout_s: float = WHOLE_S) -> None:
        """Wait until all other running nodes hold it for dead."""

        async def is_down() -> bool:
            for node in self.nodes:
                if node is not member.node:
                    status = (await node.get("/_plugin/cluster/status")).result
                    states = {peer["id"]: peer["state"] for peer in status["unreachable"]}
                    assert states.get(member.name) == "down", f"{node.id}: {states}"
            return True

        await eventually(is_down, f"{member.name} is down", timeout_s)

    async def complete(self, timeout_s: float = COMPLETE_S) -> None:
        """Wait until everything that was published was answered, and has arrived or was announced as lost."""
        self._check_attached()
        self._tell_ends()
        record = self.load.record

        def nothing_is_missing() -> bool:
            reason = record.waits_for()
            assert reason is None, reason
            return True

        try:
            await eventually(nothing_is_missing, "everything has arrived", timeout_s)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *record.violations()])) from error

    async def judge(self, timeout_s: float = COMPLETE_S) -> None:
        """All that has to hold after any fault: nobody has exited, all agree, everything arrived exactly once and in
        order or was announced, the books balance, the nodes did for their clients what those saw, and who was attached
        to a node that the test did nothing to still is."""
        await self.complete(timeout_s)
        self.mend_line()
        await self.whole()
        await self.balanced()
        await eventually(self._agrees_with_clients, "nodes and clients say the same", AGREE_S)
        self._check_attached()
        violations = self.load.record.violations()
        assert not violations, "\n".join(violations)

    async def attach(self, *nodes: Node, topic: str = "boats") -> list[AuthorClient]:
        """Attach a subscriber and an author to each node; return the authors."""
        authors = []
        for node in nodes:
            await self.load.subscriber(node, topic)
            authors.append(await self.load.author(node, topic))
        return authors

    async def each_says_that_redis_is(self, *, reachable: bool, why: str = "") -> None:
        """Wait until every node says so, with that in the reason, and stays ready meanwhile."""

        async def says_so() -> bool:
            for name, status in (await self.statuses()).items():
                if status is None:
                    pytest.fail(f"{name} is not ready because of Redis")
                pool = status["current"]["pool"]
                assert pool["reachable"] is reachable, f"{name}: {pool}"
                assert (pool["unreachable_since"] is None) is reachable, f"{name}: {pool}"
                assert why in pool.get("error", ""), f"{name}: {pool}"
            return True

        await eventually(says_so)

    @asynccontextmanager
    async def publishing(self, authors: Iterable[AuthorClient], rate: float) -> AsyncIterator[None]:
        """Each of them publishes `rate` messages a second, for as long as the context lasts or its connection does."""
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            for author in authors:
                nursery.start_soon(author.publish_at, rate, stop)
            yield
            stop.set()

    async def _is_whole(self) -> bool:
        for node in self.nodes:
            assert node.child.exit_code is None, f"{node.id} has exited with {node.child.exit_code}"
        check_views(await self.statuses())
        await self._check_counts()
        return True

    async def _check_counts(self) -> None:
        expected: dict[str, dict[str, int]] = {}
        for client in self.load.subscribers:
            if client.subscriber.is_attached:
                rooms = expected.setdefault(client.subscriber.topic, {})
                rooms[client.room_id] = rooms.get(client.room_id, 0) + 1
        for node in self.nodes:
            counted = (await node.get("/_listSubscriptions")).result
            assert counted == ({INDEX: expected} if expected else {}), (
                f"{node.id} counts {counted}, not {expected}"
            )

    async def _agrees_with_clients(self) -> bool:
        is_first_life = not any(member.ends for member in self.members)
        statuses = await self.statuses()
        for node in self.nodes:
            status = statuses[node.id]
            assert status is not None, f"{node.id} is not ready"
            if is_first_life:
                check_hand_over(node.id, status)
            if node not in self.impaired:
                check_clients(node.id, status, self.load.told(node))
        return True

    def _check_attached(self) -> None:
        """Nobody's connection ended but with its node, and then as it should. (A client of the tests never connects
        again: who is attached, was so all the time.)"""
        ends = {node: end for member in self.members for node, end in member.ends.items()}
        for client in self.load.clients():
            if client.closed is None:
                continue
            end = ends.get(client.node)
            where = f"a client of {client.node.id}: {client.closed}"
            assert end is not None or client.node in self.impaired, where
            was_told, is_asked_to_move = "closed with" in client.closed, "closed with 1012" in client.closed
            assert not (was_told and end is not None and end.is_killed), (
                f"before the node was killed, {where}"
            )
            assert is_asked_to_move or not was_told, f"it was not asked to connect to another node, {where}"

    def _tell_ends(self) -> None:
        """Let the record know when the nodes of authors ended: it judges what their last words were."""
        ends = {node: end for member in self.members for node, end in member.ends.items()}
        for client in self.load.authors:
            if (end := ends.get(client.node)) is not None:
                client.author.node_ended_at = end.at


@asynccontextmanager
async def chaos_cluster(
    size: int = 3,
    *,
    settings: Mapping[str, Any] | None = None,
    chaos: Chaos | None = None,
    redis_url: str | None = None,
    envs: Sequence[Mapping[str, str]] = (),
) -> AsyncIterator[ChaosCluster]:
    """Run `size` nodes on ports that they keep, with a Redis of their own or that at `redis_url`; give them when they
    are whole.

    With `chaos` the line between them is as bad as that, from then on and until the judgement. `envs` are added to the
    environments of the first, the second, …"""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server()) if redis_url is None else None
        url = redis_url if redis is None else redis.url
        assert url is not None
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="shoal-test-"))
        nursery = await stack.enter_async_context(open_inner_nursery())
        ports = free_ports()
        switch = Path(directory) / "the-line-is-bad"
        common = dict(settings or {})
        if chaos is not None:
            common |= attrs.evolve(chaos, only_with=str(switch)).settings()

        def newcomer(name: str) -> Member:
            own = {
                "server.port": next(ports),
                "cluster.bindings.pub": f"tcp://127.0.0.1:{next(ports)}",
                "cluster.bindings.router": f"tcp://127.0.0.1:{next(ports)}",
            }
            return Member(name, own | common, url, nursery)

        members = [newcomer(f"node-{number + 1}") for number in range(size)]
        for member, env in zip(members, envs, strict=False):
            member.env = env
        async with running(ChaosCluster(members, redis, Load(nursery), switch, newcomer)) as cluster:
            switch.touch()
            yield cluster


@asynccontextmanager
async def running(cluster: ChaosCluster) -> AsyncIterator[ChaosCluster]:
    """Start all members at once, and stop them in the end."""
    async with trio.open_nursery() as starting:
        for member in cluster.members:
            starting.start_soon(member.start)
    await cluster.whole()
    yield cluster
    async with trio.open_nursery() as stopping:
        for member in cluster.members:
            if member.is_running:
                stopping.start_soon(member.stop)


def free_ports() -> Iterator[int]:
    """Ports that are free now, each once, from below those that the system gives to whoever asks for any: a node that
    is started again wants the same."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port
