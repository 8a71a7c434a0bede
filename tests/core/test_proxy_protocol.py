"""PROXY headers: what a sound one says, what every other is refused for, and that not a byte too much is read."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.proxy_protocol import (
    MAX_ADDRESSES_BYTES,
    SIGNATURE,
    Introduction,
    Local,
    ProxyHeader,
    ProxyHeaderError,
    Source,
    Unknown,
)

TCP4, TCP6, UNIX, UNSPECIFIED = 0x11, 0x21, 0x31, 0x00
FOUR = IPv4Address("203.0.113.7").packed + IPv4Address("10.0.0.1").packed + struct.pack("!HH", 5000, 443)
SIX = IPv6Address("2001:db8::1").packed + IPv6Address("fd00::1").packed + struct.pack("!HH", 5000, 443)


def binary(body: bytes, kind: int = TCP4, command: int = 0x21, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, kind, len(body) if length is None else length) + body


def read(stream: bytes, step: int = 1_000_000) -> tuple[Introduction | None, bytes]:
    """Read a header off the front of a stream as a socket gives it; return what it says, and what is left."""
    header, said = ProxyHeader(), None
    while said is None and stream:
        assert header.wanted > 0
        count = min(header.wanted, step)
        said = header.feed(stream[:count])
        stream = stream[count:]
    return said, stream


SOUND = [
    (b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\n", Source(ip_address("203.0.113.7"), 5000)),
    (b"PROXY TCP6 2001:db8::1 fd00::1 5000 443\r\n", Source(ip_address("2001:db8::1"), 5000)),
    (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", Source(ip_address("0.0.0.0"), 0)),
    (b"PROXY UNKNOWN\r\n", Unknown()),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Unknown()),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", Unknown()),  # 107 bytes, the longest
    (binary(FOUR), Source(ip_address("203.0.113.7"), 5000)),
    (binary(SIX, TCP6), Source(ip_address("2001:db8::1"), 5000)),
    (binary(FOUR + b"\x04\x00\x03abc" + b"\xff"), Source(ip_address("203.0.113.7"), 5000)),
    (binary(FOUR + bytes(MAX_ADDRESSES_BYTES - 12)), Source(ip_address("203.0.113.7"), 5000)),
    (binary(bytes(216), UNIX), Unknown()),
    (binary(b"", UNSPECIFIED), Unknown()),
    (binary(b"\x04\x00\x00", UNSPECIFIED), Unknown()),
    (binary(b"", UNSPECIFIED, 0x20), Local()),
    (binary(FOUR, TCP4, 0x20), Local()),
    (binary(b"abc", 0x99, 0x20), Local()),
]

UNSOUND = [
    *(b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\r\n\r\nGET", b"PROXYTCP4", b"proxy TCP4 ", b"PROXY\r\n"),
    *(b"PROXY \r\n", b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", b"PROXY UNKNOWNX\r\n"),
    *(b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", b"PROXY UNKNOWN\rX"),
    *(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n"),
    b"PROXY TCP4 1.2.3.4 1.2.3 1 2\r\n",
    *(b"PROXY TCP4 ::1 ::1 1 2\r\n", b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", b"PROXY TCP4 1.2.3.4 ::1 1 2\r\n"),
    *(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 999999\r\n", b"PROXY UNKNOWN \x00\r\n"),
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"PROXY " + b"x" * 200,
    *(binary(FOUR, command=0x11), binary(FOUR, command=0x22), binary(FOUR, command=0x31)),
    *(binary(FOUR, 0x12), binary(SIX, 0x22), binary(bytes(216), 0x32), binary(FOUR, 0x41), binary(FOUR, 0x10)),
    *(binary(FOUR[:11]), binary(FOUR, TCP6), binary(SIX, UNIX)),
    binary(b"", TCP4, length=MAX_ADDRESSES_BYTES + 1),
    binary(b"", UNSPECIFIED, 0x20, length=0xFFFF),
]  # fmt: skip


@pytest.mark.parametrize(("header", "expected"), SOUND)
@pytest.mark.parametrize("step", [1, 2, 5, 1_000_000])
def test_a_sound_header_is_read_to_its_last_byte_and_no_further(
    header: bytes, expected: Introduction, step: int
) -> None:
    for following in (b"", b"\r\n", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n"):
        assert read(header + following, step) == (expected, following)


@pytest.mark.parametrize("header", UNSOUND)
@pytest.mark.parametrize("step", [1, 1_000_000])
def test_anything_else_is_refused(header: bytes, step: int) -> None:
    with pytest.raises(ProxyHeaderError, match=r".+"):
        read(header, step)


def test_a_length_that_is_too_much_is_refused_before_anything_of_it_comes() -> None:
    header = ProxyHeader()
    assert header.feed(binary(b"", length=MAX_ADDRESSES_BYTES + 1)[:12]) is None
    with pytest.raises(ProxyHeaderError, match="announces 4097 bytes"):
        header.feed(binary(b"", length=MAX_ADDRESSES_BYTES + 1)[12:])


def test_a_client_without_a_header_is_known_by_its_first_byte() -> None:
    for first in b"GET", b"\x16", b"{", b"\x00":
        header = ProxyHeader()
        assert not header.has_begun
        with pytest.raises(ProxyHeaderError, match="does not begin like one"):
            header.feed(first[:1])
        assert header.has_begun


@given(st.binary(max_size=300), st.integers(1, 40))
def test_no_bytes_do_anything_but_say_wait_or_be_refused(noise: bytes, step: int) -> None:
    for start in (b"", SIGNATURE, SIGNATURE + b"\x21\x11", b"PROXY ", b"PROXY TCP4 "):
        try:
            said, rest = read(start + noise, step)
        except ProxyHeaderError:
            continue
        assert said is not None or rest == b""


@given(
    source=st.ip_addresses(),
    data=st.data(),
    ports=st.tuples(st.integers(0, 65_535), st.integers(0, 65_535)),
    more=st.binary(max_size=100),
    step=st.integers(1, 300),
)
def test_what_is_written_is_what_is_read(
    source: IPv4Address | IPv6Address,
    data: st.DataObject,
    ports: tuple[int, int],
    more: bytes,
    step: int,
) -> None:
    target = data.draw(st.ip_addresses(v=source.version))
    line = f"PROXY TCP{source.version} {source} {target} {ports[0]} {ports[1]}\r\n".encode()
    body = source.packed + target.packed + struct.pack("!HH", *ports) + more
    for header in (line, binary(body, TCP4 if source.version == 4 else TCP6)):
        assert read(header + b"GET", step) == (Source(source, ports[0]), b"GET")
