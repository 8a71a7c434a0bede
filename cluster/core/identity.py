"""Who a node is: its name, its epoch, and the card by which others find it.

Everything a node says is under (node id, epoch), and a higher epoch voids the lower. An epoch has two parts: the
*boot*, new with every process, and the *turn*, new with every reset of the cluster. A restarted node is thus
a different node although its name is the same, while a reset keeps the numbering of its notifications.

No sockets, no clock: the boot number is given by the shell (wall clock in milliseconds, or more if somebody
remembers a later boot of the same name).
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

PROTOCOL = 1
"""The version of the mesh protocol spoken by this code."""

NODE_ID_PATTERN = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z"
"""Lower case, because the id is part of topics and of host-like names; 64 characters at the most."""

NodeId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""Not held to the pattern: what is said under a name that is on no card is not listened to."""

PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
"""What peers say of themselves is shown in terminals and logs, which obey control characters."""

PublicKey = Annotated[str, msgspec.Meta(pattern=r"^(?:[0-9a-f]{64})?\Z")]
"""A public key, 32 bytes in hexadecimal; empty without a secret."""

Address = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=PRINTABLE)]
HIGHEST_NUMBER = 1 << 62
"""What fits in 64 bits with room to reckon."""

Number = Annotated[int, msgspec.Meta(ge=0, le=HIGHEST_NUMBER)]
Version = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


LATEST_BOOT = 1 << 60
"""No clock gives a boot number like this; one that was said is not believed."""


class Epoch(NamedTuple):
    """One life of a node (`boot`), and the resets that this life has seen (`turn`). Later compares higher."""

    boot: Number
    turn: Number

    def next_turn(self) -> Epoch:
        """The epoch that a reset takes: the same life, one turn later."""
        return Epoch(self.boot, self.turn + 1)

    def __str__(self) -> str:
        return f"{self.boot:x}.{self.turn}"


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """A second pair of addresses of a node, cheaper than those of its card, for those who are at the same `site`.

    The site is what they have in common that makes the addresses work, such as a directory that the processes of one
    server share; two that name the same site can reach each other there."""

    site: Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=PRINTABLE)]
    pub: Address
    router: Address


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a node tells of itself in the pool and in `hello`.

    `pub` and `router` are the ZeroMQ addresses that others connect to; `url` is where clients reach the node (empty
    when it has not said); `protocol` is the lowest and highest mesh protocol it speaks; `started_at` is
    wall clock, milliseconds since 1970, for people to read and never compared; `near` may be left out. `server_key` is
    what `pub` and `router` answer to, and `key` what the node subscribes with, made anew for each of its lives.
    """

    id: Annotated[str, msgspec.Meta(pattern=NODE_ID_PATTERN)]
    epoch: Epoch
    pub: Address
    router: Address
    url: Annotated[str, msgspec.Meta(max_length=512, pattern=PRINTABLE)] = ""
    version: Annotated[str, msgspec.Meta(max_length=64, pattern=PRINTABLE)] = ""
    protocol: tuple[Version, Version] = (PROTOCOL, PROTOCOL)
    host: Annotated[str, msgspec.Meta(max_length=256, pattern=PRINTABLE)] = ""
    started_at: Number = 0
    near: Near | msgspec.UnsetType = msgspec.UNSET
    server_key: PublicKey = ""
    key: PublicKey = ""

    def seen_from(self, other: Card) -> Card:
        """This card with the addresses at which the other node reaches this one best."""
        if self.near is msgspec.UNSET or other.near is msgspec.UNSET or self.near.site != other.near.site:
            return self
        return msgspec.structs.replace(self, pub=self.near.pub, router=self.near.router)

    def speaks_with(self, other: Card) -> bool:
        """Whether the two protocol ranges have a version in common."""
        return self.protocol[0] <= other.protocol[1] and other.protocol[0] <= self.protocol[1]

    def versions_with(self, other: Card) -> str:
        """What each of the two speaks, for people, when they have no version in common."""
        mine, its = _span(self.protocol), _span(other.protocol)
        return f"{self.id} speaks {mine} of the mesh protocol, {other.id} {its}: upgrade the older one"


def _span(protocol: tuple[int, int]) -> str:
    low, high = protocol
    return f"version {low}" if low == high else f"versions {low} to {high}"


class Me:
    """What every part of the core needs to know of this node: its name, its card and epoch of the moment, and numbers
    used once."""

    __slots__ = ("_nonce", "card", "epoch", "has_parted", "id", "is_serving", "sealed_card", "takes_clients")

    def __init__(self, card: Card, sealed_card: bytes) -> None:
        self.id = card.id
        self.is_serving = False
        self.has_parted = False
        self.takes_clients = True
        self._nonce = 0
        self.take_card(card, sealed_card)

    def take_card(self, card: Card, sealed_card: bytes) -> None:
        """A new epoch, and so a new card."""
        self.card = card
        self.epoch = card.epoch
        self.sealed_card = sealed_card

    def nonce(self) -> int:
        """A number that tells an answer to this question from the answers to earlier ones."""
        self._nonce += 1
        return self._nonce
