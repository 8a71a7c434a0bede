"""The words of the page about performance: what each part is called, and what a reader has to know of it."""

from collections.abc import Mapping
from typing import Final

import attrs

from support.bench_runs import CPU, RATE

INTRODUCTION: Final = """\
# Performance

How fast Shoal is, next to what is possible at all and to others. All servers share one core, and the load has
another: it is the work that is compared, not the machine. A message is a JSON object of 200 bytes.

Measured by `make bench`: {when}, on {machine}.
"""

GOALS: Final = """\
## Goals

"Goal" and "at least" were set on a machine of two cores; "seen" is the median here. "Bare limit" is a Python loop
that does nothing but write a prepared frame into the sockets, measured in the same minutes: how much this machine
could do. [Where it is short of them](../decisions/short-of-the-goals.md), and what was tried.
"""

WORKLOADS: Final = """\
## Workloads

Each with the bare limit, where there is one, and with servers that install from PyPI. "Of Shoal" is how many times
Shoal's number it is. "µs of a core" is what one delivery cost the servers, without Redis, in time that they had a
core for: rates and latencies suffer when other programs want the cores, too; this number suffers least.
"""

GROWTH: Final = """\
## Growth

What happens when one thing grows and all else stays. Rate and cost are of as much as the servers can do; the latency
is that of one publish at a time, until its last subscriber has it.
"""

MORE: Final = "## More of Shoal\n"

MEASURED: Final = """\
## How it is measured

- **Real nodes**: `shoal serve` with its defaults, but for `limits.connections`, and with everything switched on. Two
  nodes have a Redis to find each other, on their core. A delivery is a notification of Shoal's, about three times as
  large as the message; the others deliver the message as it is. The bare loop's frames are of the size of Shoal's.
- **The load** is a C program (`tests/bench/generator.c`) with all clients in one thread, over raw sockets. Where it
  had no time left, which means that the server could do more, the table says so.
- **A window** of 16 means that 16 publishes are under way; the next is sent when one has reached all its subscribers.
- **A number** is the median of several runs of about a second, with the slowest and the fastest behind it. The
  servers are started once for the runs of a number. What was due and did not come is counted: a run of Shoal's with a
  loss is a failed run.
- **What is compared is measured in turn**: all servers of a table, or of a curve over anything but nodes, run beside
  each other, and each is asked for a second while the rest is idle. A machine that is slower for some seconds is so for
  all of them. A ratio among the goals is the median of those of the rounds.
- **W2p** is sent at its pace whether or not what was sent before has come, so that a stall is felt by all that were
  due in it.
- **Latency** is from before the publish is written by its client until the notification was read by the subscriber's,
  both ends in the same process, with the same clock.
- **Memory** is what a process has for itself, without pages of files (`RssAnon`).
- **Others** run on uvicorn or alone, without compression, as in `tests/bench/peers`. Install them with `make peers`.

`make bench ONLY=W1,W3` measures a part anew and leaves the rest of the page. `BENCH_RUNS` and `BENCH_SECONDS` make it
shorter or longer. `make profile ONLY=W1` shows where the time of a workload goes.
"""

BUSY: Final = """\
**The machine was busy with other things meanwhile.** Rates are lower and latencies are longer than they are on an
idle one, for some contenders more than for others: compare what a delivery cost."""


@attrs.frozen
class Growing:
    """One figure of growth."""

    heading: str
    about: str
    across: str
    panels: Mapping[str, str]
    """Title by unit."""


FIGURES: Final = {
    "subscribers": Growing(
        "Subscribers of one room",
        "One publish, so many deliveries; window 16.",
        "subscribers",
        {RATE: "deliveries/s", CPU: "µs of a core per delivery", "ms p50": "ms until the last has it (p50)"},
    ),
    "rooms": Growing(
        "Rooms",
        "One subscriber for each, window 64; from 1,000 rooms on, each client is in many. "
        "Rooms of one collection have filters that are looked at one after the other.",
        "rooms",
        {RATE: "deliveries/s", CPU: "µs of a core per delivery", "ms p50": "ms until it is there (p50)"},
    ),
    "payload": Growing(
        "Payload",
        "100 subscribers, window 4.",
        "bytes",
        {RATE: "deliveries/s", CPU: "µs of a core per delivery", "ms p50": "ms until the last has it (p50)"},
    ),
    "nodes": Growing(
        "Nodes that have subscribers",
        "480 subscribers on all nodes, or on the last one; window 16. All nodes are on one "
        "core: more of them cannot do more here, so what is seen is what they cost.",
        "nodes",
        {RATE: "deliveries/s", CPU: "µs of a core per delivery", "ms p50": "ms until the last has it (p50)"},
    ),
    "one-of-many": Growing(
        "Nodes that have none",
        "One subscriber, on one node of the cluster; window 256. The cost is without what "
        "the nodes take when nothing is published, which has a plot of its own.",
        "nodes",
        {
            CPU: "µs of a core per publish",
            "ms p50": "ms until it is there (p50)",
            "% of a core, idle": "% of a core, all idle",
        },
    ),
    "connections": Growing(
        "Idle connections",
        "All in one room.",
        "connections",
        {"MB": "MB of the process", "set up/s": "connections set up a second"},
    ),
}

SECTIONS: Final = {
    "filters": (
        "Filters",
        "W1 and W3 with a filter that has to be evaluated, and with ten rooms that match each publish: in W3 it is "
        "then delivered ten times.",
    ),
    "fairness": (
        "Fairness",
        "What another client waits for the answer to `server:now`, 200 times a second, "
        "while the server is flooded.",
    ),
    "http": (
        "Publishing over HTTP",
        "`POST /:index/:collection/_publish` over one connection that stays; several under "
        "way are pipelined. Over HTTP the next is sent when one is answered, over WebSocket"
        " when one is delivered.",
    ),
    "locked": (
        "With a secret",
        "Two nodes without `cluster.secret`, and with one: then everything between them is encrypted. To encrypt is "
        "the work of ZeroMQ's own thread, whose time counts as the node's.",
    ),
    "health": (
        "Asking for health",
        "`GET /_plugin/cluster/health` of a node in a cluster of three, by a client in Python that asks again as "
        "soon as it is answered, and the action behind it without any protocol.",
    ),
    "workers": (
        "Several cores",
        "`shoal serve --workers 2` next to one process, on both cores of the machine. The "
        "load needs a core, too, and where there are only two it takes its part of them.",
    ),
    "rest": ("At rest", "What a node takes while nothing is asked of it."),
    "cluster": ("A small cluster", "Three nodes, and a client in Python at both ends."),
}
