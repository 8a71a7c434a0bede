"""Who asks: a client's address, as far as it can be known, through proxies that are trusted to say it.

    the other end of the socket --direct--> Caller --introduced (PROXY header)--> Caller --forwarded (HTTP)--> Caller

Only a trusted proxy is believed, and only about who spoke to it. So a chain of addresses is read from its end: from the
proxy that is connected, over those that are trusted, to the first that is not, which is the client; what is written
before that the client may have made up. A loopback address is a machine's own, so one that another machine tells names
nobody here.

It refuses to guess: where a proxy asks and does not say, or says badly, for whom, the caller `is_forwarded`, which
means unknown, and keeps the proxy's address. `Forwarded` and `X-Real-IP` are never believed: a proxy that writes
`X-Forwarded-For` passes those on as the client sent them.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

import attrs

from server.core.proxy_protocol import Introduction, Local, Source, Unknown

Address = IPv4Address | IPv6Address

MAX_HOPS: Final = 16
"""Proxies between a client and a node. More are a loop, or somebody who wants to keep us busy."""

COUNTED_BYTES: Final = 8
"""Of an IPv6 address, what limits per address count by: the /64 that a household or a machine is given at least."""

_FORWARDED: Final = frozenset(("forwarded", "x-forwarded-for", "x-real-ip"))
"""Headers by which proxies say for whom they ask."""

_HOP: Final = re.compile(
    r"([0-9.]+)(?::([0-9]{1,5}))?|\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}))?|([0-9A-Fa-f:.]+)"
)
"""An address as proxies write it, some with a port. Nothing else is one: no name, no zone, no `unknown`."""


@attrs.frozen
class Caller:
    """Who asks on a connection, or in one request of a proxy."""

    remote: str
    """For people: the address, and the port if it is known."""
    address: Address
    is_proxy: bool = False
    """Whether it is trusted to say for whom it asks."""
    is_forwarded: bool = False
    """Whether somebody asks through it of whom nothing is known: the address is the proxy's then."""

    @property
    def counted_as(self) -> bytes:
        """What limits per address count by; empty for whom they do not hold: this machine, a proxy itself (many
        clients have its address), and who is unknown."""
        if self.address.is_loopback or self.is_proxy or self.is_forwarded:
            return b""
        return self.address.packed[:COUNTED_BYTES]


class TrustedProxies:
    """The networks whose word is taken."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Take networks such as `10.0.0.0/8`, or single addresses. Raises ValueError for what is none."""
        self._networks = tuple(ip_network(network) for network in networks)

    def direct(self, host: str, port: int) -> Caller:
        """Return who is at the other end of a socket."""
        address = _plain(ip_address(host.partition("%")[0]))
        return Caller(address_text(host, port), address, is_proxy=self._trusts(address))

    def introduced(self, proxy: Caller, introduction: Introduction) -> Caller:
        """Return for whom a trusted proxy has opened its connection, which it says before anything else."""
        match introduction:
            case Local():
                return proxy
            case Unknown():
                return _nobody(proxy)
            case Source(written, port):
                address = _plain(written)
                if not _is_known(address, proxy.address):
                    return _nobody(proxy)
                return Caller(address_text(str(address), port), address, is_proxy=self._trusts(address))

    def forwarded(self, caller: Caller, headers: Mapping[str, str]) -> Caller:
        """Return for whom a request is made. `headers` are the request's, with names in lower case."""
        if not caller.is_proxy:
            return caller if headers.keys().isdisjoint(_FORWARDED) else _nobody(caller)
        # With too many hops, the last to be looked at is several in one, which is no address.
        hops = headers.get("x-forwarded-for", "").rsplit(",", MAX_HOPS - 1)
        teller = caller.address
        while True:
            hop = _hop(hops.pop())
            if hop is None:
                return _nobody(caller)
            address, port = hop
            if not hops or not self._trusts(address):
                is_known = _is_known(address, teller)
                return Caller(address_text(str(address), port), address) if is_known else _nobody(caller)
            teller = address

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def address_text(host: str, port: int | None) -> str:
    """Return an address as people write it: IPv6 in brackets, so that a port can be told from it."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def address_of(remote: str) -> str:
    """Return the address in what `address_text` made."""
    if remote.startswith("["):
        return remote[1:].partition("]")[0]
    return remote.partition(":")[0]


def _nobody(proxy: Caller) -> Caller:
    return Caller(proxy.remote, proxy.address, is_forwarded=True)


def _is_known(address: Address, teller: Address) -> bool:
    """Tell whether an address means here what it means where it comes from."""
    return not (address.is_unspecified or (address.is_loopback and not teller.is_loopback))


def _hop(text: str) -> tuple[Address, int | None] | None:
    found = _HOP.fullmatch(text.strip(" \t"))
    if found is None:
        return None
    host, port = found[1] or found[3] or found[5], int(found[2] or found[4] or 0)
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if port > 0xFFFF or (found[3] and address.version == 4):
        return None
    return _plain(address), port or None


def _plain(address: Address) -> Address:
    """Return an IPv4 address that is written as an IPv6 one (as in a socket for both) as what it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
