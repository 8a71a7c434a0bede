"""Who may do what changes the cluster: reset it, drain a node of it. Until there are users and rights.

Whoever knows `cluster.admin_token` may, from anywhere. Without it only who asks from one of `cluster.admin_networks`,
by default this machine, and is known to be there. It refuses, without the token:

- who comes through a proxy that is not in `server.trusted_proxies`, or does not say for whom it asks: what a proxy
  passes on may come from anywhere;
- who speaks WebSocket, when no proxies are named and the node can be reached from elsewhere: many proxies pass on
  WebSockets without a word about the client, and nobody can tell one from a client;
- pages in a browser, wherever they came from: a page of strangers asks from its reader's place in the network.
"""

import hmac
import ipaddress

from server.plugin import PluginApiError, Request

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Access:
    """The door to the actions that change something."""

    def __init__(self, token: str | None, networks: tuple[str, ...], *, are_addresses_sure: bool) -> None:
        """Take the token, the networks as they are written, and whether a WebSocket client whom no proxy speaks for is
        at its address: because the proxies are named, or only this machine can reach the node."""
        self._token = None if token is None else token.encode()
        self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(network) for network in networks)
        self._are_addresses_sure = are_addresses_sure

    def check(self, request: Request) -> None:
        """Raise PluginApiError (403) unless whoever asks may."""
        body = request.body
        given = body.get("token") if isinstance(body, dict) else None
        if given is not None and self._token is not None:
            # In constant time: how long the comparison takes must not tell how much of a guess was right.
            if isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "replace"), self._token):
                return
            raise _denied("the token is another one")
        if not self._is_near(request):
            raise _denied("from here the body has to give the token of `cluster.admin_token`, as `token`")

    def _is_near(self, request: Request) -> bool:
        session = request.session
        if session.protocol == "internal":
            return True
        if session.is_forwarded or session.is_from_page:
            return False
        if session.is_lasting and not self._are_addresses_sure:
            return False
        address = _parsed(session.address)
        return address is not None and any(address in network for network in self._networks)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _denied(why: str) -> PluginApiError:
    return PluginApiError(
        "cluster.access.denied", f"This changes the cluster, and is not for everybody: {why}.", 403
    )
