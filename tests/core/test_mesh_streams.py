"""Numbered streams: in order, once, and every hole has a name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.core.streams import Inbound, Outbound


def outbound(
    log_bytes: int, log_age: float = 60, remains_limit: int = 0, remains_bytes: int = 1000
) -> Outbound[str, str]:
    """Of each item its upper case remains, which weighs half."""
    return Outbound(
        log_bytes,
        log_age,
        lambda item, size: (item.upper(), size // 2),
        remains_limit=remains_limit,
        remains_bytes=remains_bytes,
    )


def inbound(held_limit: int = 10, position: int = 0, held_bytes: int = 1000) -> Inbound[str]:
    """Each item weighs ten times its length."""
    return Inbound(held_limit, position, held_bytes=held_bytes, weigh=lambda item: 10 * len(item))


class TestOutbound:
    def test_numbers_from_one_and_reads_back(self) -> None:
        stream: Outbound[str, str] = outbound(100)
        assert [stream.extend([item], [10], now=0) for item in "abc"] == [1, 2, 3]
        assert (stream.tail, stream.oldest, stream.bytes_logged) == (3, 1, 30)
        assert stream.read(2, 3, max_items=10, max_bytes=1000) == ["b", "c"]
        assert stream.read(4, 9, max_items=10, max_bytes=1000) == []

    def test_log_is_bounded_by_bytes_and_a_cut_is_said(self) -> None:
        stream: Outbound[str, str] = outbound(25)
        for item in "abcd":
            stream.extend([item], [10], now=0)
        assert (stream.oldest, stream.bytes_logged) == (3, 20)
        assert stream.read(2, 4, max_items=10, max_bytes=1000) is None
        assert stream.read(3, 4, max_items=10, max_bytes=1000) == ["c", "d"]

    def test_what_was_cut_leaves_remains_within_a_bound(self) -> None:
        stream = outbound(25, remains_limit=2)
        for item in "abcde":
            stream.extend([item], [10], now=0)
        assert (stream.oldest, stream.first_remains) == (4, 2)
        assert stream.remains(2, 3, max_items=9, max_bytes=99) == ["B", "C"]
        assert stream.remains(2, 9, max_items=1, max_bytes=99) == ["B"]
        assert stream.remains(3, 9, max_items=9, max_bytes=99) == ["C"]
        assert stream.remains(1, 3, max_items=9, max_bytes=99) == [], "of the first nothing is known any more"
        stream.confirm(2)
        assert stream.first_remains == 3
        stream.confirm(4)
        assert (stream.first_remains, stream.oldest) == (5, 5)

    def test_age_cuts_too(self) -> None:
        stream = outbound(1000, log_age=10, remains_limit=9)
        stream.extend(["a"], [10], now=0)
        stream.extend(["b"], [10], now=8)
        stream.expire(now=10)
        assert stream.oldest == 1
        stream.expire(now=11)
        assert (stream.oldest, stream.remains(1, 1, 9, 99)) == (2, ["A"])

    def test_an_item_larger_than_the_log_is_cut_at_once(self) -> None:
        stream: Outbound[str, str] = outbound(5)
        assert stream.extend(["x"], [10], now=0) == 1
        assert (stream.oldest, stream.bytes_logged) == (2, 0)

    def test_reads_within_both_bounds_but_at_least_one(self) -> None:
        stream: Outbound[str, str] = outbound(1000)
        for item in "abcd":
            stream.extend([item], [10], now=0)
        assert stream.read(1, 4, max_items=2, max_bytes=1000) == ["a", "b"]
        assert stream.read(1, 4, max_items=9, max_bytes=25) == ["a", "b"]
        assert stream.read(1, 4, max_items=9, max_bytes=1) == ["a"]

    def test_confirmed_items_leave_the_log(self) -> None:
        stream: Outbound[str, str] = outbound(1000)
        for item in "abcd":
            stream.extend([item], [10], now=0)
        stream.confirm(2)
        assert (stream.oldest, stream.bytes_logged) == (3, 20)
        stream.confirm(4)
        assert (stream.oldest, stream.bytes_logged) == (5, 0)

    def test_a_peer_cannot_confirm_what_was_never_said(self) -> None:
        stream: Outbound[str, str] = outbound(1000)
        stream.extend(["a"], [10], now=0)
        stream.confirm(7)
        assert stream.read(1, 1, max_items=1, max_bytes=100) == ["a"]


class TestInbound:
    def test_in_order_is_given_on_as_it_is(self) -> None:
        stream: Inbound[str] = inbound(held_limit=10)
        items = ["a", "b"]
        assert stream.take(1, items) is items
        assert (stream.position, stream.missing()) == (2, None)

    def test_what_is_ahead_waits_for_the_hole(self) -> None:
        stream: Inbound[str] = inbound(held_limit=10)
        assert list(stream.take(3, ["c"])) == []
        assert (stream.missing(), stream.held) == ((1, 2), 1)
        assert list(stream.take(1, ["a", "b"], is_resent=True)) == ["a", "b", "c"]
        assert (stream.position, stream.held, stream.repaired) == (3, 0, 2)

    def test_a_resent_run_without_a_queue_counts_as_repaired(self) -> None:
        stream: Inbound[str] = inbound(held_limit=10)
        stream.learn_tail(2)
        assert list(stream.take(1, ["a", "b"], is_resent=True)) == ["a", "b"]
        assert stream.repaired == 2

    def test_duplicates_are_dropped_and_counted(self) -> None:
        stream: Inbound[str] = inbound(held_limit=10)
        stream.take(1, ["a", "b"])
        stream.take(4, ["d"])
        assert list(stream.take(1, ["a", "b", "c", "d"])) == ["c", "d"]
        assert stream.duplicates == 3

    def test_a_tail_shows_what_was_lost_last(self) -> None:
        stream: Inbound[str] = inbound(held_limit=10, position=5)
        stream.learn_tail(5)
        assert stream.missing() is None
        stream.learn_tail(8)
        assert stream.missing() == (6, 8)

    def test_over_the_bound_items_are_forgotten_and_missed_again(self) -> None:
        stream: Inbound[str] = inbound(held_limit=2)
        stream.take(2, ["b", "c", "d"])
        assert stream.held == 2
        assert list(stream.take(1, ["a"])) == ["a", "b", "c"]
        assert stream.missing() == (4, 4)

    def test_giving_up_counts_only_what_is_not_here(self) -> None:
        stream: Inbound[str] = inbound(held_limit=10)
        stream.take(3, ["c"])
        stream.take(6, ["f"])
        lost, ready = stream.give_up(6)
        assert (lost, list(ready)) == (4, ["c", "f"])
        assert stream.delivered == 2
        assert (stream.position, stream.lost, stream.missing()) == (6, 4, None)

    def test_what_nobody_waits_for_is_forgotten(self) -> None:
        stream: Inbound[str] = inbound(held_limit=10)
        stream.take(3, ["c"])
        stream.forget_held()
        assert (stream.held, stream.missing(), stream.position) == (0, None, 0)

    def test_giving_up_beyond_the_tail_moves_it(self) -> None:
        stream: Inbound[str] = inbound(held_limit=10)
        assert stream.give_up(4) == (3, [])
        assert (stream.position, stream.tail) == (3, 3)

    def test_giving_up_any_number_takes_no_time(self) -> None:
        """How much is missing is a peer's word."""
        stream: Inbound[str] = inbound(held_limit=10)
        stream.take(3, ["c"])
        stream.learn_tail(1 << 62)
        assert stream.give_up((1 << 62) + 1) == ((1 << 62) - 1, ["c"])


