"""How the clients of this node are told: of notifications, and of those that were lost.

    deliver ... deliver  ->  a run  ->  one write to each member of the channel

What one channel gets in a row is a *run*: each member gets it in one go, at the end of the turn or as soon as another
channel is told of something. So a client gets what one node published in its order, whatever its rooms. What concerns
more clients than a turn has time for is told in slices: who waits for nothing is then written to at once, and not
queued for later. A run that comes meanwhile waits behind it.

It refuses to know rooms and filters, but for what a client has lost.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from server.core.frames import text_frame
from server.core.holds import DeliveryCounters
from server.core.notifications import LossNotification, RoomLoss
from server.core.rooms import Channel, Rooms
from server.core.session import Write
from server.core.values import encode_json
from server.ports import Turn

RUN_BYTES: Final = 65_536
"""A run is handed out when it is longer: no client is to be found slow much later than it is."""

TOLD_PER_LOOK: Final = 16
"""Clients who are told between two looks at whether there is time for more: 0.1 ms."""


class Telling:
    """What waits to be told, on one node. Who enters or leaves a room has to call `tell_all` before."""

    def __init__(
        self,
        rooms: Rooms,
        turn: Turn,
        counters: DeliveryCounters,
        *,
        node_id: str,
        now_ms: Callable[[], int],
    ) -> None:
        self._rooms = rooms
        self._turn = turn
        self._counters = counters
        self._node_id = node_id
        self._now_ms = now_ms
        self._run: list[bytes] = []
        """Frames for the members of one channel that they do not have yet."""
        self._run_of: Channel | None = None
        self._run_bytes = 0
        self._is_end_due = False
        self._rest: Iterator[None] = iter(())
        """The rest of a run that is handed out in slices; each step is some clients."""
        self._announcing: Iterator[None] = iter(())
        """The rest of the announcement of a loss, likewise."""

    def deliver(self, channels: Iterable[Channel], head: bytes) -> None:
        """Tell the members of these channels, soon. `head` is the notification without its end. The hot path."""
        for channel in channels:
            frame = text_frame(head + channel.suffix)
            if channel is not self._run_of or self._run_bytes > RUN_BYTES:
                self._end_run()
                self._run_of = channel
            self._run.append(frame)
            self._run_bytes += len(frame)
        if not self._is_end_due:
            self._is_end_due = True
            self._turn.defer(self._end_turn)

    def tell_all(self) -> None:
        """Tell everybody of everything now: who is to be told is about to change."""
        self._end_run()
        for _ in self._announcing:
            pass

    def announce_loss(self, node: str, concerned: Mapping[str, int]) -> None:
        """Tell each client that is in any of these rooms, soon, in one message, that something from another node is
        lost; of each room, how much, or 0 when nobody can know."""
        self.tell_all()
        self._announcing = self._announce(node, concerned)
        self._turn.defer(self._go_on_announcing)

    def _end_run(self) -> None:
        """Hand out the run, behind the rest of the one before."""
        for _ in self._rest:
            pass
        if self._run_of is not None:
            writes, run, joined = self._take_run(self._run_of)
            for write in writes:
                write(*run, joined=joined)

    def _end_turn(self) -> None:
        self._is_end_due = False
        self._go_on()

    def _go_on_announcing(self) -> None:
        self._advance(self._announcing, self._go_on_announcing)

    def _advance(self, steps: Iterator[None], go_on: Callable[[], None]) -> bool:
        """Do of it what can be done in this turn; False when the rest is left over for a later one, by `go_on`."""
        for _ in steps:
            if not self._turn.has_time():
                self._turn.leave_over(go_on)
                return False
        return True

    def _go_on(self) -> None:
        """Hand out what there is time for: the rest of a run, then the next."""
        while self._advance(self._rest, self._go_on):
            channel = self._run_of
            if channel is None:
                return
            if len(channel.members) <= TOLD_PER_LOOK:  # no more than a slice
                self._end_run()
                return
            self._rest = self._in_slices(*self._take_run(channel))

    def _take_run(self, channel: Channel) -> tuple[Iterable[Write], list[bytes], bytes]:
        """Take the run of a channel: to whom it is to be written, its frames, and these in one piece."""
        writes, run = channel.members.values(), self._run
        self._counters.delivered += len(writes) * len(run)
        self._run, self._run_of, self._run_bytes = [], None, 0
        return writes, run, b"".join(run)

    def _in_slices(self, writes: Iterable[Write], run: list[bytes], joined: bytes) -> Iterator[None]:
        """Hand out a run; a step is some clients."""
        rest = iter(writes)
        while some := tuple(islice(rest, TOLD_PER_LOOK)):
            for write in some:
                write(*run, joined=joined)
            yield

    def _announce(self, node: str, concerned: Mapping[str, int]) -> Iterator[None]:
        """Tell each client concerned; a step is some of them."""
        told: set[str] = set()
        for room_id in concerned:
            room = self._rooms.find(room_id)
            for subscription in room.subscribers.values() if room is not None else ():
                session = subscription.session
                if session.id in told:
                    continue
                told.add(session.id)
                lost = [
                    RoomLoss(each.room.id, list(each.channels), concerned[each.room.id] or None)
                    for each in self._rooms.subscriptions(session)
                    if each.room.id in concerned
                ]
                loss = LossNotification(origin=node, node=self._node_id, timestamp=self._now_ms(), rooms=lost)
                session.write(text_frame(encode_json(loss)))
                self._counters.losses_announced += 1
                if len(told) % TOLD_PER_LOOK == 0:
                    yield
