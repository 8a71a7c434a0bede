"""The judge of the chaos tests finds what it has to find: each kind of fault is planted, and nothing else is blamed."""

from __future__ import annotations

import pytest

from support.chaos_record import Author, Record, Subscriber


@pytest.fixture
def record() -> Record:
    return Record()


def send(author: Author, count: int, at: float = 1.0, *, acknowledged: bool = True) -> None:
    for _ in range(count):
        number = author.sends(at)
        if acknowledged:
            author.got_acknowledged(number, at)


def see(subscriber: Subscriber, author: Author, *numbers: int, at: float = 2.0) -> None:
    for number in numbers:
        subscriber.saw(author.name, number, author.node, at)


def pair(record: Record, count: int = 0, *, acknowledged: bool = True) -> tuple[Author, Subscriber]:
    """One subscriber, and an author that sends after it subscribed."""
    subscriber = record.subscriber("b", "boats")
    author = record.author("a", "boats")
    send(author, count, acknowledged=acknowledged)
    return author, subscriber


def test_exactly_once_and_in_order_is_well(record: Record) -> None:
    author, subscriber = pair(record, 5)
    assert record.waits_for() is not None
    see(subscriber, author, 1, 2, 3, 4, 5)
    assert record.waits_for() is None
    assert record.violations() == []


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [
        ((1, 2, 4, 5), "3 of author-0 on a was acknowledged, and is missing unannounced"),
        ((2, 3, 4, 5), "1 of author-0 on a was acknowledged, and is missing unannounced"),
        ((1, 2, 3, 4), "5 of author-0 on a was acknowledged, and is missing unannounced"),
        ((), "1 of author-0 on a was acknowledged, and is missing unannounced"),
        ((1, 2, 3, 3, 4, 5), "of author-0, 3 came twice"),
        ((1, 2, 3, 4, 5, 1), "of author-0, 1 came twice"),
        ((1, 2, 4, 3, 5), "of author-0, 3 came after 4: out of order"),
        ((2, 1, 3, 4, 5), "of author-0, 1 came after 2: out of order"),
        ((1, 2, 3, 4, 5, 6), "author-0 never sent 6"),
        ((0, 1, 2, 3, 4, 5), "author-0 never sent 0"),
    ],
)
def test_a_planted_fault_is_found_and_only_that(
    record: Record, numbers: tuple[int, ...], complaint: str
) -> None:
    author, subscriber = pair(record, 5)
    see(subscriber, author, *numbers)
    violations = record.violations()
    assert complaint in violations[0]
    assert len(violations) == max(1, 5 - len(set(numbers)))


def test_a_message_from_nowhere_or_from_the_wrong_node_or_topic_is_found(record: Record) -> None:
    author, subscriber = pair(record, 1)
    stranger = record.author("a", "cars")
    send(stranger, 1)
    see(subscriber, author, 1)
    subscriber.saw("nobody", 1, "a", 2.0)
    see(subscriber, stranger, 1)
    subscriber.saw(author.name, 1, "c", 2.0)
    assert len(record.violations()) == 3


def test_what_was_never_acknowledged_may_come_or_not(record: Record) -> None:
    author, subscriber = pair(record, 3)
    send(author, 3, acknowledged=False)
    author.is_attached = False
    see(subscriber, author, 1, 2, 3, 5)
    assert record.waits_for() is None
    assert record.violations() == []


def test_an_attached_author_that_gets_no_answer_is_found(record: Record) -> None:
    author, subscriber = pair(record, 2, acknowledged=False)
    see(subscriber, author, 1, 2)
    assert "2 are not answered" in str(record.waits_for())
    assert "never answered" in record.violations()[0]


def test_what_was_refused_must_not_arrive_and_need_not(record: Record) -> None:
    author, subscriber = pair(record, 2)
    send(author, 2, acknowledged=False)
    author.refused |= {3, 4}
    see(subscriber, author, 1, 2)
    assert record.waits_for() is None
    assert record.violations() == []
    see(subscriber, author, 4)
    assert record.violations() == ["subscriber-0 on b: 4 of author-0 arrived although it was refused"]


def test_a_second_acknowledgement_is_refused(record: Record) -> None:
    author, _ = pair(record, 1)
    with pytest.raises(ValueError, match="one too many"):
        author.got_acknowledged(1, 2.0)
    with pytest.raises(ValueError, match="one too many"):
        author.got_acknowledged(2, 2.0)


def test_what_was_sent_before_the_subscribe_returned_may_come_but_then_without_a_hole(record: Record) -> None:
    author = record.author("a", "boats")
    send(author, 5)
    late, early, holed = (record.subscriber(node, "boats") for node in "bcd")
    send(author, 2)
    see(late, author, 6, 7)
    see(early, author, 3, 4, 5, 6, 7)
    see(holed, author, 3, 5, 6, 7)
    assert [fault for fault in record.violations() if "subscriber-2 on d" not in fault] == []
    assert "4 of author-0 on a was acknowledged" in record.violations()[0]


def test_an_announced_loss_excuses_as_many_as_it_says(record: Record) -> None:
    author, subscriber = pair(record, 5)
    see(subscriber, author, 1, at=2.0)
    subscriber.told_of_loss("a", 2, 3.0)
    see(subscriber, author, 4, 5, at=4.0)
    assert record.violations() == []
    assert record.waits_for() is None


