"""What addresses take up: counted exactly, remembered as long as it matters, and never more than the bound of them."""

from collections import Counter

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.accounts import Account, Accounts
from server.core.buckets import BURST_S
from server.core.limits import Limits
from server.core.refusals import Refusal, RefusalCounters

OFF = Limits(address_connections=0)
A, B, C, D = b"aaaa", b"bbbb", b"cccc", b"dddd"


def entered(accounts: Accounts, key: bytes, now: float = 0.0) -> Account:
    account = accounts.enter(key, now)
    assert account is not None
    return account


def test_an_address_may_have_so_many_connections_and_another_as_many() -> None:
    accounts = Accounts(Limits(address_connections=2))
    first, second = entered(accounts, A), entered(accounts, A)
    assert first is second
    assert accounts.enter(A, 0.0) is None
    entered(accounts, B)
    accounts.leave(first, 0.0)
    assert entered(accounts, A) is second
    assert accounts.enter(A, 0.0) is None


def test_limits_are_kept_only_where_there_are_any() -> None:
    assert not Accounts(OFF).are_kept
    for name in ("address_connections", "address_requests_per_s", "address_bytes_per_s"):
        assert Accounts(attrs.evolve(OFF, **{name: 1})).are_kept
    account = entered(Accounts(OFF), A)
    assert (account.requests, account.bytes) == (None, None)


def test_without_a_limit_for_connections_there_may_be_any_number() -> None:
    accounts = Accounts(attrs.evolve(OFF, address_requests_per_s=1))
    assert len({id(entered(accounts, A)) for _ in range(100)}) == 1


def test_who_connects_anew_does_not_begin_anew() -> None:
    accounts = Accounts(Limits(address_requests_per_s=10))
    account = entered(accounts, A)
    assert account.requests is not None
    assert account.requests.take(100, 0.0) == 20
    accounts.leave(account, 0.0)
    again = entered(accounts, A, 0.1)
    assert again.requests is not None
    assert again.requests.take(100, 0.1) == 1


def test_who_has_used_nothing_lately_is_not_remembered() -> None:
    accounts = Accounts(Limits(address_requests_per_s=10, address_bytes_per_s=10))
    accounts.leave(entered(accounts, A), 0.0)
    assert len(accounts) == 0
    account = entered(accounts, A)
    assert account.bytes is not None
    account.bytes.spend(1, 0.0)
    accounts.leave(account, 0.0)
    assert len(accounts) == 1
    account = entered(accounts, A, 1.0)
    accounts.leave(account, 1.0 + BURST_S)
    assert len(accounts) == 0


def test_a_request_without_a_connection_is_counted_for_its_address() -> None:
    accounts = Accounts(Limits(address_requests_per_s=10))
    visitor = accounts.visit(A, 0.0)
    assert visitor.requests is not None
    assert visitor.requests.take(15, 0.0) == 15
    assert accounts.visit(A, 0.0) is visitor
    assert entered(accounts, A) is visitor
    assert accounts.visit(A, 0.0) is visitor
    accounts.leave(visitor, 0.0)
    assert accounts.visit(A, 0.0) is visitor


def test_the_one_that_was_away_longest_is_forgotten_first() -> None:
    accounts = Accounts(Limits(address_requests_per_s=10), most_away=2)
    seen = {}
    for key in (A, B, C):
        seen[key] = accounts.visit(key, 0.0)
        assert seen[key].requests is not None
        seen[key].requests.take(5, 0.0)
    assert len(accounts) == 2
    assert accounts.visit(B, 0.0) is seen[B]  # which makes C the one that was away longest
    accounts.visit(D, 0.0)
    assert accounts.visit(B, 0.0) is seen[B]
    assert accounts.visit(C, 0.0) is not seen[C]


def test_who_is_settled_makes_room_by_itself() -> None:
    accounts = Accounts(Limits(address_requests_per_s=10))
    for key in (A, B, C):
        bucket = accounts.visit(key, 0.0).requests
        assert bucket is not None
        bucket.take(1, 0.0)
    assert len(accounts) == 3
    accounts.visit(D, 1.0)
    assert len(accounts) == 2
    accounts.visit(D, 1.0)
    assert len(accounts) == 1


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("evl"), st.integers(0, 5), st.integers(0, 30), st.floats(0, 1)), max_size=60
    ),
    most_away=st.integers(1, 3),
)
def test_connections_are_counted_exactly_and_memory_is_bounded(
    steps: list[tuple[str, int, int, float]], most_away: int
) -> None:
    accounts = Accounts(Limits(address_connections=2, address_requests_per_s=5), most_away)
    there: Counter[bytes] = Counter()
    known: dict[bytes, Account] = {}
    now = 0.0
    for what, number, wanted, wait in steps:
        key = bytes([number])
        now += wait
        if what == "l":
            if there[key]:
                there[key] -= 1
                accounts.leave(known[key], now)
            continue
        account = accounts.visit(key, now) if what == "v" else accounts.enter(key, now)
        assert (account is None) == (what == "e" and there[key] == 2)
        if account is not None:
            assert account.requests is not None
            account.requests.take(wanted, now)
            if what == "e":
                there[key] += 1
                assert known.get(key) is account or there[key] == 1
                known[key] = account
            assert account.connections == there[key]
        assert len(accounts) <= sum(1 for count in there.values() if count) + most_away


@pytest.mark.parametrize("times", [1, 2, 4, 8, 1024])
def test_refusals_are_counted_and_said_at_powers_of_two(times: int) -> None:
    counters = RefusalCounters()
    said = [counters.count(Refusal.ORIGIN) for _ in range(times)]
    assert counters.by_reason[Refusal.ORIGIN] == times
    assert counters.by_reason[Refusal.NODE_FULL] == 0
    assert said[-1]
    assert sum(said) == times.bit_length()
