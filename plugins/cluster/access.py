"""Who may do what changes the cluster: reset it, drain a node of it. Until there are users and rights.

Whoever knows `cluster.admin_token` may, from anywhere. Without it only who asks over HTTP from one of
`cluster.admin_networks`, by default this machine, and not through a proxy: what a proxy passes on may come from
anywhere. Over a WebSocket nobody can tell whether there is a proxy, so there the token is needed, unless the node
listens for its own machine only.
"""

import hmac
import ipaddress

from server.plugin import PluginApiError, Request

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Access:
    """The door to the actions that change something."""

    def __init__(self, token: str | None, networks: tuple[str, ...], *, is_local_only: bool) -> None:
        """Take the token, the networks as they are written, and whether only this machine can reach the node."""
        self._token = None if token is None else token.encode()
        self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(network) for network in networks)
        self._is_local_only = is_local_only

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
        if session.is_forwarded or (session.is_lasting and not self._is_local_only):
            return False
        address = _address_of(session.remote)
        return address is not None and any(address in network for network in self._networks)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address_of(remote: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(remote.rpartition(":")[0].strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _denied(why: str) -> PluginApiError:
    return PluginApiError(
        "cluster.access.denied", f"This changes the cluster, and is not for everybody: {why}.", 403
    )
