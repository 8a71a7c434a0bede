"""Who asks: an address is believed from trusted proxies only, and only as far as they can know it."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.callers import MAX_HOPS, Address, Caller, TrustedProxies, address_of, address_text
from server.core.proxy_protocol import Introduction, Local, Source, Unknown
from server.core.session import Session

NEAR = TrustedProxies(["10.0.0.0/8", "fd00::5"])
PROXY = NEAR.direct("10.0.0.5", 40_000)
LOCAL_PROXY = TrustedProxies(["127.0.0.1"]).direct("127.0.0.1", 40_000)
CLIENT = NEAR.direct("203.0.113.7", 40_000)


def told(hops: str, caller: Caller = PROXY, proxies: TrustedProxies = NEAR) -> Caller:
    return proxies.forwarded(caller, {"x-forwarded-for": hops})


@pytest.mark.parametrize(
    ("host", "remote", "is_proxy"),
    [
        ("203.0.113.7", "203.0.113.7:1", False),
        ("10.1.2.3", "10.1.2.3:1", True),
        ("::ffff:10.1.2.3", "[::ffff:10.1.2.3]:1", True),
        ("fd00::5", "[fd00::5]:1", True),
        ("fd00::6", "[fd00::6]:1", False),
        ("fe80::1%eth0", "[fe80::1%eth0]:1", False),
    ],
)
def test_the_other_end_of_a_socket_is_a_proxy_or_a_client(host: str, remote: str, is_proxy: bool) -> None:
    assert NEAR.direct(host, 1) == Caller(
        remote, NEAR.direct(host, 1).address, is_proxy=is_proxy, is_forwarded=False
    )


@pytest.mark.parametrize("network", ["10.0.0.5/8", "nginx", "", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        TrustedProxies([network])


# -- HTTP ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hops", "remote"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:5000", "203.0.113.7:5000"),
        (" 203.0.113.7\t", "203.0.113.7"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("[2001:db8::1]:5000", "[2001:db8::1]:5000"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the first is what the client says of itself
        ("127.0.0.1, 203.0.113.7", "203.0.113.7"),
        ("nonsense, 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.0.0.9", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7, 10.0.0.9, fd00::5", "203.0.113.7"),
        ("10.0.0.8", "10.0.0.8"),  # all are trusted: who was first asks
        ("10.0.0.7, 10.0.0.8", "10.0.0.7"),
        (",".join(["10.0.0.8"] * MAX_HOPS), "10.0.0.8"),
    ],
)
def test_the_client_is_the_last_that_no_trusted_proxy_is(hops: str, remote: str) -> None:
    caller = told(hops)
    assert (caller.remote, caller.is_forwarded, caller.is_proxy) == (remote, False, False)


@pytest.mark.parametrize(
    "hops",
    [
        *("", " ", ",", "unknown", "_hidden", "client.example", "203.0.113", "203.0.113.7.", "256.0.0.1"),
        *("203.0.113.7:", "203.0.113.7:70000", "203.0.113.7:x", "203.0.113.7;", '"203.0.113.7"', "[203.0.113.7]"),
        *("[2001:db8::1", "[2001:db8::1]:", "fe80::1%eth0", "[fe80::1%eth0]", "2001:db8::1::", "٣.٣.٣.٣", "01.2.3.4"),
        *("203.0.113.7,", "203.0.113.7, unknown", "203.0.113.7, unknown, 10.0.0.9"),
        *("127.0.0.1", "::1", "127.0.0.1, 10.0.0.9", "0.0.0.0", "::", "::ffff:127.0.0.1"),
        ",".join(["203.0.113.7"] + ["10.0.0.8"] * MAX_HOPS),
        ",".join(["10.0.0.8"] * (MAX_HOPS + 1)),
    ],
)  # fmt: skip
def test_what_is_badly_said_is_not_believed_and_nobody_is_known(hops: str) -> None:
    assert told(hops) == Caller(PROXY.remote, PROXY.address, is_proxy=False, is_forwarded=True)


def test_a_trusted_proxy_that_says_nothing_asks_for_nobody_knows_whom() -> None:
    for headers in ({}, {"x-real-ip": "203.0.113.7"}, {"forwarded": "for=203.0.113.7"}):
        caller = NEAR.forwarded(PROXY, headers)
        assert (caller.remote, caller.is_forwarded) == (PROXY.remote, True)


def test_of_others_no_word_is_believed_and_that_there_is_one_is_remembered() -> None:
    assert NEAR.forwarded(CLIENT, {"host": "x"}) is CLIENT
    for name in ("x-forwarded-for", "x-real-ip", "forwarded"):
        caller = NEAR.forwarded(CLIENT, {name: "198.51.100.1"})
        assert (caller.remote, caller.address, caller.is_forwarded) == (CLIENT.remote, CLIENT.address, True)


def test_a_loopback_address_names_somebody_only_where_it_is_ones_own() -> None:
    here = TrustedProxies(["127.0.0.1", "10.0.0.5"])
    assert told("127.0.0.1", LOCAL_PROXY, here).remote == "127.0.0.1"
    assert told("127.0.0.2", LOCAL_PROXY, here).is_forwarded is False
    assert told("127.0.0.2, 10.0.0.5", LOCAL_PROXY, here).is_forwarded is True
    assert told("203.0.113.7, 10.0.0.5, 127.0.0.1", LOCAL_PROXY, here).remote == "203.0.113.7"


addresses = st.ip_addresses()
trusted_addresses = st.ip_addresses(network="10.0.0.0/8")


@given(
    claimed=st.lists(st.one_of(addresses.map(str), st.text(max_size=20)), max_size=5),
    client=addresses.filter(lambda a: not any(a in ip_network(n) for n in ("10.0.0.0/8", "fd00::5"))),
    through=st.lists(trusted_addresses, max_size=5),
)
def test_no_header_of_a_client_changes_who_it_is_taken_for(
    claimed: list[str], client: Address, through: list[Address]
) -> None:
    """What proxies append decides; what the client sent before it counts for nothing."""
    seen = [*map(str, [client, *through])]
    assert told(", ".join([*claimed, *seen])) == told(", ".join(seen))


@given(st.text(max_size=60))
def test_any_text_names_an_address_or_nobody(text: str) -> None:
    caller = told(text)
    assert caller.is_forwarded == (caller.remote == PROXY.remote)


# -- PROXY headers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("introduction", "expected"),
    [
        (Source(ip_address("203.0.113.7"), 5000), Caller("203.0.113.7:5000", ip_address("203.0.113.7"))),
        (Source(ip_address("::ffff:203.0.113.7"), 0), Caller("203.0.113.7:0", ip_address("203.0.113.7"))),
        (Source(ip_address("10.0.0.8"), 1), Caller("10.0.0.8:1", ip_address("10.0.0.8"), is_proxy=True)),
        (Source(ip_address("127.0.0.1"), 1), Caller(PROXY.remote, PROXY.address, is_forwarded=True)),
        (Source(ip_address("::"), 1), Caller(PROXY.remote, PROXY.address, is_forwarded=True)),
        (Unknown(), Caller(PROXY.remote, PROXY.address, is_forwarded=True)),
        (Local(), PROXY),
    ],
)
def test_a_proxy_introduces_a_client_another_proxy_or_nobody(
    introduction: Introduction, expected: Caller
) -> None:
    assert NEAR.introduced(PROXY, introduction) == expected


def test_a_proxy_that_was_introduced_is_believed_like_one_that_is_connected() -> None:
    inner = NEAR.introduced(PROXY, Source(ip_address("10.0.0.8"), 1))
    assert told("198.51.100.1, 203.0.113.7", inner).remote == "203.0.113.7"


# -- Counting, and text -------------------------------------------------------------------------------------------


def test_an_address_is_counted_as_itself_and_an_ipv6_one_as_its_64() -> None:
    def key(host: str) -> bytes:
        return NEAR.direct(host, 1).counted_as

    assert key("203.0.113.7") == key("::ffff:203.0.113.7") != key("203.0.113.8")
    assert key("2001:db8::1") == key("2001:db8::ffff:1") != key("2001:db8:0:1::1")
    assert len({key("203.0.113.7"), key("2001:db8::1")}) == 2


def test_this_machine_proxies_and_who_is_unknown_are_not_counted() -> None:
    assert NEAR.direct("127.0.0.1", 1).counted_as == b""
    assert NEAR.direct("::1", 1).counted_as == b""
    assert PROXY.counted_as == b""
    assert told("unknown").counted_as == b""
    assert told("10.0.0.8").counted_as, "a client that lives among the proxies is one"


@given(address=addresses, port=st.one_of(st.none(), st.integers(0, 65_535)))
def test_the_address_is_found_again_in_its_text(address: Address, port: int | None) -> None:
    text = address_text(str(address), port)
    assert address_of(text) == str(address)
    assert Session(id="s", protocol="http", remote=text).address == str(address)


def test_the_node_itself_has_no_address() -> None:
    assert address_of("") == ""