@pytest.mark.parametrize(
    ("node", "count", "at", "complaints"),
    [
        ("a", 1, 3.0, ["is missing unannounced"]),  # too few
        ("a", 3, 3.0, ["1 more of a were announced"]),  # too many
        ("a", 2, 5.0, ["missing unannounced", "missing unannounced", "2 more of a"]),  # after what was behind
        ("a", None, 0.5, ["missing unannounced", "missing unannounced"]),  # before it was sent
        ("a", None, 3.0, ["missing unannounced", "missing unannounced"]),  # of a node that can still be asked
        ("c", None, 3.0, ["missing unannounced", "missing unannounced"]),  # of another node
    ],
)
def test_an_announcement_that_does_not_fit_is_found(
    record: Record, node: str, count: int | None, at: float, complaints: list[str]
) -> None:
    author, subscriber = pair(record, 5)
    see(subscriber, author, 1, at=2.0)
    subscriber.told_of_loss(node, count, at)
    see(subscriber, author, 4, 5, at=4.0)
    violations = record.violations()
    assert len(violations) == len(complaints)
    for complaint, violation in zip(complaints, violations, strict=True):
        assert complaint in violation


def test_a_loss_of_unknown_size_excuses_the_last_words_of_a_node_that_ended(record: Record) -> None:
    author, subscriber = pair(record, 3)
    see(subscriber, author, 1)
    author.is_attached, author.node_ended_at = False, 1.5
    assert record.waits_for() is not None
    subscriber.told_of_loss("a", None, 3.0)
    assert record.waits_for() is None
    assert record.violations() == []
    send(author, 1, at=4.0)
    assert record.waits_for() is not None
    assert "4 of author-0" in record.violations()[0]


def test_what_a_node_said_long_before_its_end_is_no_last_word(record: Record) -> None:
    author, subscriber = pair(record, 2)
    send(author, 2, at=4.5)
    author.is_attached, author.node_ended_at = False, 5.0
    subscriber.told_of_loss("a", None, 6.0)
    assert record.violations() == [
        f"subscriber-0 on b: {number} of author-0 on a was acknowledged, and is missing unannounced"
        for number in (1, 2)
    ]


def test_what_was_published_before_something_that_arrived_is_not_lost_behind_it(record: Record) -> None:
    """Whoever wrote it: what comes from one node comes in order."""
    author, subscriber = pair(record, 1)
    other = record.author("a", "boats")
    send(other, 2, at=1.1)
    see(subscriber, other, 1)
    for one in (author, other):
        one.is_attached, one.node_ended_at = False, 1.5
    subscriber.told_of_loss("a", None, 3.0)
    assert record.violations() == [
        "subscriber-0 on b: 1 of author-0 on a was acknowledged, and is missing unannounced"
    ]


def test_who_subscribes_while_a_node_is_cut_off_may_miss_what_it_published_past_the_room(
    record: Record,
) -> None:
    author, subscriber = pair(record)
    other = record.subscriber("b", "boats")
    send(author, 3)
    subscriber.unknown_to.add("a")
    for one in (subscriber, other):
        one.told_of_loss("a", None, 3.0)
    send(author, 1, at=4.0)
    see(subscriber, author, 4, at=5.0)
    see(other, author, 4, at=5.0)
    assert record.violations() == [
        f"subscriber-1 on b: {number} of author-0 on a was acknowledged, and is missing unannounced"
        for number in (1, 2, 3)
    ]


def test_a_loss_that_never_was_is_found_if_it_was_counted(record: Record) -> None:
    author, subscriber = pair(record, 1)
    see(subscriber, author, 1)
    subscriber.told_of_loss("a", None, 3.0)
    assert record.violations() == [], "nobody could know"
    subscriber.told_of_loss("a", 1, 3.0)
    assert "1 more of a were announced" in record.violations()[0]


def test_who_is_not_attached_any_more_need_not_see_the_rest_but_all_up_to_there(record: Record) -> None:
    author, subscriber = pair(record, 5)
    see(subscriber, author, 1, 3)
    subscriber.is_attached = False
    assert record.waits_for() is None
    assert len(record.violations()) == 1
    assert "2 of author-0" in record.violations()[0]


def test_two_that_see_one_node_in_different_orders_are_found(record: Record) -> None:
    one, other, third = (record.subscriber(node, "boats") for node in "bcd")
    first, second = record.author("a", "boats"), record.author("a", "boats")
    for author in (first, second):
        send(author, 2)
    for subscriber, order in (
        (one, [(first, 1), (second, 1), (first, 2), (second, 2)]),
        (other, [(first, 1), (first, 2), (second, 1), (second, 2)]),
        (third, [(first, 1), (second, 1), (first, 2), (second, 2)]),
    ):
        for author, number in order:
            see(subscriber, author, number)
    assert record.violations() == [
        "subscriber-0 on b and subscriber-1 on c saw the messages of a in different orders"
    ]


def test_many_of_one_kind_are_shortened(record: Record) -> None:
    author, subscriber = pair(record, 1000)
    see(subscriber, author, *range(2, 1001, 2))
    violations = record.violations()
    assert len(violations) == 11
    assert violations[-1] == "… and 490 more like that"
