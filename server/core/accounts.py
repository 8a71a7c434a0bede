"""What each address takes up of a node: connections at once, requests and bytes a second.

    enter -> Account ... leave     a connection         visit -> Account     a request of who has none (a proxy's)

An account is kept while its address has connections, so there are no more of those than connections. Afterwards it is
kept as long as its buckets are not full again, or who has used up its second would only have to connect anew; of these
there are at most `MAX_AWAY`, and beyond that the one that was away longest is forgotten: it is the fullest.
It refuses to know what an address is: they are keys, made in callers.
"""

from collections import OrderedDict
from typing import Final

from server.core.buckets import Bucket
from server.core.limits import Limits

MAX_AWAY: Final = 10_000
"""Addresses remembered that have no connection at present, at about 400 bytes each."""


class Account:
    """What one address takes up."""

    __slots__ = ("bytes", "connections", "key", "requests")

    def __init__(self, key: bytes, requests: Bucket | None, bytes_: Bucket | None) -> None:
        self.key = key
        self.connections = 0
        self.requests = requests
        """None when there is no limit."""
        self.bytes = bytes_
        """Likewise."""

    def is_settled(self, now: float) -> bool:
        """Tell whether nothing is left to be remembered."""
        return all(bucket is None or bucket.is_full(now) for bucket in (self.requests, self.bytes))


class Accounts:
    """The accounts of all addresses."""

    def __init__(self, limits: Limits, most_away: int = MAX_AWAY) -> None:
        """Take the limits, of which 0 is none."""
        self._most_away = most_away
        self._connections = limits.address_connections
        self._requests_per_s = limits.address_requests_per_s
        self._bytes_per_s = limits.address_bytes_per_s
        self.are_kept = bool(self._connections or self._requests_per_s or self._bytes_per_s)
        """Whether there is anything to count."""
        self._present: dict[bytes, Account] = {}
        self._away: OrderedDict[bytes, Account] = OrderedDict()
        """Who went first is first."""

    def __len__(self) -> int:
        return len(self._present) + len(self._away)

    def enter(self, key: bytes, now: float) -> Account | None:
        """Count one more connection of an address; None, and nothing counted, when it has as many as it may."""
        account = self._present.get(key)
        if account is None:
            account = self._present[key] = self._found(key, now)
        elif self._connections and account.connections >= self._connections:
            return None
        account.connections += 1
        return account

    def leave(self, account: Account, now: float) -> None:
        """Count one connection less; to be called once for each that entered."""
        account.connections -= 1
        if not account.connections:
            del self._present[account.key]
            if not account.is_settled(now):
                self._remember(account, now)

    def visit(self, key: bytes, now: float) -> Account:
        """Return the account of an address that may have no connection of its own."""
        account = self._present.get(key)
        if account is None:
            account = self._found(key, now)
            self._remember(account, now)
        return account

    def _found(self, key: bytes, now: float) -> Account:
        if key in self._away:
            return self._away.pop(key)
        requests = Bucket(self._requests_per_s, now) if self._requests_per_s else None
        bytes_ = Bucket(self._bytes_per_s, now) if self._bytes_per_s else None
        return Account(key, requests, bytes_)

    def _remember(self, account: Account, now: float) -> None:
        self._away[account.key] = account
        # Two for each that comes: all that are settled are gone soon, and nobody waits for it.
        for _ in range(2):
            oldest = next(iter(self._away.values()))
            if oldest is account or (len(self._away) <= self._most_away and not oldest.is_settled(now)):
                return
            del self._away[oldest.key]
