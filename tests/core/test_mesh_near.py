"""Nodes that share a site reach each other by the nearer addresses on their cards; all others by the ordinary ones."""

from __future__ import annotations

import msgspec
import pytest

from cluster.config import MeshConfig
from cluster.core import effects as fx
from cluster.core import messages
from cluster.core.identity import Card, Epoch, Near
from cluster.core.limits import Limits
from cluster.core.node import MeshNode
from cluster.errors import CardError, ConfigurationError
from cluster.keys import Sealer

SEALER = Sealer(None)


def card(name: str, site: str = "") -> Card:
    near = Near(site=site, pub=f"ipc:///{site}/{name}.pub", router=f"ipc:///{site}/{name}.router")
    return Card(
        id=name,
        epoch=Epoch(1, 0),
        pub=f"tcp://127.0.0.1:1{name}",
        router=f"tcp://127.0.0.1:2{name}",
        near=near if site else msgspec.UNSET,
    )


def node(own: Card, seeds: tuple[str, ...] = ()) -> MeshNode:
    return MeshNode(own, Limits(), seal=SEALER.seal, open_card=SEALER.open, now=0, seeds=seeds)


def connections(core: MeshNode, *cards: Card) -> list[tuple[str, str]]:
    """The addresses that the node connects to when it reads these cards in the pool."""
    effects = core.cards_read([SEALER.seal(other) for other in cards], 0)
    seen = [effect.card.seen_from(core.card) for effect in effects if isinstance(effect, fx.Connect)]
    return [(found.pub, found.router) for found in seen]


def test_who_shares_a_site_is_reached_there() -> None:
    assert connections(node(card("a", "here")), card("b", "here")) == [
        ("ipc:///here/b.pub", "ipc:///here/b.router")
    ]


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (card("a"), card("b")),
        (card("a", "here"), card("b")),
        (card("a"), card("b", "here")),
        (card("a", "here"), card("b", "there")),
    ],
)
def test_anybody_else_is_reached_at_the_ordinary_addresses(own: Card, other: Card) -> None:
    assert connections(node(own), other) == [(other.pub, other.router)]


def test_a_card_with_a_nearer_address_travels_and_one_without_is_as_it_was() -> None:
    assert SEALER.open(SEALER.seal(card("a", "here"))) == card("a", "here")
    assert b"near" not in SEALER.seal(card("a"))


def test_a_nearer_address_is_as_bounded_as_any() -> None:
    with pytest.raises(CardError):
        SEALER.open(SEALER.seal(msgspec.structs.replace(card("a"), near=Near(site="", pub="p", router="r"))))


def test_a_nearer_address_that_changes_is_connected_to() -> None:
    core = node(card("a", "here"))
    assert connections(core, card("b", "here"))
    assert connections(core, card("b", "here")) == []
    moved = msgspec.structs.replace(
        card("b", "here"), near=Near(site="here", pub="ipc://p", router="ipc://r")
    )
    assert connections(core, moved) == [("ipc://p", "ipc://r")]


def test_a_seed_that_is_linked_by_its_nearer_address_is_not_asked_again() -> None:
    seed = "ipc:///here/b.router"
    core, other = node(card("a", "here"), (seed,)), node(card("b", "here"))

    def asked(now: float) -> list[str]:
        return [effect.address for effect in core.time_passed(now) if isinstance(effect, fx.AskAt)]

    assert asked(0) == [seed]
    hello = messages.Hello("b", other.epoch, other.sealed_card, 1)
    core.asked(b"b", messages.encode(hello), 0.1)
    assert asked(2) == []


@pytest.mark.parametrize(
    "seed",
    [
        "tcp://10.0.0.5:7510",
        "tcp://node-1.example:7510",
        "tcp://[fd00::5]:7510",
        "tcp://[fe80::1%eth0]:1",
        "ipc:///a b",
    ],
)
def test_a_seed_is_an_address_to_connect_to(seed: str) -> None:
    assert MeshConfig(seeds=(seed,)).seeds == (seed,)


@pytest.mark.parametrize(
    "seed",
    [
        *("http://x", "10.0.0.5:7510", "", "ipc://"),
        *("tcp://host", "tcp://host:", "tcp://host:0", "tcp://host:65536", "tcp://host:*", "tcp://:7510"),
        *("tcp://a b:1", "tcp://[eth0:ipv4]:7510", "tcp://h:1/", "tcp://h:\u0667"),
    ],
)
def test_a_seed_that_is_none_is_refused_with_its_key_and_what_is_allowed(seed: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        MeshConfig(seeds=("tcp://ok:1", seed))
    assert repr(seed) in str(refusal.value)
    assert "seeds" in str(refusal.value)
    assert "tcp://10.0.0.5:7510" in str(refusal.value)
