"""A sealed card, from Redis or with a hello. The law: it opens or is refused with `CardError`; and

- a card that opens is sealed and opened again as the same;
- its name, and what a terminal would show of it, is harmless;
- with a secret, nothing opens but what somebody with the secret has sealed, and never what opens without one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec

from cluster.core.identity import Card, Epoch, Near
from cluster.errors import CardError
from cluster.keys import CARD_BYTES, Sealer
from support.documents import ROOT
from support.fuzz_engine import Target
from support.fuzz_mutations import change_bytes, change_json, either

OPEN = Sealer(None)
LOCKED = Sealer("the secret", "the former secret")
OUTSIDE = Sealer("another secret")

GROWTH_BYTES = 600
"""What a card may be longer by than what it was read from: all that it does not say is written out."""

NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

PLAIN = Card(id="b", epoch=Epoch(1, 0), pub="tcp://127.0.0.1:1", router="ipc:///tmp/b")
FULL = Card(
    id="brave-otter-3f9c",
    epoch=Epoch(1_700_000_000_000, 3),
    pub="tcp://10.0.0.5:7511",
    router="tcp://10.0.0.5:7510",
    url="http://n1:7512",
    version="0.1.0",
    protocol=(1, 2),
    host="n1",
    started_at=1_700_000_000_000,
    near=Near(site="s", pub="ipc:///s/p", router="ipc:///s/r"),
    server_key="94" * 32,
    key="ab" * 32,
)
KNOWN = (PLAIN, FULL)


def check(data: bytes) -> None:
    """Open it with and without a secret."""
    opened = [_checked(sealer, data) for sealer in (OPEN, LOCKED, OUTSIDE)]
    without, within, outside = opened
    assert outside is None
    assert within is None or within in KNOWN
    assert without is None or within is None


def _checked(sealer: Sealer, data: bytes) -> Card | None:
    try:
        card = sealer.open(data)
    except CardError:
        return None
    assert NAME.fullmatch(card.id), card.id
    for text in (card.pub, card.router, card.url, card.version, card.host, card.server_key, card.key):
        assert not CONTROL.search(text), text
    assert card.near is msgspec.UNSET or not CONTROL.search(card.near.site + card.near.pub + card.near.router)
    if len(data) <= CARD_BYTES - GROWTH_BYTES:
        assert sealer.open(sealer.seal(card)) == card
    assert card.speaks_with(card) or card.protocol[0] > card.protocol[1]
    assert card.versions_with(FULL)
    assert card.seen_from(FULL).id == card.id
    return card


def seeds() -> Iterator[bytes]:
    """Cards with and without a secret, and the one that is recorded."""
    for sealer in (OPEN, LOCKED, Sealer("the former secret")):
        for card in KNOWN:
            yield sealer.seal(card)
    yield json.loads((ROOT / "tests" / "vectors" / "mesh-v1.json").read_text())["card"].encode()


TARGET = Target(check, seeds, either(change_json, change_json, change_bytes))
