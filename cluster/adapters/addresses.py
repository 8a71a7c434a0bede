"""From the addresses that an operator writes to those that ZeroMQ binds.

Understood besides plain `tcp://` and `ipc://`: Kuzzle's form that names an interface and a family,

    tcp://[eth0:ipv4]:7511      the first IPv4 address of eth0
    tcp://[_site_:ipv4]:7511    the first address of this machine on a private network (RFC 1918, RFC 4193)
    tcp://[_local_:ipv4]:7511   loopback
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence

import ifaddr

from cluster.errors import BindError

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Interfaces = Mapping[str, Sequence[IP]]

_NAMED = re.compile(r"tcp://\[(?P<interface>[A-Za-z0-9_.@-]+):(?P<family>ipv[46])\]:(?P<port>\d{1,5}|\*)")
_PLAIN = re.compile(r"tcp://(?P<host>\[[^\]]+\]|[^:\[\]]+):(?P<port>\d{1,5}|\*)")

_EXAMPLES = (
    "like tcp://127.0.0.1:7511, tcp://[eth0:ipv4]:7511, tcp://[_site_:ipv4]:7511 or ipc:///path "
    "(port * takes any free one)"
)


def machine_interfaces() -> dict[str, list[IP]]:
    """The addresses of this machine, by interface."""
    found: dict[str, list[IP]] = {}
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            text = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            found.setdefault(adapter.name, []).append(ipaddress.ip_address(text))
    return found


def resolve(address: str, interfaces: Callable[[], Interfaces] = machine_interfaces) -> str:
    """The address as ZeroMQ binds it. Raises `BindError` with what is allowed when it is not understood."""
    if address.startswith("ipc://") and len(address) > len("ipc://"):
        return address
    if (named := _NAMED.fullmatch(address)) is not None:
        ip = _address_of(named["interface"], 4 if named["family"] == "ipv4" else 6, interfaces())
        return f"tcp://{_bracketed(ip)}:{_port(named['port'], address)}"
    if (plain := _PLAIN.fullmatch(address)) is not None and (host := _literal(plain["host"])) is not None:
        if host.is_unspecified:
            raise BindError(
                f"{address}: other nodes must be told one address to connect to, so name it, {_EXAMPLES}"
            )
        return f"tcp://{_bracketed(host)}:{_port(plain['port'], address)}"
    raise BindError(f"the address {address!r} is not understood; write it {_EXAMPLES}")


def _address_of(interface: str, version: int, interfaces: Interfaces) -> IP:
    for name, addresses in interfaces.items():
        for ip in addresses:
            if ip.version == version and _is_meant(interface, name, ip):
                return ip
    known = ", ".join(sorted(interfaces))
    raise BindError(
        f"no IPv{version} address for {interface!r}; this machine has the interfaces {known}, and _site_ and "
        "_local_ name a private address and loopback"
    )


def _is_meant(interface: str, name: str, ip: IP) -> bool:
    match interface:
        case "_local_":
            return ip.is_loopback
        case "_site_":
            return ip.is_private and not ip.is_loopback and not ip.is_link_local
        case _:
            return name == interface


def _literal(host: str) -> IP | None:
    if host == "localhost":
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        return ipaddress.ip_address("0.0.0.0" if host == "*" else host.strip("[]"))  # noqa: S104 - refused by the caller
    except ValueError:
        return None


def _bracketed(ip: IP) -> str:
    return f"[{ip}]" if ip.version == 6 else str(ip)


def _port(text: str, address: str) -> str:
    if text in ("*", "0"):
        return "*"
    if int(text) > 65_535:
        raise BindError(f"the port of {address!r} is above 65535")
    return text
