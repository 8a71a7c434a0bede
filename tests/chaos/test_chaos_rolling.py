"""All nodes behind nginx are restarted, one after the other, while clients publish and listen through it.

No publish is refused, and whoever stays attached is told of everything. Who was closed knows it, and would fetch again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from support.chaos_cluster import chaos_cluster
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


@attrs.frozen
class Publish:
    """One message: when it was sent, and when its answer came."""

    sent_at: float
    answered_at: float


@attrs.define(eq=False)
class Session:
    """One connection of a client, from the reply to its subscribe on."""

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
                    session = Session(trio.current_time())
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


async def publish(nginx: Nginx, made: list[Publish], problems: list[str], stop: trio.Event) -> None:
    """Publish one message after the other until told to stop; number them from 0."""
    began = trio.current_time()
    while not stop.is_set():
        await trio.sleep_until(began + len(made) / RATE)
        sent_at = trio.current_time()
        reply = await http(f"{nginx.url}/ticker/prices/_publish", "POST", {"number": len(made)})
        if reply.status != 200:
            problems.append(f"publish {len(made)} at {sent_at - began:.3f} s: {reply.status} {reply.body!r}")
        made.append(Publish(sent_at, trio.current_time()))


async def restart(member: Member, nginx: Nginx) -> float:
    """Stop it in order and start it again; return how long it took to stop. Returns when nginx uses it again."""
    node = member.node
    began = trio.current_time()
    node.terminate()
    ended = await node.ended(2 * STOPPED_S)
    took = trio.current_time() - began
    assert (ended.exit_code, took < STOPPED_S) == (0, True)
    await member.stop()
    await (await member.start()).ready(3)

    async def is_used() -> bool:
        return bool((await http(f"{nginx.url}/_now")).json["node"] == member.name)

    await eventually(is_used, "nginx sends requests to it", BACK_S)
    return took


def silent_losses(listener: Listener, made: list[Publish]) -> list[str]:
    """What the listener was not told of, although it had no reason to fetch again."""
    problems = []
    for session in listener.sessions:
        until = float("inf") if session.closed_at is None else session.closed_at - LATE_S
        owed = {
            number
            for number, message in enumerate(made)
            if message.sent_at > session.subscribed_at and message.answered_at < until
        }
        got = set(session.received)
        if owed - got and not session.losses:
            problems.append(f"{sorted(owed - got)[:5]} of {len(owed)} did not arrive: {session.why_closed}")
        if len(got) != len(session.received):
            problems.append(f"something arrived twice: {session.received}")
        if session.closed_at is not None and "1012" not in session.why_closed:
            problems.append(f"closed, and not with 1012: {session.why_closed}")
    return problems


async def roll(rounds: int, directory: Path, say: Callable[[str], None]) -> None:
    """Restart each of three nodes so many times."""
    made: list[Publish] = []
    problems: list[str] = []
    stop = trio.Event()
    async with (
        chaos_cluster(3) as cluster,
        open_nginx(directory, "spread", cluster.nodes) as nginx,
        trio.open_nursery() as nursery,
    ):
        listeners = [Listener(nginx.ws_url) for _ in range(CLIENTS)]
        for listener in listeners:
            nursery.start_soon(listener.run)

        def all_listen() -> bool:
            return all(listener.is_subscribed for listener in listeners)

        await eventually(all_listen, "all are subscribed", BACK_S)
        async with trio.open_nursery() as publishing:
            publishing.start_soon(publish, nginx, made, problems, stop)
            for number in range(rounds):
                took = [await restart(member, nginx) for member in cluster.members]
                await eventually(all_listen, "all are subscribed again", BACK_S)
                stopped = ", ".join(f"{seconds:.1f} s" for seconds in took)
                say(f"round {number + 1}: stopped after {stopped}; {len(made)} published")
            stop.set()

        def last_has_arrived() -> bool:
            last = len(made) - 1
            return all(last in listener.sessions[-1].received for listener in listeners)

        await eventually(last_has_arrived, "the last message is there", BACK_S)
        for listener in listeners:
            problems += silent_losses(listener, made)
        nursery.cancel_scope.cancel()
    moves = sum(len(listener.sessions) - 1 for listener in listeners)
    failures = sum(listener.failures for listener in listeners)
    losses = sum(session.losses for listener in listeners for session in listener.sessions)
    say(
        f"{len(made)} published, {moves} times a client was moved, {failures} attempts failed, {losses} told of losses"
    )
    assert problems == []
    assert moves >= CLIENTS * rounds // 2, "the clients were really moved"


async def test_a_rolling_restart_refuses_nothing_and_loses_nothing_in_silence(
    tmp_path: Path, say: Callable[[str], None]
) -> None:
    await roll(1, tmp_path, say)


@pytest.mark.slow
async def test_ten_rolling_restarts_refuse_nothing_and_lose_nothing_in_silence(
    tmp_path: Path, say: Callable[[str], None]
) -> None:
    await roll(10, tmp_path, say)
