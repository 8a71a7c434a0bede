"""What can be done to a simulated world, as data: a history that can be written down, cut and played again.

An action that makes no sense where it is played (a node that is not there, a room that nobody has) does nothing, so
any part of a history is a history.
"""

from __future__ import annotations

import msgspec

from cluster.testing import SimNode, World
from cluster.testing.network import split


class _Action(msgspec.Struct, frozen=True, tag=str.lower, omit_defaults=True):
    def perform(self, world: World) -> str | None:
        """Do it; returns what was done, in words, or None when there was nothing to do."""
        raise NotImplementedError


class Wait(_Action, frozen=True):
    """Time passes, seconds."""

    seconds: float

    def perform(self, world: World) -> str | None:
        world.run(self.seconds)
        return None


# -- nodes --


class Start(_Action, frozen=True):
    """A new life of a node, whose wall clock is wrong by so many milliseconds; it may ask `seeds` for the others."""

    node: str
    clock_ms: int = 0
    seeds: list[str] = []

    def perform(self, world: World) -> str | None:
        if self.node in world.nodes:
            return None
        node = world.start(self.node, world.wall_clock(self.node, self.clock_ms), self.seeds)
        seeds = f", knowing {' '.join(self.seeds)}" if self.seeds else ""
        return f"{self.node} starts as {node.core.epoch}{seeds}"


class Crash(_Action, frozen=True):
    """The process is killed."""

    node: str

    def perform(self, world: World) -> str | None:
        if (node := world.nodes.get(self.node)) is None:
            return None
        world.crash(node)
        return f"{self.node} crashes"


class Leave(_Action, frozen=True):
    """The process ends with a goodbye."""

    node: str

    def perform(self, world: World) -> str | None:
        if (node := _awake(world, self.node)) is None:
            return None
        world.leave(node)
        return f"{self.node} leaves"


class Pause(_Action, frozen=True):
    """The process is stopped for so long."""

    node: str
    seconds: float

    def perform(self, world: World) -> str | None:
        if (node := _awake(world, self.node, is_there=True)) is None:
            return None
        world.pause(node, self.seconds)
        return f"{self.node} is paused for {self.seconds} s"


class Slow(_Action, frozen=True):
    """The process looks at its sockets and its clock only so often."""

    node: str
    every: float

    def perform(self, world: World) -> str | None:
        if (node := _awake(world, self.node)) is None:
            return None
        world.slow_down(node, self.every)
        return f"{self.node} looks at its sockets every {self.every} s"


class Deafen(_Action, frozen=True):
    """Nobody reads its SUB any more."""

    node: str

    def perform(self, world: World) -> str | None:
        if (node := _awake(world, self.node)) is None:
            return None
        world.deafen(node)
        return f"{self.node} is deaf"


class Silence(_Action, frozen=True):
    """Nothing leaves its PUB any more."""

    node: str

    def perform(self, world: World) -> str | None:
        if (node := _awake(world, self.node)) is None:
            return None
        world.silence(node)
        return f"{self.node} is mute"


# -- what embedders do --


class Publish(_Action, frozen=True):
    """Notifications for rooms, one after the other."""

    node: str
    rooms: list[str]
    times: int = 1

    def perform(self, world: World) -> str | None:
        if (node := _awake(world, self.node)) is None:
            return None
        for _ in range(self.times):
            receivers = world.publish(node, *self.rooms)
        times = f" {self.times} times" if self.times > 1 else ""
        return f"{self.node} publishes{times} to {' '.join(self.rooms)} of {' '.join(receivers) or 'nobody'}"


class Open(_Action, frozen=True):
    """Subscribers in a room, so many."""

    node: str
    room: str
    count: int = 1

    def perform(self, world: World) -> str | None:
        if (node := _awake(world, self.node)) is None:
            return None
        world.open_room(node, self.room, self.room.encode(), self.count)
        return f"{self.node} has {self.count} in {self.room}"


class Fill(_Action, frozen=True):
    """Somebody in each of so many rooms, with ids as long as Shoal's own."""

    node: str
    rooms: int

    def perform(self, world: World) -> str | None:
        if (node := _awake(world, self.node)) is None:
            return None
        world.open_rooms(node, _crowd(self.rooms))
        return f"{self.node} has {self.rooms} rooms more"


