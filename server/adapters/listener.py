"""The front door: accepts clients, has each served in a task of its own, and lets them all go when the node stops.

    listening socket -> accept -> Admission -> Reception.attend, once for each

It refuses clients above a limit with an answer that says so, and outlives a machine that has no more sockets to give.
"""

import socket
from contextlib import ExitStack
from typing import Final, Protocol

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from server.adapters.admission import Admission, AdmissionConfig
from server.adapters.certificates import Certificates
from server.adapters.handshakes import Handshakes
from server.adapters.listening import Listening, is_of_one_client, open_listening
from server.adapters.reception import REFUSED_AT_ONCE, Reception
from server.adapters.turn import Turn
from server.adapters.websocket import WebSocketClient
from server.adapters.wire import prepare
from server.app import App
from server.core.callers import Caller
from server.core.deflate import SharedDeflate
from server.core.errors import ApiError
from server.core.limits import Limits
from server.core.outbox import OutboxCounters
from server.core.refusals import RefusalCounters
from server.gate import Gate

ACCEPTS_PER_TURN: Final = 64
"""Connections accepted before those that are there have their turn."""

ACCEPT_PAUSE_S: Final = 0.1
"""Before accepting is tried again when the machine has nothing left to accept with. The kernel queues meanwhile."""

SWEEPS: Final = 10
"""Looks at each WebSocket client within the idle limit, which is kept to within one of them."""

SLICES_PER_S: Final = 20
"""Groups in which clients are told to leave: small enough to spread them, few enough to be no work."""

TOLD_PER_S: Final = 100
"""Clients told to leave in a second, at least: other nodes do not notice so few, and nobody waits for nothing."""

LAST_CHANCE_S: Final = 0.1
"""From the end of listening until connections without a request are closed. A proxy that got the last connection, or
took one that was idle, sends its request within a round trip; cut off, it could not know whether that was done."""


class ServerPart(AdmissionConfig, Protocol):
    """Where to listen, and how to talk."""

    @property
    def host(self) -> str:
        """Address or name; `0.0.0.0` for all of IPv4, `::` for all."""

    @property
    def port(self) -> int:
        """TCP port; 0 for any free one."""

    @property
    def compression(self) -> bool:
        """Whether to agree to compression with WebSocket clients that offer it."""


class ListenerConfig(Protocol):
    """The part of the node's configuration that the listener reads."""

    @property
    def server(self) -> ServerPart:
        """Where to listen, and how to talk."""

    @property
    def limits(self) -> Limits:
        """What one client, and all of them, may take up."""


