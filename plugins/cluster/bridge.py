"""What crosses between the server and the mesh, as one visible table.

    server says (Relay)      the mesh does          │  the mesh says (Observer)   the server does
    room_opened              open_room              │  peer_room                  remote_room_opened
    room_counted             count_room             │  peer_room_counted          remote_room_counted
    room_closed              close_room             │  peer_room_closed           remote_room_closed
    settled                  settled                │  peer_away                  remote_node_away
    forward                  notify                 │  peer_back                  remote_node_back
                                                    │  peer_gone                  remote_node_gone
                                                    │  deliver                    deliver
                                                    │  lost                       announce_loss
                                                    │  turn_over                  turn.flush

Descriptions and payloads are opaque to the mesh. Everything is a direct call on the trio thread; only `settled` waits.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cluster import Mesh, Notification
from server.plugin import Core


class Bridge:
    """A `server.ports.Relay` on one side and a `cluster.Observer` on the other.

    Made before there is a mesh, because the mesh wants an observer; `attach` completes it.
    """

    def __init__(self, core: Core, log: Any) -> None:
        self._realtime = core.realtime
        self._turn = core.turn
        self._log = log
        self._mesh: Mesh
        self._peers: set[str] = set()
        self.dropped: Counter[str] = Counter()
        """Notifications that did not cross, by reason."""

    def attach(self, mesh: Mesh) -> None:
        """From now on the mesh carries this node's rooms, those included that it has already."""
        self._mesh = mesh
        self._realtime.attach(self)
        for room_id, description, count in self._realtime.local_rooms():
            mesh.open_room(room_id, description, count)

    def detach(self) -> None:
        """The node is on its own again: what its peers had is forgotten."""
        self._realtime.detach()
        for node in tuple(self._peers):
            self.peer_gone(node)

    # -- the server says --

    def room_opened(self, room_id: str, description: bytes, count: int) -> None:
        """This node has a room."""
        self._mesh.open_room(room_id, description, count)

    def room_counted(self, room_id: str, count: int) -> None:
        """The room's subscribers on this node are another number now."""
        self._mesh.count_room(room_id, count)

    def room_closed(self, room_id: str) -> None:
        """This node does not have the room any more."""
        self._mesh.close_room(room_id)

    async def settled(self) -> bool:
        """Wait until every live peer has applied what was said; False when one had not in time."""
        late = await self._mesh.settled()
        if late:
            self._log.warning("peers slow to apply a subscription", peers=late)
        return not late

    def forward(self, node: str, room_ids: Sequence[str], payload: bytes) -> None:
        """A notification for rooms of another node."""
        try:
            self._mesh.notify(node, room_ids, payload)
        except ValueError as error:
            self.dropped["too large"] += 1
            self._log.warning("notification not forwarded", node=node, error=str(error))

    # -- the mesh says --

    def peer_room(self, node: str, room: str, description: bytes, count: int) -> None:
        """Another node has a room."""
        self._peers.add(node)
        try:
            self._realtime.remote_room_opened(node, room, description, count)
        except ValueError as error:
            self.dropped["room not understood"] += 1
            self._log.warning("room of a peer not understood", node=node, room=room, error=str(error))

    def peer_room_counted(self, node: str, room: str, count: int) -> None:
        """Another node has another number of subscribers in a room."""
        self._realtime.remote_room_counted(node, room, count)

    def peer_room_closed(self, node: str, room: str) -> None:
        """Another node does not have the room any more."""
        self._realtime.remote_room_closed(node, room)

    def peer_away(self, node: str) -> None:
        """Another node does not answer. Its rooms are kept: it may come back for what was published for them."""
        self._realtime.remote_node_away(node)

    def peer_back(self, node: str) -> None:
        """Another node answers again."""
        self._realtime.remote_node_back(node)

    def peer_gone(self, node: str) -> None:
        """Another node is gone, with all its rooms."""
        self._peers.discard(node)
        self._realtime.remote_node_gone(node)

    def deliver(self, node: str, items: Sequence[Notification]) -> None:  # noqa: ARG002 - they say themselves
        """Notifications from another node for rooms of this one."""
        for item in items:
            self._realtime.deliver(item.rooms, item.payload)

    def lost(self, node: str, count: int | None, rooms: Mapping[str, int] | None) -> None:
        """Notifications from another node cannot be had any more: those whom they were for are told."""
        self._realtime.announce_loss(node, count, rooms)

    def turn_over(self) -> None:
        """All that the mesh had at hand is told: send it."""
        self._turn.flush()
