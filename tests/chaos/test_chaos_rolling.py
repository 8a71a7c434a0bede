"""All nodes behind nginx are restarted, one after the other, while clients publish and listen through it.

No publish is refused, nothing is lost, and whoever stays attached is told of everything. Only clients of the node that
is being restarted are closed; they know it, and would fetch again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from server.cli.nursery import open_inner_nursery
from support.chaos_cluster import ChaosCluster, chaos_cluster
from support.chaos_member import Member
from support.chaos_socket import LeanSocket, client_frame, open_lean_socket
from support.http import http
from support.nginx import Nginx, open_nginx
from support.waiting import eventually

CLIENTS: Final = 300
RATE: Final = 20.0
"""Publishes a second: 6,000 deliveries."""

LATE_S: Final = 2.0
"""What was published so long before a client was closed has arrived there: a heartbeat, a repair, a busy machine."""

STOPPED_S: Final = 25.0
"""The limit for a node to stop: `limits.drain_s` and twice `limits.stop_s`."""

BACK_S: Final = 60.0
"""For all clients to be subscribed again."""

LOSS: Final = "shoal:notification:loss"

Say = Callable[[str], None]


@attrs.frozen
class Publish:
    """One message: when it was sent, when its answer came, and from which node; None of what was refused."""

    sent_at: float
    answered_at: float
    node: str | None


@attrs.frozen
class Restart:
    """When a node was told to stop, and when it was of use again."""

    node: str
    began: float
    ended: float


@attrs.define(eq=False)
class Session:
    """One connection of a client, from the reply to its subscribe on."""

    node: str
    room_id: str
    subscribed_at: float
    received: list[int] = attrs.field(factory=list)
    losses: int = 0
    closed_at: float | None = None
    why_closed: str = ""


@attrs.define(eq=False)
class Listener:
    """A client that stays subscribed: cut off, it connects again."""

    url: str
    sessions: list[Session] = attrs.field(factory=list)
    failures: int = 0
    """Attempts to connect that came to nothing."""

    @property
    def is_subscribed(self) -> bool:
        return bool(self.sessions) and self.sessions[-1].closed_at is None

    async def run(self) -> None:
        """Stay subscribed until cancelled."""
        while True:
            try:
                socket = await open_lean_socket(self.url)
            except (OSError, AssertionError, trio.TooSlowError):
                self.failures += 1
                await trio.sleep(0.1)  # as an SDK does, if more patiently
                continue
            try:
                await self._listen(socket)
            finally:
                await socket.aclose()

    async def _listen(self, socket: LeanSocket) -> None:
        await socket.send(client_frame(json.dumps(SUBSCRIBE).encode()))
        session = None
        while texts := await socket.receive():
            for text in texts:
                frame = json.loads(text)
                if frame["room"] == LOSS:
                    assert session is not None
                    session.losses += 1
                elif session is None:
                    assert (frame["room"], frame["status"]) == ("subscribe", 200), frame
                    session = Session(frame["node"], frame["result"]["roomId"], trio.current_time())
                    self.sessions.append(session)
                else:
                    session.received.append(frame["result"]["_source"]["number"])
        if session is not None:
            session.closed_at, session.why_closed = trio.current_time(), str(socket.closed)


SUBSCRIBE: Final = {
    "controller": "realtime",
    "action": "subscribe",
    "index": "ticker",
    "collection": "prices",
    "body": {},
    "requestId": "subscribe",
}


async def publish(nginx: Nginx, made: list[Publish], say: Say, stop: trio.Event) -> None:
    """Publish one message after the other until told to stop."""
    began, first = trio.current_time(), len(made)
    while not stop.is_set():
        await trio.sleep_until(began + (len(made) - first) / RATE)
        await publish_one(nginx, made, say)


async def publish_one(nginx: Nginx, made: list[Publish], say: Say) -> None:
    """Publish a message; they are numbered from 0."""
    sent_at = trio.current_time()
    reply = await http(f"{nginx.url}/ticker/prices/_publish", "POST", {"number": len(made)})
    node = reply.json["node"] if reply.status == 200 else None
    if node is None:
        say(f"publish {len(made)}: {reply.status} {reply.body!r}")
    made.append(Publish(sent_at, trio.current_time(), node))


async def restart(member: Member, nginx: Nginx, restarts: list[Restart]) -> float:
    """Stop it in order and start it again; return how long it took to stop. Returns when nginx uses it again."""
    node = member.node
    began = trio.current_time()
    node.terminate()
    ended = await node.ended(2 * STOPPED_S)
    took = trio.current_time() - began
    assert (ended.exit_code, took < STOPPED_S) == (0, True)
    restarts.append(Restart(member.name, began, trio.current_time()))
    await member.stop()
    await (await member.start()).ready(3)

    async def is_used() -> bool:
        return bool((await http(f"{nginx.url}/_now")).json["node"] == member.name)

    await eventually(is_used, "nginx sends requests to it", BACK_S)
    return took


def judge_session(session: Session, made: list[Publish], restarts: list[Restart]) -> list[str]:
    """What is wrong with one connection: it was attached until its node was restarted, and until then it got all that
    was published after its subscribe, once, and in the order of each node."""
    problems = []
    until = float("inf") if session.closed_at is None else session.closed_at - LATE_S
    owed = {
        number
        for number, message in enumerate(made)
        if message.node and message.sent_at > session.subscribed_at and message.answered_at < until
    }
    missing = sorted(owed - set(session.received))
    if missing:
        problems.append(
            f"{missing[:5]} of {len(owed)} did not arrive: {session.why_closed or 'it is attached'}"
        )
    if session.losses:
        problems.append(f"told {session.losses} times that something is lost")
    by_node: dict[str | None, list[int]] = {}
    for number in session.received:
        by_node.setdefault(made[number].node, []).append(number)
    for node, numbers in by_node.items():
        if any(later <= earlier for earlier, later in pairwise(numbers)):
            problems.append(f"twice or out of order, of {node}: {numbers}")
    if session.closed_at is not None:
        if "1012" not in session.why_closed:
            problems.append(f"closed, and not with 1012: {session.why_closed}")
        its = [(one.began, one.ended) for one in restarts if one.node == session.node]
        if not any(began <= session.closed_at <= ended for began, ended in its):
            problems.append(f"closed at {session.closed_at}, when {session.node} was not restarted: {its}")
    return problems


async def roll(rounds: int, directory: Path, say: Say) -> None:
    """Restart each of three nodes so many times."""
    made: list[Publish] = []
    restarts: list[Restart] = []
    async with (
        chaos_cluster(3) as cluster,
        open_nginx(directory, "spread", cluster.nodes) as nginx,
        open_inner_nursery() as nursery,
    ):
        listeners = [Listener(nginx.ws_url) for _ in range(CLIENTS)]
        for listener in listeners:
            nursery.start_soon(listener.run)
        await eventually(lambda: all_listen(listeners), "all are subscribed", BACK_S)
        for number in range(rounds):
            stop = trio.Event()
            async with trio.open_nursery() as publishing:
                publishing.start_soon(publish, nginx, made, say, stop)
                took = [await restart(member, nginx, restarts) for member in cluster.members]
                await eventually(lambda: all_listen(listeners), "all are subscribed again", BACK_S)
                stop.set()
            await publish_one(nginx, made, say)
            await judge_round(cluster, listeners, len(made) - 1)
            stopped = ", ".join(f"{seconds:.1f} s" for seconds in took)
            say(f"round {number + 1}: stopped after {stopped}; {len(made)} published; the books balance")
    sessions = [session for listener in listeners for session in listener.sessions]
    problems = [problem for session in sessions for problem in judge_session(session, made, restarts)]
    refused = sum(message.node is None for message in made)
    losses = sum(session.losses for session in sessions)
    moves = len(sessions) - len(listeners)
    failures = sum(listener.failures for listener in listeners)
    say(
        f"{len(made)} published, {refused} refused, {losses} told of losses, "
        f"{moves} times a client was moved, {failures} attempts failed"
    )
    assert problems == []
    assert (refused, losses) == (0, 0)
    assert moves >= CLIENTS * rounds // 2, "the clients were really moved"


def all_listen(listeners: list[Listener]) -> bool:
    return all(listener.is_subscribed for listener in listeners)


async def judge_round(cluster: ChaosCluster, listeners: list[Listener], last: int) -> None:
    """Nobody publishes: all that was published has arrived, all nodes count all clients, and all books balance."""

    def has_arrived() -> bool:
        return all(last in listener.sessions[-1].received for listener in listeners)

    async def is_counted() -> bool:
        (room_id,) = {listener.sessions[-1].room_id for listener in listeners}
        expected = {"ticker": {"prices": {room_id: CLIENTS}}}
        for node in cluster.nodes:
            counted = (await node.get("/_listSubscriptions")).result
            assert counted == expected, f"{node.id} counts {counted}"
        return True

    await eventually(has_arrived, "the last message is there", BACK_S)
    await eventually(is_counted, "all nodes count the same")
    await cluster.balanced()


@pytest.mark.slow
async def test_a_rolling_restart_refuses_nothing_and_loses_nothing_in_silence(
    tmp_path: Path, say: Say
) -> None:
    await roll(1, tmp_path, say)


@pytest.mark.slow
async def test_ten_rolling_restarts_refuse_nothing_and_lose_nothing_in_silence(
    tmp_path: Path, say: Say
) -> None:
    await roll(10, tmp_path, say)
