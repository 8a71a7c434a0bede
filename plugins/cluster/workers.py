"""The addresses of several workers of one server: where each is bound, and where it finds the others.

The first is bound where the configuration says, each further one ten ports above the one before, or at a path of its
own; a firewall can be told so. Among themselves they use sockets in the directory that they share, so they find each
other without Redis, too. Nothing here is opened.
"""

import re
from typing import Final

import attrs

from cluster import Bindings, ConfigurationError, Near
from server.plugin import Worker

PORT_STEP: Final = 10
"""Between the ports of one worker and the next: 7510 and 7511 become 7520 and 7521, and 7512 stays the clients'."""


def bindings_of(worker: Worker, configured: Bindings) -> Bindings:
    """Return where a worker is bound. Raises `ConfigurationError` when there is no room for all of them."""
    ports = [_port_of(configured.pub), _port_of(configured.router)]
    for port in ports:
        if (last := port + PORT_STEP * (worker.of - 1)) > 65_535:
            raise ConfigurationError(
                f"bindings: {worker.of} workers from port {port} on, each {PORT_STEP} above the one before, would need "
                f"port {last}. Choose lower ports, or * for any free ones"
            )
    pub, router = ports
    apart = abs(pub - router)
    if pub and router and apart % PORT_STEP == 0 and apart < PORT_STEP * worker.of:
        raise ConfigurationError(
            f"bindings: pub has port {pub} and router {router}, and each worker is {PORT_STEP} ports above the one "
            "before: two of them would meet. Choose ports next to each other, such as 7510 and 7511"
        )
    return attrs.evolve(
        configured,
        pub=_shifted(configured.pub, worker.number),
        router=_shifted(configured.router, worker.number),
    )


def near_of(worker: Worker, number: int) -> Near:
    """Return where siblings reach the worker of that number."""
    at = f"ipc://{worker.directory}/{number}"
    return Near(site=worker.directory, pub=f"{at}.pub", router=f"{at}.router")


def siblings_of(worker: Worker) -> list[Near]:
    """Return where a worker reaches each of the others."""
    return [near_of(worker, number) for number in range(1, worker.of + 1) if number != worker.number]


def _port_of(address: str) -> int:
    """Return the port of a resolved address; 0 when it has none, or any free one."""
    match = re.fullmatch(r"tcp://.*:(\d+)", address)
    return int(match[1]) if match else 0


def _shifted(address: str, number: int) -> str:
    if number == 1:
        return address
    if port := _port_of(address):
        return f"{address.rpartition(':')[0]}:{port + PORT_STEP * (number - 1)}"
    return f"{address}.{number}" if address.startswith("ipc://") else address
