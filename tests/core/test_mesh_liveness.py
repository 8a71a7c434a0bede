"""The failure detector, with integers for seconds."""

from __future__ import annotations

from cluster.core.limits import Limits
from cluster.core.liveness import Health, Liveness

LIMITS = Limits(silent_after=10, ask_every=3, doubt_again_after=2, down_after=20, unheard_after=30)


def heard_at(now: float) -> Liveness:
    liveness = Liveness(LIMITS, now)
    liveness.heard(now)
    return liveness


def test_a_card_alone_is_not_life() -> None:
    liveness = Liveness(LIMITS, 0)
    assert liveness.health is Health.UNHEARD
    assert liveness.next_deadline() == 30
    assert not liveness.time_passed(29)
    assert liveness.health is Health.UNHEARD
    assert not liveness.time_passed(30)
    assert liveness.health is Health.DOWN


def test_silence_asks_again_and_again_and_then_gives_up() -> None:
    liveness = heard_at(0)
    asked = [second for second in range(25) if liveness.time_passed(second)]
    assert asked == [10, 13, 16, 19]
    assert liveness.health is Health.DOWN
    assert liveness.next_deadline() is None
    assert not liveness.time_passed(30)


def test_deadlines_name_the_moments_of_judgement() -> None:
    liveness = heard_at(0)
    assert liveness.next_deadline() == 10
    liveness.time_passed(10)
    assert liveness.next_deadline() == 13
    liveness.time_passed(19)
    assert liveness.next_deadline() == 20


def test_any_sound_is_a_sign_of_life() -> None:
    liveness = heard_at(0)
    liveness.time_passed(12)
    assert liveness.health is Health.SILENT
    assert liveness.heard(13)
    assert liveness.health is Health.UP
    assert not liveness.heard(14), "nothing new"
    assert liveness.next_deadline() == 24


def test_own_absence_is_not_the_silence_of_others() -> None:
    liveness = heard_at(0)
    liveness.forgive(15, now=19)
    assert not liveness.time_passed(19)
    assert liveness.health is Health.UP
    liveness.forgive(100, now=20)
    assert liveness.last_heard == 20, "nobody is heard in the future"


def test_what_others_heard_keeps_it_from_being_called_dead() -> None:
    liveness = heard_at(0)
    asked = 0
    for second in range(1, 60):
        liveness.vouched(second - 1)
        asked += liveness.time_passed(second)
    assert liveness.health is Health.SILENT, "it is not heard, and so asked, but it lives"
    assert asked > 10
    assert not any(liveness.time_passed(second) for second in range(78, 79))
    assert liveness.health is Health.DOWN
    liveness.vouched(90)
    assert liveness.health is Health.DOWN, "only itself can come back"


def test_a_closed_connection_makes_the_question_immediate() -> None:
    liveness = heard_at(100)
    liveness.hung_up(101)
    assert liveness.next_deadline() == 101
    assert liveness.time_passed(101)
    assert liveness.health is Health.SILENT
    liveness.hung_up(102)
    liveness.time_passed(111)
    assert liveness.health is Health.DOWN
    assert Liveness(LIMITS, 0).health is Health.UNHEARD


def test_one_whose_connection_was_closed_when_it_was_heard_last_has_hung_up() -> None:
    liveness = heard_at(100)
    assert not liveness.has_hung_up
    liveness.hung_up(101)
    assert liveness.has_hung_up
    liveness.heard(111)
    assert liveness.has_hung_up, "what it had sent before is read a moment later"
    liveness.heard(112)
    assert not liveness.has_hung_up


def test_one_that_others_have_heard_since_has_not() -> None:
    liveness = heard_at(100)
    liveness.hung_up(101)
    liveness.vouched(112)
    assert not liveness.has_hung_up


def test_nor_one_whose_connection_was_given_up_after_a_long_silence() -> None:
    liveness = heard_at(100)
    liveness.vouched(125)
    liveness.time_passed(110)
    liveness.hung_up(130)
    assert not liveness.has_hung_up


def test_a_connection_that_closes_and_opens_again_is_no_death() -> None:
    liveness = heard_at(100)
    liveness.hung_up(101)
    liveness.time_passed(101)
    liveness.heard(102)
    assert liveness.health is Health.UP
    assert liveness.next_deadline() == 103, "that may have been on its way already"
    assert liveness.time_passed(103)
    liveness.heard(104)
    assert liveness.health is Health.UP
    assert liveness.next_deadline() == 114


def test_an_answer_ends_the_doubt() -> None:
    liveness = heard_at(100)
    liveness.hung_up(101)
    assert liveness.time_passed(101)
    liveness.heard(102)
    liveness.answered()
    assert liveness.next_deadline() == 112


def test_what_was_on_its_way_when_the_connection_closed_does_not_delay_the_judgement() -> None:
    """A frame of the peer, and a heartbeat of somebody who does not know yet."""
    heard, vouched_for, neither = heard_at(100), heard_at(100), heard_at(100)
    for liveness in (heard, vouched_for, neither):
        liveness.hung_up(101)
        assert liveness.time_passed(101)
    heard.heard(102)
    vouched_for.vouched(102)
    for liveness, down_at in ((heard, 113), (vouched_for, 111), (neither, 111)):
        assert liveness.next_deadline() == 103
        liveness.time_passed(103)
        liveness.time_passed(down_at - 1)
        assert liveness.health is Health.SILENT
        liveness.time_passed(down_at)
        assert liveness.health is Health.DOWN


def test_who_is_still_heard_by_others_lives_although_its_connection_closed() -> None:
    liveness = heard_at(100)
    liveness.hung_up(101)
    liveness.time_passed(101)
    liveness.time_passed(103)
    liveness.vouched(110)
    liveness.time_passed(111)
    assert liveness.health is Health.SILENT
