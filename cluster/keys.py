"""What comes of the cluster's secret: the seals of cards, and the keys with which the sockets of the mesh are locked.

Every key is derived from the secret and the cluster's name (HKDF, RFC 5869), one for each use. A node knows one
secret, or two while the secret is being changed: it then shows itself in a way that those who know either believe, so
nodes with the former one, with both and with the new one work together.

Without a secret the seal is empty, nothing is locked, and such a node accepts only empty seals: a node with a secret
and one without never join each other.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

import msgspec
import zmq
from zmq.utils import z85

from cluster.core.identity import Card
from cluster.errors import CardError

CARD_BYTES = 8192
"""The largest sealed card: ten times what a real one takes."""


class _Sealed(msgspec.Struct, frozen=True, omit_defaults=True):
    card: msgspec.Raw
    seal: str
    former_seal: str = ""


class Sealer:
    """Seals the cards of this node and checks those of others, with the secrets of one cluster."""

    def __init__(
        self, secret: str | None, former_secret: str | None = None, *, cluster: str = "default"
    ) -> None:
        known = [known for known in (secret, former_secret) if known is not None]
        self._keys = [_derive(known, cluster, "card seal") for known in known]

    def seal(self, card: Card) -> bytes:
        """The card as JSON with its seals."""
        body = msgspec.json.encode(card)
        return msgspec.json.encode(
            _Sealed(msgspec.Raw(body), *[_hmac(key, body) for key in self._keys] or [""])
        )

    def open(self, sealed: bytes) -> Card:
        """The card in `sealed`. Raises `CardError` when it is malformed or no seal is of a secret that we know."""
        if len(sealed) > CARD_BYTES:
            raise CardError(f"a card of {len(sealed)} bytes; at most {CARD_BYTES} are read")
        try:
            envelope = msgspec.json.decode(sealed, type=_Sealed)
            body = bytes(envelope.card)
            if not self._is_sealed(body, envelope):
                raise CardError("the seal does not fit: is the secret the same on all nodes?")
            return msgspec.json.decode(body, type=Card)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise CardError(f"not a card: {error}") from error

    def _is_sealed(self, body: bytes, envelope: _Sealed) -> bool:
        if not self._keys:
            return not envelope.seal and not envelope.former_seal
        seals = (envelope.seal.encode(), envelope.former_seal.encode())
        wanted = [_hmac(key, body).encode() for key in self._keys]
        return any(hmac.compare_digest(one, seal) for one in wanted for seal in seals)


class KeyPair(NamedTuple):
    """A key pair of CURVE (Curve25519): 32 bytes each."""

    public: bytes
    private: bytes


class Keys:
    """The keys of one life of a node.

    `server` is what its bound sockets answer to: the same for all nodes of a secret, so that a seed of which only the
    address is known can be greeted. `own` is made anew for each life and is on its card: with it the node subscribes.
    With a *client* pair, the same for all of a secret again, it asks: also where its card is not known yet.
    """

    def __init__(self, secret: str, former_secret: str | None = None, *, cluster: str = "default") -> None:
        known = [secret] if former_secret is None else [former_secret, secret]
        servers = [_key_pair(_derive(secret, cluster, "curve server")) for secret in known]
        clients = [_key_pair(_derive(secret, cluster, "curve client")) for secret in known]
        self.server = servers[0]
        """Of the former secret while there is one: those who know only that have to get in. All others find it on
        the card."""
        self.own = _key_pair()
        self.ways_in = [(server.public, client) for server, client in zip(servers, clients, strict=True)]
        """For each secret: what a server of it answers to, and the client pair that it lets in."""

    def client_for(self, server: bytes) -> KeyPair:
        """The pair that a node lets in whose bound sockets answer to `server`."""
        newest = self.ways_in[-1][1]  # of a secret that we never knew, or know no more: it has ours, too
        return dict(self.ways_in).get(server, newest)

    def may_ask(self, public: bytes) -> bool:
        """Whether this is the client key of a secret that we know."""
        return any(hmac.compare_digest(public, client.public) for _, client in self.ways_in)


def _derive(secret: str, cluster: str, use: str) -> bytes:
    """HKDF-SHA256 for one block: extract, then expand for this use in this cluster."""
    extracted = hmac.digest(b"shoal mesh", secret.encode(), hashlib.sha256)
    return hmac.digest(extracted, f"{use}\0{cluster}\x01".encode(), hashlib.sha256)


def _hmac(key: bytes, body: bytes) -> str:
    return hmac.digest(key, body, hashlib.sha256).hex()


def _key_pair(private: bytes | None = None) -> KeyPair:
    """The pair with this private key, or a random one."""
    text = zmq.curve_keypair()[1] if private is None else z85.encode(private)
    return KeyPair(z85.decode(zmq.curve_public(text)), z85.decode(text))
