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
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio

from server.cli.nursery import open_inner_nursery
from support.chaos_load import INDEX, AuthorClient, Load, SubscriberClient
from support.chaos_socket import OpenStream
from support.chaos_transport import Chaos
from support.processes import Node, RedisServer, redis_server, running_node
from support.waiting import eventually

WHOLE_S: Final = 20.0
"""For a cluster to be whole again after a fault. The promise is two heartbeats; what it took is returned and printed.
This bound is for machines that do other things as well."""

PORTS: Final = range(15_000, 30_000)
"""Linux gives 32,768 and above to whoever asks for any."""

COMPLETE_S: Final = 30.0
"""For what was published to have arrived everywhere."""


@attrs.define(eq=False)
class Member:
    """A node that can be ended and started again: same name, same ports."""

    name: str
    settings: dict[str, Any]
    _redis: str
    _nursery: trio.Nursery
    _prefix: Sequence[str] = ()
    _open_stream: OpenStream = trio.open_tcp_stream
    env: Mapping[str, str] = attrs.field(factory=dict)
    """Added to the environment in which it is started: by it a node can be one of another release."""
    _running: Node | None = None
    _end: trio.Event = attrs.field(factory=trio.Event)
    _ended: trio.Event = attrs.field(factory=trio.Event)

    @property
    def node(self) -> Node:
        """The running node."""
        assert self._running is not None, f"{self.name} does not run"
        return self._running

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended since, by the test."""
        return self._running is not None

    async def start(self) -> Node:
        """Start it; return when it listens."""
        assert self._running is None, f"{self.name} runs"
        self._end, self._ended = trio.Event(), trio.Event()
        node: Node = await self._nursery.start(self._run)
        self._running = node
        return node

    async def kill(self) -> None:
        """End it without a goodbye (SIGKILL); return when it is gone."""
        self.node.kill()
        await self.stop()

    async def stop(self) -> None:
        """Let it stop in order (SIGTERM); return when it is gone."""
        self._running = None
        self._end.set()
        await self._ended.wait()

    async def _run(self, *, task_status: trio.TaskStatus[Node]) -> None:
        try:
            async with running_node(
                redis=self._redis,
                name=self.name,
                settings=self.settings,
                prefix=self._prefix,
                open_stream=self._open_stream,
                env=self.env,
            ) as node:
                task_status.started(node)
                await self._end.wait()
        finally:
            self._ended.set()


@attrs.define(eq=False)
class ChaosCluster:
    """Nodes, their Redis, and clients."""

    members: list[Member]
    _redis: RedisServer | None
    load: Load
    _switch: Path = Path("/nonexistent")

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

    async def statuses(self) -> dict[str, Any]:
        """What each running node says of the cluster, by its name; None when it says that it is not ready."""
        found = {}
        for node in self.nodes:
            reply = await node.get("/_plugin/cluster/status")
            is_ready = reply.status == 200 and reply.result["current"]["ready"]
            found[node.id] = reply.result if is_ready else None
        return found

    async def whole(self, timeout_s: float = WHOLE_S) -> float:
        """Wait until all running nodes agree on everything; return how long that took, seconds."""
        began = trio.current_time()
        await eventually(self._is_whole, "the cluster is whole", timeout_s)
        return trio.current_time() - began

    async def complete(self, timeout_s: float = COMPLETE_S) -> None:
        """Wait until everything that was published was answered, and has arrived or was announced as lost."""
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
        order or was announced, and the books balance."""
        await self.complete(timeout_s)
        self.mend_line()
        await self.whole()
        await eventually(self._is_balanced, "the books balance")
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

    def assert_attached(self) -> None:
        """All clients that were ever made are still attached."""
        clients: list[AuthorClient | SubscriberClient] = [*self.load.authors, *self.load.subscribers]
        for client in clients:
            assert client.closed is None, f"a client of {client.node.id} was closed: {client.closed}"

    async def _is_whole(self) -> bool:
        for node in self.nodes:
            assert node.child.exit_code is None, f"{node.id} has exited with {node.child.exit_code}"
        statuses = await self.statuses()
        rooms = {}
        for name, status in statuses.items():
            assert status is not None, f"{name} is not ready"
            rooms[name] = status["current"]["rooms"]
        for name, status in statuses.items():
            others = {peer["id"]: peer for peer in status["pool"]}
            assert status["count"] == len(statuses), f"{name} counts {status['count']}"
            assert others.keys() == statuses.keys() - {name}, f"{name} sees {sorted(others)}"
            unreachable = {peer["id"] for peer in status["unreachable"]}
            assert not unreachable & statuses.keys(), f"{name} does not reach {unreachable}"
            for peer in others.values():
                self._check_link(name, peer, statuses[peer["id"]], rooms[peer["id"]])
        await self._check_counts()
        return True

    def _check_link(self, name: str, peer: Mapping[str, Any], own: Mapping[str, Any], rooms: int) -> None:
        where = f"{name} of {peer['id']}"
        link = peer["link"]
        assert peer["ready"], f"{where}: not ready"
        assert peer["state"] == "live", f"{where}: {peer['state']}"
        assert link["knows_us"], f"{where}: it does not know us"
        assert peer["epoch"] == own["current"]["epoch"], f"{where}: {peer['epoch']}"
        assert peer["rooms"] == rooms, f"{where}: {peer['rooms']} rooms, and it has {rooms}"
        assert link["slice"]["applied"] == link["slice"]["tail"], f"{where}: {link['slice']}"

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

    async def _is_balanced(self) -> bool:
        statuses = await self.statuses()
        for name, status in statuses.items():
            for peer in status["pool"]:
                sent = peer["link"]["sent"]
                back = next(entry for entry in statuses[peer["id"]]["pool"] if entry["id"] == name)
                received = back["link"]["received"]
                where = f"{name} to {peer['id']}: {sent} and {received}"
                accounted = sent["delivered"] + sent["repaired"] + sent["lost"] + sent["in_flight"]
                assert sent["notifications"] == accounted, where
                assert sent["in_flight"] == 0, where
                assert received["held"] == 0, where
                for key in ("notifications", "delivered", "repaired", "lost"):
                    assert sent[key] == received[key], f"{key}: {where}"
        return True


