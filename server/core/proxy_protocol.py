"""The PROXY protocol, versions 1 and 2: what a proxy says of a connection before the connection's own bytes.

    feed, feed, …  -->  Source (the client) | Local (the proxy itself) | Unknown (not said), or a ProxyHeaderError

It follows "The PROXY protocol" of HAProxy (doc/proxy-protocol.txt, sections 2.1 and 2.2), strictly: what does not begin
like a header is refused at its first wrong byte, and a length that is too much before anything of it is read. What
behind the addresses says more (type-length-values) is skipped.

It refuses to ask for a byte more than the header has, as far as is known of it: what follows is another's to read, TLS
perhaps. `wanted` says how many to read at most.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import attrs

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
"""How version 2 begins: nothing that a server for people takes for a request."""

MAX_LINE_BYTES: Final = 107
"""The longest header of version 1, as its section 2.1 has it."""

MAX_ADDRESSES_BYTES: Final = 4_096
"""Addresses and all that is said with them in version 2. They have 12, 36 or 216, and what clouds add some hundred; all
is meant to fit into one packet of 1,500."""

_PREAMBLE_BYTES: Final = 16
_LINE_START: Final = b"PROXY "
_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: [ -~]*)?|TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ([0-9]+) ([0-9]+))\r\n"
)
_PORT: Final = re.compile(rb"0|[1-9][0-9]{0,4}")

_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESSES_BYTES: Final = {_UNSPECIFIED: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}
"""Kinds of connections that a client of ours can have. The others are datagrams."""


class ProxyHeaderError(Exception):
    """What came is no PROXY header. The message says why; the connection cannot be used."""


@attrs.frozen
class Source:
    """The proxy speaks for the client at this address."""

    address: IPv4Address | IPv6Address
    port: int


@attrs.frozen
class Local:
    """The proxy speaks for itself: it looks whether we are well."""


@attrs.frozen
class Unknown:
    """The proxy speaks for somebody whose address it does not know, or who has none."""


Introduction = Source | Local | Unknown


class ProxyHeader:
    """One header, from its first byte to its last."""

    def __init__(self) -> None:
        self._data = b""

    @property
    def has_begun(self) -> bool:
        """Whether any of it has come."""
        return bool(self._data)

    @property
    def wanted(self) -> int:
        """How many bytes to read next, at most."""
        have = len(self._data)
        if have < len(SIGNATURE):
            return len(SIGNATURE) - have  # the shortest line of version 1 has 15
        if self._data.startswith(_LINE_START):
            return 1 if self._data.endswith(b"\r") else 2
        if have < _PREAMBLE_BYTES:
            return _PREAMBLE_BYTES - have
        return _PREAMBLE_BYTES + self._length - have

    def feed(self, data: bytes) -> Introduction | None:
        """Take at most `wanted` bytes; return what the header says when it is whole. Raises ProxyHeaderError."""
        self._data += data
        if _LINE_START.startswith(self._data[: len(_LINE_START)]):
            return self._line()
        if not SIGNATURE.startswith(self._data[: len(SIGNATURE)]):
            raise ProxyHeaderError("it does not begin like one")
        return self._binary()

    # -- Version 1: a line of text ------------------------------------------------------------------------------

    def _line(self) -> Introduction | None:
        ending = self._data.find(b"\r")
        if ending < 0 and len(self._data) <= MAX_LINE_BYTES - 2:
            return None
        if ending == len(self._data) - 1 < MAX_LINE_BYTES - 1:
            return None
        found = _LINE.fullmatch(self._data)
        if found is None:
            raise ProxyHeaderError("its line is none of version 1")
        version, source, target, *ports = found.groups()
        if version is None:
            return Unknown()
        addresses = [_address_of_line(text, int(version)) for text in (source, target)]
        if not all(_PORT.fullmatch(port) and int(port) <= 0xFFFF for port in ports):
            raise ProxyHeaderError("its line has a port that is none")
        return Source(addresses[0], int(ports[0]))

    # -- Version 2: binary --------------------------------------------------------------------------------------

    @property
    def _length(self) -> int:
        return int.from_bytes(self._data[14:16], "big")

    def _binary(self) -> Introduction | None:
        data = self._data
        if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
            raise ProxyHeaderError(f"its version and command are 0x{data[12]:02x}")
        if len(data) < _PREAMBLE_BYTES:
            return None
        if self._length > MAX_ADDRESSES_BYTES:
            raise ProxyHeaderError(f"it announces {self._length} bytes, more than {MAX_ADDRESSES_BYTES}")
        is_local = data[12] == _LOCAL
        least = 0 if is_local else _ADDRESSES_BYTES.get(data[13])
        if least is None:
            raise ProxyHeaderError(f"its kind of connection is 0x{data[13]:02x}")
        if self._length < least:
            raise ProxyHeaderError(f"its addresses have {self._length} bytes, not {least}")
        if len(data) < _PREAMBLE_BYTES + self._length:
            return None
        if is_local:
            return Local()
        if data[13] == _TCP4:
            return Source(IPv4Address(data[16:20]), int.from_bytes(data[24:26], "big"))
        if data[13] == _TCP6:
            return Source(IPv6Address(data[16:32]), int.from_bytes(data[48:50], "big"))
        return Unknown()


def _address_of_line(text: bytes, version: int) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(text.decode())
    except ValueError:
        address = None
    if address is None or address.version != version:
        raise ProxyHeaderError(f"its line has an address that is none of IPv{version}")
    return address
