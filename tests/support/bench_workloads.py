"""The workloads by name: what is asked, and of whom.

The W-numbers are those of the page. A workload of `RATES` is measured in deliveries a second, one of `LATENCIES` in the
time from a publish to its delivery; both in what a delivery costs.
"""

from collections.abc import Callable
from typing import Final

import attrs

from support.bench_contenders import BY_NUMBER, EVALUATED, SHOAL, TEN_OF_TEN, Contender, Task
from support.bench_machine import cores_for
from support.bench_peers import BARE, SOCKETIO, STARLETTE, WEBSOCKETS


@attrs.frozen
class Workload:
    """One task, for some contenders."""

    title: str
    task: Task
    contenders: tuple[Contender, ...]


W1: Final = Task(500, window=16)
W3: Final = Task(1, window=256, nodes=2)
W4: Final = Task(500, window=16, nodes=2)

RATES: Final = {
    "W1": Workload("one node, 500 subscribers, window 16", W1, (SHOAL, BARE, WEBSOCKETS, SOCKETIO)),
    "W1w1": Workload("one node, 500 subscribers, window 1", Task(500), (SHOAL, BARE, WEBSOCKETS, SOCKETIO)),
    "W3": Workload("two nodes, 1 subscriber, window 256", W3, (SHOAL, STARLETTE, SOCKETIO)),
    "W4": Workload("two nodes, 500 subscribers, window 16", W4, (SHOAL, STARLETTE, SOCKETIO)),
    "W6": Workload(
        "one node, 1,000 rooms with one subscriber each, window 64",
        Task(1_000, rooms=1_000, window=64),
        (SHOAL, BARE, WEBSOCKETS, SOCKETIO),
    ),
}

LATENCIES: Final = {
    "W2": Workload("two nodes, one publish at a time", Task(1, nodes=2), (SHOAL, STARLETTE, SOCKETIO)),
    "W2p": Workload(
        "two nodes, 1,000 publishes a second",
        # A stall of a quarter of a second is seen by all that were due in it.
        Task(1, window=256, pace=1_000, nodes=2),
        (SHOAL, STARLETTE, SOCKETIO),
    ),
}

FILTERS: Final = {
    "W1": {
        "no filter": W1,
        "a filter of four terms": attrs.evolve(W1, filter=EVALUATED),
        "ten rooms match": attrs.evolve(W1, filter=TEN_OF_TEN, matching=10),
    },
    "W3": {
        "no filter": W3,
        "a filter of four terms": attrs.evolve(W3, filter=EVALUATED),
        "ten rooms match": attrs.evolve(W3, filter=TEN_OF_TEN, matching=10, subscribers=10),
    },
}
"""By workload: what Shoal is asked instead."""

WORKERS: Final = {
    name: {
        f"{number} worker{'s' * (number > 1)}": attrs.evolve(task, workers=number, cores=cores_for(2))
        for number in (1, 2)
    }
    for name, task in (("W1", W1), ("W1w1", RATES["W1w1"].task), ("W4", W4))
}
"""By workload: what the node with the subscribers is asked when it has several processes, and two cores."""


LOCKED: Final = {
    name: {
        how: attrs.evolve(task, settings=settings)
        for how, settings in (
            ("open", {}),
            ("with a secret", {"cluster.secret": "a secret of the benchmarks"}),
        )
    }
    for name, task in (("W2", LATENCIES["W2"].task), ("W3", W3), ("W4", W4))
}
"""By workload: what two nodes are asked without a secret and with one: what it costs to encrypt the mesh."""


# -- Growth --------------------------------------------------------------------------------------------------------


@attrs.frozen
class Curve:
    """How one contender does when one thing grows."""

    contender: Contender
    task: Callable[[int], Task]
    at: tuple[int, ...]
    name: str = ""
    """Of the line; empty for the contender's."""
    is_in_turn: bool = True
    """Whether all its places are measured in turn. Not where who is idle would be in the way: clusters beat."""

    @property
    def label(self) -> str:
        """What the line is called."""
        return self.name or self.contender.name


def _in_rooms(count: int) -> Task:
    subscribers = min(count, 1_000)
    return Task(subscribers, rooms=count, each=count // subscribers, window=64)


def _of_filters(count: int) -> Task:
    return attrs.evolve(_in_rooms(count), filter=BY_NUMBER)


SUBSCRIBERS: Final = (1, 10, 100, 500, 1_000, 3_000, 10_000)
ROOMS: Final = (1, 10, 100, 1_000, 10_000, 100_000)
NODES: Final = (1, 2, 4, 8)
PAYLOADS: Final = (50, 200, 1_000, 4_000, 16_000, 64_000)

GROWTH: Final = {
    "subscribers": [
        Curve(contender, lambda count: Task(count, window=16), SUBSCRIBERS)
        for contender in (SHOAL, BARE, WEBSOCKETS)
    ],
    "rooms": [
        Curve(SHOAL, _in_rooms, ROOMS, "each room in a collection of its own"),
        # Looked at one after the other: more would only take longer.
        Curve(SHOAL, _of_filters, ROOMS[:5], "all rooms in one collection, a filter each"),
    ],
    "payload": [
        # So few that what waits for one client is less than is allowed to, with the largest payload.
        Curve(contender, lambda size: Task(100, window=4, payload_bytes=size), PAYLOADS)
        for contender in (SHOAL, WEBSOCKETS)
    ],
    "nodes": [
        Curve(
            SHOAL,
            lambda count: Task(480, window=16, nodes=count, reached=count),
            NODES,
            "subscribers on all nodes",
            is_in_turn=False,
        ),
        Curve(
            SHOAL,
            lambda count: Task(480, window=16, nodes=count),
            NODES,
            "subscribers on one node",
            is_in_turn=False,
        ),
    ],
}
"""By what grows. Each place is measured with the window of the task, and with one publish at a time."""


def one_of_many(nodes: int) -> Task:
    """Return the task of publishing to one subscriber, who is on one of so many nodes."""
    return Task(1, window=256, nodes=nodes)


CONNECTIONS_AT: Final = (100, 1_000, 2_000, 5_000, 10_000)
"""Idle connections, for the memory that they take."""
