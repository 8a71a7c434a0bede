"""Sealing: a card carries an HMAC of the cluster's secret, so that nobody joins who does not know it.

The sealed card is JSON, to be read by people in the pool too. Without a secret the seal is empty, and such a node
accepts only empty seals: a node with a secret and one without never join each other. It does not encrypt.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from cluster.core.identity import Card
from cluster.errors import CardError

CARD_BYTES = 8192
"""The largest sealed card: ten times what a real one takes."""


class _Sealed(msgspec.Struct, frozen=True):
    card: msgspec.Raw
    seal: str


class Sealer:
    """Seals the cards of this node and checks those of others, with one secret."""

    def __init__(self, secret: str | None) -> None:
        self._key = (
            None if secret is None else hashlib.sha256(b"shoal card seal\0" + secret.encode()).digest()
        )

    def seal(self, card: Card) -> bytes:
        """The card as JSON with its seal."""
        body = msgspec.json.encode(card)
        return msgspec.json.encode(_Sealed(msgspec.Raw(body), self._seal(body)))

    def open(self, sealed: bytes) -> Card:
        """The card in `sealed`. Raises `CardError` when it is malformed or its seal is not of our secret."""
        if len(sealed) > CARD_BYTES:
            raise CardError(f"a card of {len(sealed)} bytes; at most {CARD_BYTES} are read")
        try:
            envelope = msgspec.json.decode(sealed, type=_Sealed)
            body = bytes(envelope.card)
            if not hmac.compare_digest(self._seal(body).encode(), envelope.seal.encode()):
                raise CardError("the seal does not fit: is the secret the same on all nodes?")
            return msgspec.json.decode(body, type=Card)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise CardError(f"not a card: {error}") from error

    def _seal(self, body: bytes) -> str:
        return "" if self._key is None else hmac.new(self._key, body, hashlib.sha256).hexdigest()
