"""Who may connect: the answers that ZeroMQ asks for with each CURVE handshake (ZAP, RFC 27), before any frame
is let in.

Two doors, named by the domain in the request. Who *asks* needs a key of a secret that we know. Who wants to *hear* what
is published needs the key on the card of a node that we know; a key that is not known yet is not sent away but kept
waiting, for the greeting that makes it known is often on its way through the other door. If it never comes, ZeroMQ ends
the handshake by itself.

No sockets: requests in, replies out, each as the frames of one message.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

ASKERS: Final = b"ask"
HEARERS: Final = b"hear"
"""The domains of the two bound sockets."""

WAITING_AT_MOST: Final = 1024
"""Keys kept waiting; over it the first that came is forgotten. More nodes than a full mesh can have."""

_GRANTED: Final = (b"200", b"OK")
_LATER: Final = (b"300", b"not now")
"""400 would be clearer, and keep a node that has the wrong secret for a moment away for ever: ZeroMQ's clients do not
come back after it."""

_VERSION: Final = b"1.0"
REQUEST_FRAMES: Final = 9
"""Of a CURVE request, as a ROUTER receives it: who to answer to, empty, version, id, domain, address, routing id,
mechanism, key."""


class Doors:
    """Judges handshakes. `may_ask` tells whether a public key is one that questions may come with."""

    def __init__(self, may_ask: Callable[[bytes], bool]) -> None:
        self._may_ask = may_ask
        self._known: set[bytes] = set()
        self._waiting: OrderedDict[bytes, list[bytes]] = OrderedDict()

    def knocked(self, request: Sequence[bytes]) -> list[list[bytes]]:
        """A handshake came to where we have to judge: the reply, or none yet."""
        if len(request) != REQUEST_FRAMES:
            return []
        asker, empty, _, request_id, domain, _, _, mechanism, key = request
        envelope = [asker, empty, _VERSION, request_id]
        if mechanism != b"CURVE":
            return [_reply(envelope, _LATER)]
        if domain == ASKERS:
            return [_reply(envelope, _GRANTED if self._may_ask(key) else _LATER)]
        if key in self._known:
            return [_reply(envelope, _GRANTED)]
        self._waiting[key] = envelope
        self._waiting.move_to_end(key)
        if len(self._waiting) > WAITING_AT_MOST:
            self._waiting.popitem(last=False)
        return []

    def now_known(self, keys: set[bytes]) -> list[list[bytes]]:
        """These are the keys on the cards of all nodes that we know: replies for those who waited for that."""
        self._known = keys
        return [_reply(self._waiting.pop(key), _GRANTED) for key in keys & self._waiting.keys()]


def _reply(envelope: list[bytes], verdict: tuple[bytes, bytes]) -> list[bytes]:
    return [*envelope, *verdict, b"", b""]
