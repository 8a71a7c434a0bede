"""A cluster plugin from outside of the product, whose mesh runs over a bad line.

    server.plugins = ["support.chaos_transport:LossyClusterPlugin"]     with tests/ on PYTHONPATH
    cluster.chaos.drop_per_mille = 10           of the frames that arrive, of every kind
    cluster.chaos.drop_notify_per_mille = 10    of those with notifications
    cluster.chaos.cut_every_ms = 10000          each link is cut so often
    cluster.chaos.cut_for_ms = 2000             and so long: nothing arrives in either direction
    cluster.chaos.repairs = false               no question for lost notifications gets through: a mesh that cannot
                                                repair them
    cluster.chaos.impairs = "…"                 the task that reads SUB ends as soon as there is a file "<node> is deaf"
                                                in this folder, PUB as long as there is one "<node> is mute"
    cluster.chaos.only_with = "…"               all of this only as long as there is a file of that name

The frames are dropped where they arrive, so that each receiver misses other ones. When a link is cut says the
machine's monotonic clock, which all processes share; so both ends agree, and a test can work it out, too. What a node
hears of itself crosses no line: were it cut off from its own echo, it would hold itself for mute.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import attrs
import msgspec
import trio

from cluster import Transport
from cluster.adapters.zeromq import ZeroMqTransport
from cluster.core.identity import Card
from cluster.core.messages import TOPIC_END, Notify, ResendNotify
from cluster.ports import Arrivals
from plugins.cluster import ClusterPlugin
from plugins.cluster.config import ClusterConfig

PLUGIN = "support.chaos_transport:LossyClusterPlugin"


@attrs.frozen(kw_only=True)
class Chaos:
    """How bad the line is."""

    drop_per_mille: int = attrs.field(default=0, metadata={"help": "Of the frames that arrive.", "unit": ""})
    drop_notify_per_mille: int = attrs.field(
        default=0, metadata={"help": "Of the frames with notifications.", "unit": ""}
    )
    cut_every_ms: int = attrs.field(default=0, metadata={"help": "0: never.", "unit": "ms"})
    cut_for_ms: int = attrs.field(default=0, metadata={"help": "How long each time.", "unit": "ms"})
    repairs: bool = attrs.field(default=True, metadata={"help": "Whether questions get through.", "unit": ""})
    impairs: str = attrs.field(
        default="", metadata={"help": "A folder, in which files make nodes deaf or mute.", "unit": ""}
    )
    only_with: str = attrs.field(default="", metadata={"help": "A file; empty: always.", "unit": ""})

    def settings(self) -> dict[str, Any]:
        """What a node has to be given to have such a line."""
        own = {f"cluster.chaos.{name}": value for name, value in attrs.asdict(self).items()}
        return {"server.plugins": PLUGIN} | own

    def cut_since(self, one: str, other: str, now: float) -> float | None:
        """Since when the link between two nodes is cut, or None when it is not. Seconds of the monotonic clock."""
        if not self.cut_every_ms:
            return None
        every = self.cut_every_ms / 1000
        since = (now + self._phase(one, other)) % every
        return now - since if since < self.cut_for_ms / 1000 else None

    def next_cut(self, one: str, other: str, now: float) -> float:
        """When the link is cut the next time."""
        every = self.cut_every_ms / 1000
        return now + every - (now + self._phase(one, other)) % every

    def _phase(self, one: str, other: str) -> float:
        """The links of three nodes that differ in a digit are cut one after the other: the third is a witness."""
        third = sum(one.encode() + other.encode()) % 3
        return third * self.cut_every_ms / 3000


@attrs.frozen(kw_only=True)
class LossyConfig(ClusterConfig):
    """The table [cluster] with a table [cluster.chaos]."""

    chaos: Chaos = attrs.field(factory=Chaos, metadata={"help": "How bad the line is.", "unit": ""})


class LossyClusterPlugin(ClusterPlugin):
    """Makes this node one of a cluster, over a bad line."""

    config = LossyConfig

    def transport(self) -> Transport:
        """ZeroMQ, of which not everything arrives."""
        chaos = self.settings.chaos
        node = self.context.node.id
        impairs = Path(chaos.impairs)
        inner = (
            ImpairedTransport(impairs / f"{node} is deaf", impairs / f"{node} is mute")
            if chaos.impairs
            else ZeroMqTransport()
        )
        return LossyTransport(inner, node, chaos)


class ImpairedTransport(ZeroMqTransport):
    """ZeroMQ of which one half stops without a word, all else goes on: the task that reads SUB ends, or PUB sends
    nothing more."""

    def __init__(self, deaf: Path, mute: Path) -> None:
        super().__init__()
        self._deaf = deaf
        self._mute = mute

    async def _read_published(self, arrivals: Arrivals) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super()._read_published, arrivals)
            while not self._deaf.exists():  # noqa: ASYNC110 - another process makes it
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()

    def publish(self, frame: bytes) -> bool:
        return self._mute.exists() or super().publish(frame)


class _Envelope(msgspec.Struct, array_like=True):
    """What every message of the mesh begins with."""

    tag: int
    origin: str


_NOTIFY, _RESEND = (kind.__struct_config__.tag for kind in (Notify, ResendNotify))
_read = msgspec.msgpack.Decoder(_Envelope).decode


class LossyTransport:
    """A `Transport` that carries what another one carries, but for what is lost on the way."""

    def __init__(self, inner: Transport, node: str, chaos: Chaos) -> None:
        self._inner = inner
        self._node = node
        self._chaos = chaos
        self._random = Random(node)
        self._switch = Path(chaos.only_with) if chaos.only_with else None
        self._peers: set[str] = set()
        self.open = inner.open
        self.subscribe, self.unsubscribe = inner.subscribe, inner.unsubscribe
        self.publish, self.ask, self.answer, self.ask_at = (
            inner.publish,
            inner.ask,
            inner.answer,
            inner.ask_at,
        )

    def connect(self, card: Card) -> None:
        self._peers.add(card.id)
        self._inner.connect(card)

    def disconnect(self, node: str) -> None:
        self._peers.discard(node)
        self._inner.disconnect(node)

    async def run(self, arrivals: Arrivals) -> None:
        """Receive until cancelled; say of each cut that the connection broke, as a real one would."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._inner.run, _Sieve(self, arrivals))
            while self._chaos.cut_every_ms:
                now = time.monotonic()
                cuts = {peer: self._chaos.next_cut(self._node, peer, now) for peer in self._peers}
                first = min(cuts.values(), default=now + 1)
                await trio.sleep(first - now)
                for peer, at in cuts.items():
                    if at == first and peer in self._peers and self._is_on():
                        arrivals.hung_up(peer)

    def arrives(self, message: bytes | memoryview) -> bool:
        """Whether a frame gets through."""
        if not self._is_on():
            return True
        envelope = _read(message)
        if envelope.origin == self._node:
            return True
        chaos = self._chaos
        dice = self._random.randrange(1000)
        if dice < chaos.drop_per_mille:
            return False
        if envelope.tag == _NOTIFY and dice < chaos.drop_notify_per_mille:
            return False
        if envelope.tag == _RESEND and not chaos.repairs:
            return False
        return chaos.cut_since(self._node, envelope.origin, time.monotonic()) is None

    def _is_on(self) -> bool:
        return self._switch is None or self._switch.exists()


class _Sieve:
    """`Arrivals` that give on what gets through."""

    def __init__(self, line: LossyTransport, arrivals: Arrivals) -> None:
        self._arrives = line.arrives
        self._arrivals = arrivals
        self.hung_up, self.kept_out = arrivals.hung_up, arrivals.kept_out

    def published(self, frames: Sequence[bytes]) -> int:
        through = [
            frame for frame in frames if self._arrives(memoryview(frame)[frame.index(TOPIC_END) + 1 :])
        ]
        return self._arrivals.published(through) if through else 0

    def asked(self, questions: Sequence[tuple[bytes, bytes]]) -> int:
        through = [(sender, frame) for sender, frame in questions if self._arrives(frame)]
        return self._arrivals.asked(through) if through else 0

    def answered(self, node: str, frames: Sequence[bytes]) -> int:
        through = [frame for frame in frames if self._arrives(frame)]
        return self._arrivals.answered(node, through) if through else 0
