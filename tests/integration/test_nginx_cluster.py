"""The shipped nginx.conf in front of three real nodes. One dies: its clients come back elsewhere, nobody else notices.

The clients here do what any good client does: cut off, they connect again to the same address, and subscribe again.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio
from trio_websocket import CloseReason

from support.http import Reply, http
from support.nginx import Nginx, open_nginx
from support.processes import redis_server, running_cluster, running_node
from support.waiting import eventually
from support.websocket import Client, websocket

CLIENTS = 9
"""Three for each node."""

ATTACHED_S = 120.0
"""How long a client waits for the end of its connection: longer than any test here takes."""


@attrs.define(eq=False)
class Subscriber:
    """A client that attaches again when it is cut off."""

    connections: list[Client] = attrs.field(factory=list)
    homes: list[str] = attrs.field(factory=list)
    """The node behind each connection."""
    ends: list[CloseReason] = attrs.field(factory=list)

    async def run(self, url: str) -> None:
        """Stay subscribed until cancelled."""
        while True:
            async with websocket(url) as client:
                home = (await client.request("server", "now"))["node"]
                await client.subscribe("ticker", "prices", {"exists": "number"})
                self.homes.append(home)
                self.connections.append(client)
                self.ends.append(await client.ended(ATTACHED_S))

    @property
    def is_subscribed(self) -> bool:
        return len(self.connections) == len(self.ends) + 1

    @property
    def numbers(self) -> list[int]:
        """What it was told of, over all its connections."""
        frames = [frame for client in self.connections for frame in client.received]
        return [frame["result"]["_source"]["number"] for frame in frames]


@asynccontextmanager
async def subscribers(nginx: Nginx) -> AsyncIterator[list[Subscriber]]:
    """Attach CLIENTS of them, one after the other, so that the balance is exact."""
    clients: list[Subscriber] = []
    async with trio.open_nursery() as nursery:
        for _ in range(CLIENTS):
            client = Subscriber()
            nursery.start_soon(client.run, nginx.ws_url)
            await eventually(lambda client=client: client.is_subscribed, "a client is subscribed")
            clients.append(client)
        yield clients
        nursery.cancel_scope.cancel()


async def publish(nginx: Nginx, number: int) -> Reply:
    return await http(f"{nginx.url}/ticker/prices/_publish", "POST", {"number": number})


async def test_http_and_websocket_through_nginx_reach_all_nodes(tmp_path: Path) -> None:
    async with running_cluster(3) as nodes, open_nginx(tmp_path, "spread", nodes) as nginx:
        ids = {node.id for node in nodes}
        async with subscribers(nginx) as clients:
            assert Counter(client.homes[0] for client in clients) == dict.fromkeys(ids, 3)
            origins = set()
            for number in range(30):
                reply = await publish(nginx, number)
                assert (reply.status, reply.result) == (200, {"published": True})
                origins.add(reply.json["node"])
            assert origins == ids, "every node took some of the publishes"
            for client in clients:
                await eventually(lambda client=client: len(client.numbers) >= 30, "all 30 arrive")
                # Three origins have no common order, but each number comes once.
                assert sorted(client.numbers) == list(range(30))
            status = (await http(f"{nginx.url}/_plugin/cluster/status")).result
            assert status["count"] == 3


async def test_a_node_is_killed_and_everything_goes_on(tmp_path: Path) -> None:
    async with (
        running_cluster(3) as nodes,
        open_nginx(tmp_path, "spread", nodes) as nginx,
        subscribers(nginx) as clients,
    ):
        victim = nodes[1]
        cut_off = [client for client in clients if client.homes[0] == victim.id]
        others = [client for client in clients if client.homes[0] != victim.id]
        assert len(cut_off) == 3

        published: dict[int, Reply] = {}
        for number in range(60):
            if number == 20:
                victim.kill()
            published[number] = await publish(nginx, number)
            assert (await http(f"{nginx.url}/_now")).status == 200, "what may be repeated never fails"

        async def all_are_back() -> bool:
            return all(client.is_subscribed and len(client.ends) == 1 for client in cut_off)

        await eventually(all_are_back, "the clients of the dead node are subscribed again")
        assert all(client.homes[1] != victim.id for client in cut_off)
        assert {reply.status for reply in published.values()} <= {200, 502}
        assert Counter(reply.status for reply in published.values())[502] <= 1, "the one in flight, at most"

        # What the dead node took and had not sent on is lost with it; what the others took is not.
        kept = [
            n for n, reply in published.items() if reply.status == 200 and reply.json["node"] != victim.id
        ]
        for client in others:
            await eventually(
                lambda client=client: set(kept) <= set(client.numbers), "all that live nodes took"
            )
            assert len(set(client.numbers)) == len(client.numbers), "nothing twice"
            assert client.ends == []

        for number in range(100, 110):
            assert (await publish(nginx, number)).status == 200
        for client in clients:
            await eventually(lambda client=client: set(range(100, 110)) <= set(client.numbers))

        for node in nodes:
            if node is not victim:
                await node.ready(2)


async def test_a_node_that_leaves_hands_its_clients_over_and_gets_new_ones_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with (
        redis_server() as redis,
        running_cluster(3, redis=redis.url) as nodes,
        open_nginx(tmp_path, "spread", nodes) as nginx,
        subscribers(nginx) as clients,
    ):
        leaving = nodes[2]
        moved = [client for client in clients if client.homes[0] == leaving.id]
        leaving.terminate()
        assert (await leaving.ended()).exit_code == 0
        for client in moved:
            await eventually(lambda client=client: client.is_subscribed and len(client.ends) == 1)
            assert client.ends[0].code == 1012, "service restart, through the proxy"
            assert client.homes[1] != leaving.id
        assert all(client.ends == [] for client in clients if client not in moved)

        settings = {"server.port": leaving.port}
        async with running_node(redis=redis.url, ready=3, settings=settings) as back:

            async def gets_clients() -> bool:
                async with websocket(nginx.ws_url) as client:
                    return bool((await client.request("server", "now"))["node"] == back.id)

            await eventually(gets_clients, "the node that is back gets new clients")
