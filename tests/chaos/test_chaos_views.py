"""The comparison of nodes with each other and with their clients finds each number that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import attrs
import pytest

from support.chaos_views import Told, check_balance, check_clients, check_hand_over, check_views


def link(count: int) -> dict[str, Any]:
    """To a peer to which as many were sent as came from it; of the others' three one was repaired and one lost."""
    became = {"notifications": count, "delivered": count - 2, "repaired": 1, "lost": 1}
    return {
        "knows_us": True,
        "slice": {"applied": 5, "tail": 5},
        "sent": became | {"in_flight": 0},
        "received": became | {"held": 0},
    }


def node(name: str, *others: str) -> dict[str, Any]:
    peers = [
        {"id": other, "ready": True, "state": "live", "epoch": f"{other}.0", "rooms": 1, "link": link(3)}
        for other in others
    ]
    clients = {
        "attached": 3,
        "published": 3,
        "delivered": 10,
        "held": 0,
        "received": 2 * len(others),
        "forwarded": 3 * len(others),
        "losses_announced": 1,
        "dropped": {"no_room": 0},
        "frames_dropped": {"slow_client": 0},
    }
    current = {"epoch": f"{name}.0", "rooms": 1, "clients": clients, "dropped": {}}
    return {"count": 1 + len(others), "current": current, "pool": peers, "unreachable": []}


SEEN = Told(attached=3, published=3, delivered=10, losses=1)


@pytest.fixture
def statuses() -> dict[str, Any]:
    """Of three nodes that are well."""
    return {"a": node("a", "b", "c"), "b": node("b", "a", "c"), "c": node("c", "a", "b")}


def check(statuses: dict[str, Any]) -> None:
    check_views(statuses)
    check_balance(statuses)
    for name, status in statuses.items():
        check_hand_over(name, status)
        check_clients(name, status, SEEN)


def test_what_is_well_is_found_well(statuses: dict[str, Any]) -> None:
    check(statuses)


def test_books_of_who_is_not_there_do_not_balance(statuses: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="b is not in the cluster"):
        check_balance({"b": None})
    del statuses["c"]
    with pytest.raises(AssertionError, match="c does not see a"):
        check_balance(statuses)
    statuses["b"]["pool"].clear()
    with pytest.raises(AssertionError, match="b does not see a"):
        check_balance(statuses)


def test_what_a_sender_cannot_hear_of_it_need_not_know(statuses: dict[str, Any]) -> None:
    statuses["a"]["pool"][0]["link"]["sent"].update(delivered=0, in_flight=1)
    with pytest.raises(AssertionError, match="a to b"):
        check_balance(statuses)
    with pytest.raises(AssertionError, match="a to b"):
        check_balance(statuses, [("b", "a")])
    check_balance(statuses, [("a", "b")])
    statuses["a"]["pool"][0]["link"]["sent"].update(notifications=4)
    with pytest.raises(AssertionError, match="a to b"):
        check_balance(statuses, [("a", "b")])


PLANTED: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda a: a.update(count=2), "a counts 2"),
    (lambda a: a["pool"].pop(), r"a sees \['b'\]"),
    (lambda a: a["unreachable"].append({"id": "b"}), "a does not reach {'b'}"),
    (lambda a: a["pool"][0].update(ready=False), "a of b: not ready"),
    (lambda a: a["pool"][0].update(state="silent"), "a of b: silent"),
    (lambda a: a["pool"][0].update(epoch="old"), "a of b: old"),
    (lambda a: a["pool"][0].update(rooms=2), "a of b: 2 rooms, and it has 1"),
    (lambda a: a["pool"][0]["link"].update(knows_us=False), "a of b: it does not know us"),
    (lambda a: a["pool"][0]["link"]["slice"].update(applied=4), "a of b: {'applied': 4"),
    (lambda a: a["pool"][0]["link"]["sent"].update(in_flight=1), "a to b"),
    (lambda a: a["pool"][0]["link"]["sent"].update(notifications=4), "a to b"),
    (lambda a: a["pool"][0]["link"]["sent"].update(delivered=0), "delivered: a to b"),
    (lambda a: a["pool"][0]["link"]["sent"].update(repaired=0), "repaired: a to b"),
    (lambda a: a["pool"][0]["link"]["sent"].update(lost=0), "lost: a to b"),
    (lambda a: a["pool"][0]["link"]["received"].update(held=1), "b to a"),
    (lambda a: a["pool"][0]["link"]["received"].update(delivered=2), "b to a"),
    (lambda a: a["pool"][0]["link"]["received"].update(notifications=4), "b to a"),
    (lambda a: a["current"]["clients"].update(forwarded=5), "a forwarded 5, and its mesh sent 6"),
    (lambda a: a["current"]["clients"].update(received=3), "a: the mesh had 4, the server 3"),
    (lambda a: a["current"]["clients"].update(attached=2), r"a counts Told\(attached=2"),
    (lambda a: a["current"]["clients"].update(published=2), "published=2"),
    (lambda a: a["current"]["clients"].update(delivered=9), "delivered=9"),
    (lambda a: a["current"]["clients"].update(losses_announced=0), "losses=0"),
    (lambda a: a["current"]["clients"].update(held=1), "a holds 1 back"),
    (lambda a: a["current"]["clients"]["dropped"].update(no_room=1), "a dropped {'no_room': 1}"),
    (
        lambda a: a["current"]["clients"]["frames_dropped"].update(slow_client=1),
        "a dropped {'slow_client': 1}",
    ),
    (lambda a: a["current"]["dropped"].update({"peer gone": 1}), "a dropped {'peer gone': 1}"),
]


@pytest.mark.parametrize(("plant", "complaint"), PLANTED)
def test_each_wrong_number_is_found(
    statuses: dict[str, Any], plant: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    wrong = deepcopy(statuses)
    plant(wrong["a"])
    with pytest.raises(AssertionError, match=complaint):
        check(wrong)


def test_a_node_that_is_not_ready_is_found(statuses: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="b is not ready"):
        check_views(statuses | {"b": None})


def test_what_clients_saw_and_the_node_did_not_count_is_found(statuses: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="and its clients Told"):
        check_clients("a", statuses["a"], attrs.evolve(SEEN, delivered=11))