class Broadcast(_Action, frozen=True):
    """Notifications for so many of these rooms at once, one after the other."""

    node: str
    rooms: int
    times: int = 1

    def perform(self, world: World) -> str | None:
        if (node := _awake(world, self.node)) is None:
            return None
        for _ in range(self.times):
            receivers = world.publish(node, *_crowd(self.rooms))
        times = f" {self.times} times" if self.times > 1 else ""
        return f"{self.node} publishes{times} to {self.rooms} rooms of {' '.join(receivers) or 'nobody'}"


class Close(_Action, frozen=True):
    """No subscribers in a room any more."""

    node: str
    room: str

    def perform(self, world: World) -> str | None:
        node = _awake(world, self.node)
        if node is None or self.room not in node.rooms:
            return None
        world.close_room(node, self.room)
        return f"{self.node} has nobody in {self.room} any more"


class Reset(_Action, frozen=True):
    """`cluster:reset`."""

    node: str

    def perform(self, world: World) -> str | None:
        if (node := _awake(world, self.node)) is None:
            return None
        world.reset(node)
        return f"{self.node} is asked for a reset"


class Outbid(_Action, frozen=True):
    """The node finds that its name had a later life: the wall clock went back, say."""

    node: str

    def perform(self, world: World) -> str | None:
        if (node := _awake(world, self.node)) is None:
            return None
        world.outbid(node)
        return f"{self.node} learns of a later life of its name"


# -- the network --


class Block(_Action, frozen=True):
    """Nothing goes from one to the other; the way back is free. It is lost, or it waits for the end of the block."""

    sender: str
    receiver: str
    holds: bool = False

    def perform(self, world: World) -> str | None:
        world.cut(self.sender, self.receiver, holds=self.holds)
        return f"{self.sender} reaches {self.receiver} no more{_held(self.holds)}"


class Partition(_Action, frozen=True):
    """Nothing goes between nodes of two groups."""

    groups: list[list[str]]
    holds: bool = False

    def perform(self, world: World) -> str | None:
        for sender, receiver in split(self.groups):
            world.cut(sender, receiver, holds=self.holds)
        return f"{' | '.join(' '.join(group) for group in self.groups)} are parted{_held(self.holds)}"


class Break(_Action, frozen=True):
    """The connections between two nodes are reset."""

    a: str
    b: str

    def perform(self, world: World) -> str | None:
        world.network.break_between(self.a, self.b)
        return f"the connections of {self.a} and {self.b} break"


class Weather(_Action, frozen=True):
    """What befalls every frame from now on; the rest is as it was."""

    loss: float | None = None
    direct_loss: float | None = None
    duplication: float | None = None
    delay: float | None = None
    queue: int | None = None

    def perform(self, world: World) -> str | None:
        changes = {name: getattr(self, name) for name in self.__struct_fields__}
        for name, value in changes.items():
            if value is not None:
                setattr(world.weather, name, value)
        return ", ".join(f"{name} {value}" for name, value in changes.items() if value is not None)


class Heal(_Action, frozen=True):
    """Cuts, weather and pool are well again."""

    def perform(self, world: World) -> str | None:
        world.heal()
        return "all is healed"


# -- the pool --


class Pool(_Action, frozen=True):
    """The pool answers or not, after so many seconds."""

    is_up: bool
    latency: float = 0.0005

    def perform(self, world: World) -> str | None:
        world.pool.is_up, world.pool.latency = self.is_up, self.latency
        return f"the pool takes {self.latency} s" if self.is_up else "the pool is away"


class Flush(_Action, frozen=True):
    """The pool forgets one card, or all."""

    node: str = ""

    def perform(self, world: World) -> str | None:
        if self.node:
            world.pool.lose(self.node)
        else:
            world.pool.flush()
        return f"the pool loses {self.node or 'everything'}"


Action = (
    Wait
    | Start
    | Crash
    | Leave
    | Pause
    | Slow
    | Deafen
    | Silence
    | Publish
    | Open
    | Fill
    | Broadcast
    | Close
    | Reset
    | Outbid
    | Block
    | Partition
    | Break
    | Weather
    | Heal
    | Pool
    | Flush
)


def _awake(world: World, name: str, *, is_there: bool = False) -> SimNode | None:
    """The node, if it runs; one that is about to leave does nothing more, but `is_there`."""
    node = world.nodes.get(name)
    if node is None or node.paused_until > world.now or (node.is_leaving and not is_there):
        return None
    return node


def _crowd(rooms: int) -> list[str]:
    return [f"{number:064x}" for number in range(rooms)]


def _held(holds: bool) -> str:
    return ", and what is sent waits" if holds else ""