@asynccontextmanager
async def chaos_cluster(
    size: int = 3,
    *,
    settings: Mapping[str, Any] | None = None,
    chaos: Chaos | None = None,
    seeds: bool = False,
    redis_url: str | None = None,
    envs: Sequence[Mapping[str, str]] = (),
) -> AsyncIterator[ChaosCluster]:
    """Run `size` nodes on ports that they keep, with a Redis of their own or that at `redis_url`; give them when they
    are whole.

    With `chaos` the line between them is as bad as that, from then on and until the judgement. With `seeds` each knows
    where the others answer. `envs` are added to the environments of the first, the second, …"""
    ports = free_ports(3 * size)
    routers = [f"tcp://127.0.0.1:{port}" for port in ports[:size]]
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server()) if redis_url is None else None
        url = redis_url if redis is None else redis.url
        assert url is not None
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="shoal-test-"))
        nursery = await stack.enter_async_context(open_inner_nursery())
        members = []
        switch = Path(directory) / "the-line-is-bad"
        common = dict(settings or {})
        if chaos is not None:
            common |= attrs.evolve(chaos, only_with=str(switch)).settings()
        for number, router in enumerate(routers):
            own = {
                "server.port": ports[size + number],
                "cluster.bindings.pub": f"tcp://127.0.0.1:{ports[2 * size + number]}",
                "cluster.bindings.router": router,
            }
            if seeds:
                own["cluster.seeds"] = [other for other in routers if other != router]
            env = envs[number] if number < len(envs) else {}
            members.append(Member(f"node-{number + 1}", own | common, url, nursery, env=env))
        async with running(ChaosCluster(members, redis, Load(nursery), switch)) as cluster:
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


def free_ports(count: int) -> list[int]:
    """Ports that are free now, from below those that the system gives to whoever asks for any: a node that is started
    again wants the same."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            break
    return found
