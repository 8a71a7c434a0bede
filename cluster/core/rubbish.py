"""Frames that are no messages of the mesh protocol: counted, and named after who sent them, as far as that can be told.

Who sent a reply is known for sure. Who asked is known by the hello that came over the same connection. Who published
has to be taken from the frame, if that much of it can be read. A peer of which one frame is not understood may be a
newer one, and is not thrown out for it; but who waits for an answer is told that it may have been this one, and whoever
reads the frames does so the more slowly, the more of them are rubbish.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from cluster.core import messages
from cluster.core.effects import Belief, Effect
from cluster.core.link import Link
from cluster.errors import FrameError

ASKERS_AT_MOST = 1000
"""Connections of which the name is remembered: more than a full mesh has."""


class Rubbish:
    """What came to one node that it could not read."""

    def __init__(self, links: Mapping[str, Link]) -> None:
        self.count = 0
        self._links = links
        self._askers: OrderedDict[bytes, str] = OrderedDict()

    def greeted(self, identity: bytes, node: str) -> None:
        """This node said hello under that identity."""
        self._askers[identity] = node
        if len(self._askers) > ASKERS_AT_MOST:
            self._askers.popitem(last=False)

    def published(self, frame: bytes, error: FrameError, out: list[Effect]) -> None:
        """Came on the SUB socket."""
        self._found("published", messages.claimed_origin(frame), error, out)

    def asked(self, identity: bytes, error: FrameError, out: list[Effect]) -> None:
        """Came on the ROUTER socket."""
        self._found("direct", self._askers.get(identity, ""), error, out)

    def answered(self, node: str, error: FrameError, out: list[Effect]) -> None:
        """Came from the node's ROUTER."""
        if (link := self._links.get(node)) is not None:
            link.answered_badly()
        self._found("reply", node, error, out)

    def _found(self, kind: str, node: str, error: FrameError, out: list[Effect]) -> None:
        self.count += 1
        link = self._links.get(node)
        if link is not None:
            link.bad_frames += 1
        if self.count & (self.count - 1) == 0:  # the 1st, 2nd, 4th, 8th…: a flood fills no log
            peer = "unknown" if link is None else node
            fields = {"kind": kind, "peer": peer, "error": str(error), "count": self.count}
            out.append(Belief("frame refused", fields, is_warning=True))
