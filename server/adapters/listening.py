"""Where clients are listened for: sockets opened, and shared by the workers of one server.

Workers share a port by SO_REUSEPORT where the kernel spreads connections over the sockets of one port (Linux): each
has a socket of its own, which the process that started it keeps open. So what the kernel has accepted for a worker that
died waits for the next one, and is not reset. Elsewhere all accept at one socket, and connections spread as they happen
to. It refuses to share a port with a program that is not ours: the first socket is opened for us alone.
"""

import errno
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import attrs
import trio

from server.core.callers import address_text

BACKLOG: Final = 1_024
"""Connections that the kernel completes before we accept them; it cuts this down to its own limit."""

SPREADS: Final = sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")
"""Whether the kernel spreads connections over sockets of one port. Others know the option, and give all to one."""


_CLIENTS_OWN: Final = frozenset(
    (
        *(errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.ENETUNREACH),
        *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.ETIMEDOUT),
    )
)
"""Linux reports what befell one connection as an error of accept (accept(2)): the next one may be well."""


class ListenError(Exception):
    """The node cannot listen where it was told to; the message says why, and what to do."""


@attrs.frozen(eq=False)
class Listening:
    """The sockets at which one process accepts clients, not blocking."""

    sockets: Sequence[socket.socket]
    is_shared: bool = False
    """Whether other processes accept at the very same sockets."""

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Each socket's (host, port)."""
        return [sock.getsockname()[:2] for sock in self.sockets]

    def shared_among(self, workers: int) -> list["Listening"]:
        """Return what each of so many workers is to listen at. Raises ListenError."""
        if not SPREADS:
            return [Listening(self.sockets, is_shared=True)] * workers
        for sock in self.sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return [self, *(Listening(_beside(self.sockets)) for _ in range(workers - 1))]

    def pause(self) -> None:
        """Accept nobody until `resume`: the kernel gives connections to the other sockets of the port. What waits here
        is reset. Does nothing to sockets that others accept at, too."""
        if not self.is_shared:
            for sock in self.sockets:
                with suppress(OSError):  # it accepts nobody already; or not on this platform
                    sock.shutdown(socket.SHUT_RDWR)

    def resume(self) -> None:
        """Accept again; changes nothing where it is accepted already. Raises ListenError."""
        for sock in self.sockets:
            try:
                sock.listen(BACKLOG)
            except OSError as error:
                host, port = sock.getsockname()[:2]
                raise ListenError(_why_not(host, port, error)) from error

    def close(self) -> None:
        """Close the sockets; also those that the process which started this one keeps accept nobody until `resume`."""
        self.pause()
        _close(self.sockets)


async def open_listening(host: str, port: int) -> Listening:
    """Open a listening socket for each address that `host` stands for. Raises ListenError."""
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ListenError(
            f'cannot listen on "{host}": it is no address of this machine. Use 127.0.0.1 for this machine only, '
            "0.0.0.0 for all of IPv4, :: for every address (server.host)"
        ) from error
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        at = (address[0], port or _port_of(sockets), *address[2:])
        try:
            sockets.append(_open(family, at, is_v6_only=host != "::"))
        except OSError as error:
            failure = error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
            # Such as ::1 of a name, on a machine without IPv6: its other addresses will do.
    else:
        if sockets:
            return Listening(sockets)
    _close(sockets)
    raise ListenError(_why_not(host, port, failure)) from failure


def _beside(others: Sequence[socket.socket]) -> list[socket.socket]:
    """Open one more listening socket at each one's address."""
    sockets: list[socket.socket] = []
    for other in others:
        is_v6_only = other.family == socket.AF_INET6 and bool(
            other.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        )
        try:
            sockets.append(_open(other.family, other.getsockname(), is_v6_only=is_v6_only, is_beside=True))
        except OSError as error:
            _close(sockets)
            host, port = other.getsockname()[:2]
            raise ListenError(_why_not(host, port, error)) from error
    return sockets


def is_of_one_client(error: OSError) -> bool:
    """Tell whether what `accept` raised befell one connection, and says nothing of the next."""
    return error.errno in _CLIENTS_OWN


def _open(family: int, address: Any, *, is_v6_only: bool, is_beside: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # A restarted node need not wait for the connections of its former life to be forgotten.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_beside:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, is_v6_only)
        with _reserved(sock, address) as reserved:
            sock.bind(reserved)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


@contextmanager
def _reserved(sock: socket.socket, address: Any) -> Iterator[Any]:
    """Give the address with a free port in place of 0: a port that the kernel chose at `bind`, it takes back when the
    socket pauses."""
    if address[1]:
        yield address
        return
    with socket.socket(sock.family, sock.type) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(address)
        yield (address[0], holder.getsockname()[1], *address[2:])


def _close(sockets: Sequence[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _port_of(sockets: Sequence[socket.socket]) -> int:
    """Return the port that the first socket was given, for the others to take the same; 0 if there is none yet."""
    return int(sockets[0].getsockname()[1]) if sockets else 0


def _why_not(host: str, port: int, error: OSError | None) -> str:
    where = f"cannot listen on {address_text(host, port)}"
    match error.errno if error is not None else None:
        case errno.EADDRINUSE:
            return (
                f"{where}: another program has this port, maybe another node. Stop it, or choose another port "
                "with --port (server.port); 0 takes any free one"
            )
        case errno.EACCES:
            return f"{where}: not allowed; ports below 1024 need a privilege. Choose another with --port (server.port)"
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return (
                f"{where}: this machine has no such address. Use 127.0.0.1 for this machine only, "
                "0.0.0.0 for all of IPv4, :: for every address (server.host)"
            )
        case _:
            return f"{where}: {error}"