@given(
    length=st.integers(1, 60),
    held_limit=st.integers(1, 20),
    held_bytes=st.integers(1, 300),
    arrivals=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 8)), max_size=60),
)
def test_any_arrivals_are_given_on_once_and_in_order(
    length: int, held_limit: int, held_bytes: int, arrivals: list[tuple[int, int]]
) -> None:
    stream: Inbound[int] = Inbound(held_limit, held_bytes=held_bytes, weigh=lambda number: number)
    stream.learn_tail(length)
    got: list[int] = []
    for first, size in arrivals:
        got += stream.take(first, [n for n in range(first, first + size) if n <= length] or [first])
        assert stream.held <= held_limit
        assert stream.held_bytes == sum(stream._held) <= held_bytes
    while (hole := stream.missing()) is not None:
        first, last = hole
        got += stream.take(first, list(range(first, last + 1)), is_resent=True)
    assert got == list(range(1, stream.tail + 1))


@given(
    sizes=st.lists(st.integers(1, 50), max_size=40),
    limit=st.integers(1, 200),
    remains_bytes=st.integers(1, 200),
    confirmed=st.integers(0, 50),
)
def test_a_log_holds_the_latest_and_stays_in_its_bound(
    sizes: list[int], limit: int, remains_bytes: int, confirmed: int
) -> None:
    stream: Outbound[int, int] = Outbound(
        limit, 60, lambda number, size: (number, size), remains_limit=5, remains_bytes=remains_bytes
    )
    for number, size in enumerate(sizes, 1):
        assert stream.extend([number], [size], now=0) == number
        assert stream.bytes_logged <= limit
        known = range(stream.first_remains, stream.oldest)
        assert len(known) <= 5
        assert stream.remains_bytes == sum(sizes[number - 1] for number in known) <= remains_bytes
    stream.confirm(confirmed)
    held = stream.read(stream.oldest, stream.tail, max_items=1000, max_bytes=10_000)
    assert held == list(range(stream.oldest, stream.tail + 1))
