"""What is held for a subscriber until its reply: in order, counted, and with an end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.holds import HELD_TOO_MANY, LEFT_BEFORE_REPLY, DeliveryCounters, Hold
from server.core.session import Session


class Client:
    def __init__(self, limit: int) -> None:
        self.frames: list[bytes] = []
        self.closed: list[tuple[int, str]] = []
        self.counters = DeliveryCounters()
        session = Session(
            id="a",
            protocol="websocket",
            remote="test",
            write=self.frames.append,
            close=lambda code, reason: self.closed.append((code, reason)),
        )
        self.hold = Hold(session, limit, self.counters)

    def tell(self, count: int) -> None:
        for number in range(count):
            self.counters.delivered += 1  # as the engine does for every member
            self.hold.write(b"%d" % number)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_what_was_held_is_sent_in_order_at_the_release(count: int) -> None:
    client = Client(limit=3)
    client.tell(count)
    assert client.frames == []
    assert (client.counters.delivered, client.counters.held) == (0, count)
    client.hold.release()
    assert client.frames == [b"0", b"1", b"2"][:count]
    assert (client.counters.delivered, client.counters.held) == (count, 0)


def test_over_the_limit_the_client_is_closed_and_told_why() -> None:
    client = Client(limit=3)
    client.tell(6)
    assert client.closed == [(1011, "too many notifications before the reply to a subscribe")]
    client.hold.release()
    assert client.frames == []
    assert client.counters.dropped[HELD_TOO_MANY] == 6


def test_what_is_held_for_one_who_left_is_counted() -> None:
    client = Client(limit=3)
    client.tell(2)
    client.hold.discard(LEFT_BEFORE_REPLY)
    client.hold.release()
    assert client.frames == []
    assert client.counters.dropped[LEFT_BEFORE_REPLY] == 2


@given(st.integers(1, 5), st.lists(st.one_of(st.integers(0, 4), st.sampled_from(["release", "discard"]))))
def test_every_notification_is_delivered_held_or_dropped(limit: int, steps: list[int | str]) -> None:
    client = Client(limit)
    told = 0
    for step in steps:
        if step == "release":
            client.hold.release()
        elif step == "discard":
            client.hold.discard(LEFT_BEFORE_REPLY)
        else:
            client.tell(int(step))
            told += int(step)
        counters = client.counters
        assert counters.delivered + counters.held + sum(counters.dropped.values()) == told
        assert counters.delivered == len(client.frames)
        assert counters.held <= limit
