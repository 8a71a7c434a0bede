"""How much in a second: the law of the bucket, for any order of asking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.buckets import BURST_S, Bucket


def test_a_bucket_gives_what_it_holds_and_then_what_comes() -> None:
    bucket = Bucket(10, now=100.0)
    assert bucket.take(5, 100.0) == 5
    assert bucket.take(50, 100.0) == 15
    assert bucket.take(1, 100.0) == 0
    assert bucket.take(1, 100.09) == 0
    assert bucket.take(9, 100.35) == 3
    assert bucket.take(100, 1_000.0) == 20


def test_what_is_spent_without_being_there_is_owed_and_paid_by_time() -> None:
    bucket = Bucket(1_000, now=0.0)
    assert bucket.debt_s(0.0) == 0
    bucket.spend(5_000, 0.0)
    assert bucket.debt_s(0.0) == pytest.approx(3.0)
    assert bucket.take(1, 1.0) == 0
    assert bucket.debt_s(1.0) == pytest.approx(2.0)
    assert bucket.debt_s(3.0) == 0
    assert not bucket.is_full(4.9)
    assert bucket.is_full(5.0)


def test_time_that_goes_back_gives_nothing() -> None:
    bucket = Bucket(10, now=10.0)
    assert bucket.take(20, 10.0) == 20
    assert bucket.take(1, 5.0) == 0
    assert bucket.take(10, 10.5) == 5


steps = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 50)), min_size=1, max_size=40)


@given(per_s=st.integers(1, 100), steps=steps)
def test_between_any_two_moments_no_more_is_given_than_a_bucket_and_what_came(
    per_s: int, steps: list[tuple[float, int]]
) -> None:
    bucket, now, given_at = Bucket(per_s, now=0.0), 0.0, []
    for wait, wanted in steps:
        now += wait
        taken = bucket.take(wanted, now)
        assert 0 <= taken <= wanted
        given_at.append((now, taken))
    for i, (since, _) in enumerate(given_at):
        given_since = 0
        for until, taken in given_at[i:]:
            given_since += taken
            assert given_since <= per_s * (BURST_S + until - since) + 1e-6


@given(per_s=st.integers(1, 100), steps=steps)
def test_who_waits_as_long_as_it_owes_never_gets_ahead_by_more_than_one_step(
    per_s: int, steps: list[tuple[float, int]]
) -> None:
    bucket, now, spent = Bucket(per_s, now=0.0), 0.0, 0
    for wait, amount in steps:
        now += wait + bucket.debt_s(now + wait)
        bucket.spend(amount, now)
        spent += amount
        assert spent <= per_s * (BURST_S + now) + amount + 1e-6


@given(per_s=st.integers(1, 100), wanted=st.integers(1, 300))
def test_a_bucket_that_is_full_again_is_like_a_new_one(per_s: int, wanted: int) -> None:
    used, new = Bucket(per_s, now=0.0), Bucket(per_s, now=0.0)
    used.take(wanted, 0.0)
    later = BURST_S + 0.001
    assert used.is_full(later)
    assert used.take(wanted, later) == new.take(wanted, later)