async def serve(
    app: App,
    config: ListenerConfig,
    turn: Turn,
    *,
    listening: Listening | None = None,
    certificates: Certificates | None = None,
    stopping: trio.Event | None = None,
    counters: OutboxCounters | None = None,
    refused: RefusalCounters | None = None,
    log: FilteringBoundLogger | None = None,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen and serve clients until `stopping` is set; then let them go, and return.

    It listens where the configuration says, or at `listening`, which it closes at the end; it speaks TLS if there are
    `certificates`, and only then. `started` is told the addresses, as (host, port). While `app.gate` is closed,
    WebSocket clients are closed with 1012 after what waits for them, spread over `limits.drain_s`. When `stopping` is
    set the gate is closed for good; when they are gone nobody is accepted any more and requests under way are answered,
    all within another `limits.stop_s`. Cancelled, it drops everyone at once. Somebody must run `turn.run` meanwhile.
    Raises ListenError.
    """
    with ExitStack() as stack:
        listening = listening or await open_listening(config.server.host, config.server.port)
        stack.callback(listening.close)
        log = log or structlog.get_logger("server.listener")
        handshakes = None
        if certificates is not None:
            handshakes = Handshakes(certificates, config.limits.tls_handshake_s, gate=app.gate, log=log)
        admission = Admission(config.server, config.limits, refused or RefusalCounters(), log)
        reception = Reception(
            app,
            config.limits,
            turn,
            admission,
            counters=counters or OutboxCounters(),
            log=log,
            deflate=SharedDeflate(config.limits.deflate_from_bytes) if config.server.compression else None,
            handshakes=handshakes,
        )
        door = _Door(app.gate, config.limits, admission, reception, log)
        task_status.started(listening.addresses)
        async with trio.open_nursery() as clients:
            async with trio.open_nursery() as accepting:
                for sock in listening.sockets:
                    accepting.start_soon(door.accept, sock, clients)
                accepting.start_soon(door.sweep)
                accepting.start_soon(door.move)
                await (trio.Event() if stopping is None else stopping).wait()
                app.gate.close("the node is stopping")
                until = trio.current_time() + door.spread_s + config.limits.stop_s
                with trio.move_on_at(until):
                    await app.gate.emptied()
                accepting.cancel_scope.cancel()
            for sock in listening.sockets:
                door.accept_at_hand(sock, clients)
            stack.close()
            await door.let_everyone_go(until)
            clients.cancel_scope.cancel()


class _Door:
    """Who is let in, and when they have to go."""

    def __init__(
        self,
        gate: Gate,
        limits: Limits,
        admission: Admission,
        reception: Reception,
        log: FilteringBoundLogger,
    ) -> None:
        self._gate = gate
        self._limits = limits
        self._admission = admission
        self._reception = reception
        self._log = log
        self._is_accepting = True
        """False while the machine has nothing to accept with."""

    # -- Accepting --------------------------------------------------------------------------------------------------

    async def accept(self, listening: socket.socket, clients: trio.Nursery) -> None:
        """Accept clients until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(listening)
            if (error := self.accept_at_hand(listening, clients)) is not None:
                await self._pause(error)

    def accept_at_hand(self, listening: socket.socket, clients: trio.Nursery) -> OSError | None:
        """Accept those that the kernel has ready, within a bound; return what keeps the machine from accepting more."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                return None
            except OSError as error:
                if not is_of_one_client(error):
                    return error
            else:
                self._admit(sock, self._admission.caller(address), clients)
        return None

    def _admit(self, sock: socket.socket, caller: Caller, clients: trio.Nursery) -> None:
        if not self._is_accepting:
            self._is_accepting = True
            self._log.info("accepting clients again")
        prepare(sock, self._limits.idle_s)
        account, refusal = None, None
        reception = self._reception
        if reception.accepted >= self._limits.connections:
            refusal = self._admission.node_is_full()
        else:
            try:
                account = self._admission.enter(caller)
            except ApiError as error:
                refusal = error
        if refusal is None:
            reception.accepted += 1
            clients.start_soon(reception.attend, sock, caller, account, None, clients, name="client")
        elif reception.refused < REFUSED_AT_ONCE:
            reception.refused += 1
            clients.start_soon(reception.attend, sock, caller, None, refusal, clients)
        else:
            sock.close()

    async def _pause(self, error: OSError) -> None:
        if self._is_accepting:
            self._is_accepting = False
            self._log.error("cannot accept clients", reason=str(error), clients=self._reception.accepted)
        await trio.sleep(ACCEPT_PAUSE_S)

    # -- Everyone ---------------------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """End WebSocket clients without traffic, until cancelled. One task for all: no timer for each."""
        while True:
            await trio.sleep(self._limits.idle_s / SWEEPS)
            for client in tuple(self._reception.present):
                if isinstance(client, WebSocketClient):
                    client.sweep(SWEEPS)

    @property
    def spread_s(self) -> float:
        """How long it takes to tell all WebSocket clients to leave."""
        return min(self._limits.drain_s, self._gate.clients / TOLD_PER_S)

    async def move(self) -> None:
        """Whenever the gate is closed, tell the WebSocket clients to leave, spread over time; until cancelled."""
        while True:
            await self._gate.closed()
            leaving = [client for client in self._reception.present if isinstance(client, WebSocketClient)]
            slices = max(1, round(self.spread_s * SLICES_PER_S))
            for number in range(slices):
                for client in leaving[number::slices]:
                    client.stop()
                if number + 1 < slices:
                    await trio.sleep(1 / SLICES_PER_S)
                if self._gate.why_closed is None:
                    break
            await self._gate.opened()

    async def let_everyone_go(self, until: float) -> None:
        """Tell everyone who is still there to leave, and wait until they have; at most until then."""
        with trio.move_on_at(until) as patience:
            if self._reception.accepted:
                await trio.sleep(LAST_CHANCE_S)
            self._reception.ask_to_leave()
            await self._reception.emptied()
        if patience.cancelled_caught:
            self._log.warning("clients cut off", clients=self._reception.accepted, stop_s=self._limits.stop_s)
