"""The front door: accepts clients, and serves each in a task of its own until it leaves or the node stops.

    listening socket -> _accept -> _attend -> (a proxy's Greeting) -> HttpClient -> (handshake) -> WebSocketClient

Who may come is the policy's to say (admission). It refuses clients above a limit with an answer that says so, and
outlives a machine that has no more sockets to give.
What goes wrong with one client ends that client, and is logged; nobody else notices.
"""

import socket
from contextlib import ExitStack
from typing import Final, Protocol

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from server.adapters.admission import Admission, AdmissionConfig
from server.adapters.greeting import Greeting
from server.adapters.http import HttpClient
from server.adapters.listening import Listening, is_of_one_client, open_listening
from server.adapters.outbox import Outbox
from server.adapters.turn import Turn
from server.adapters.websocket import WebSocketClient
from server.adapters.wire import Wire, prepare
from server.app import App
from server.core.accounts import Account
from server.core.callers import Caller
from server.core.deflate import SharedDeflate
from server.core.errors import ApiError
from server.core.limits import Limits
from server.core.outbox import OutboxCounters
from server.core.proxy_protocol import ProxyHeaderError
from server.core.refusals import RefusalCounters

ACCEPTS_PER_TURN: Final = 64
"""Connections accepted before those that are there have their turn."""

ACCEPT_PAUSE_S: Final = 0.1
"""Before accepting is tried again when the machine has nothing left to accept with. The kernel queues meanwhile."""

REFUSED_AT_ONCE: Final = 64
"""Clients above the limit that are being told so at the same time; more are closed without a word."""

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
    stopping: trio.Event | None = None,
    counters: OutboxCounters | None = None,
    refused: RefusalCounters | None = None,
    log: FilteringBoundLogger | None = None,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen and serve clients until `stopping` is set; then let them go, and return.

    It listens where the configuration says, or at `listening`, which it closes at the end. `started` is told the
    addresses, as (host, port). While `app.gate` is closed, WebSocket clients are closed with 1012 after what waits for
    them, spread over `limits.drain_s`. When `stopping` is set the gate is closed for good; when they are gone nobody is
    accepted any more and requests under way are answered, all within another `limits.stop_s`. Cancelled, it drops
    everyone at once. Somebody must run `turn.run` meanwhile. Raises ListenError.
    """
    with ExitStack() as stack:
        listening = listening or await open_listening(config.server.host, config.server.port)
        stack.callback(listening.close)
        log = log or structlog.get_logger("server.listener")
        door = _Door(
            app,
            config.limits,
            turn,
            Admission(config.server, config.limits, refused or RefusalCounters(), log),
            counters=counters or OutboxCounters(),
            log=log,
            deflate=SharedDeflate(config.limits.deflate_from_bytes) if config.server.compression else None,
        )
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
    """Everyone who is there."""

    def __init__(
        self,
        app: App,
        limits: Limits,
        turn: Turn,
        admission: Admission,
        *,
        counters: OutboxCounters,
        log: FilteringBoundLogger,
        deflate: SharedDeflate | None,
    ) -> None:
        self._app = app
        self._gate = app.gate
        self._limits = limits
        self._turn = turn
        self._admission = admission
        self._counters = counters
        self._log = log
        self._deflate = deflate
        self._clients: set[Greeting | HttpClient | WebSocketClient] = set()
        self._accepted = 0
        """Accepted and not closed yet; those that are only told that there is no room are not among them."""
        self._refused = 0
        self._is_accepting = True
        """False while the machine has nothing to accept with."""
        self._is_closing = False
        self._someone_left = trio.Event()

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
        if self._accepted >= self._limits.connections:
            refusal = self._admission.node_is_full()
        else:
            try:
                account = self._admission.enter(caller)
            except ApiError as error:
                refusal = error
        if refusal is None:
            self._accepted += 1
            clients.start_soon(self._attend, sock, caller, account, None, clients, name="client")
        elif self._refused < REFUSED_AT_ONCE:
            self._refused += 1
            clients.start_soon(self._attend, sock, caller, None, refusal, clients)
        else:
            sock.close()

    async def _pause(self, error: OSError) -> None:
        if self._is_accepting:
            self._is_accepting = False
            self._log.error("cannot accept clients", reason=str(error), clients=self._accepted)
        await trio.sleep(ACCEPT_PAUSE_S)

    # -- One client -------------------------------------------------------------------------------------------------

    async def _attend(
        self,
        sock: socket.socket,
        caller: Caller,
        account: Account | None,
        refusal: ApiError | None,
        clients: trio.Nursery,
    ) -> None:
        is_welcome = refusal is None
        outbox = Outbox(
            sock,
            caller.remote,
            self._turn,
            clients,
            limits=self._limits,
            counters=self._counters,
            log=self._log,
        )
        wire = Wire(sock, outbox, caller.remote)
        wire.belongs_to(caller, account)
        try:
            with sock:
                try:
                    if refusal is not None:
                        await self._http(wire, caller).refuse(refusal)
                        return
                    # Before anything else on the wire, TLS too.
                    client = await self._introduced(sock, wire, caller)
                    if client is not None and await self._serve_http(wire, client):
                        del (
                            caller,
                            client,
                        )  # the wire knows all that matters: no need to keep them for its life
                        await self._serve_websocket(wire, clients)
                finally:
                    wire.give_up()
        except Exception as failure:
            self._log.error("client failed", client=wire.remote, exc_info=failure)
        finally:
            self._admission.leave(wire.account)
            if is_welcome:
                self._accepted -= 1
            else:
                self._refused -= 1
            self._someone_left.set()

    async def _introduced(self, sock: socket.socket, wire: Wire, caller: Caller) -> Caller | None:
        """Return whom to serve: of a proxy, whom it introduces; None when there is nobody."""
        if not self._admission.must_introduce(caller):
            return caller
        greeting = Greeting(sock, self._limits.proxy_header_s)
        self._enter(greeting)
        try:
            introduction = await greeting.run()
        except ProxyHeaderError as error:
            self._admission.no_header(caller, error)
            return None
        finally:
            self._clients.discard(greeting)
        if introduction is None:
            return None
        client = self._admission.introduced(caller, introduction)
        try:
            wire.belongs_to(client, self._admission.enter(client))
        except ApiError as error:
            await self._turn_away(wire, client, error)
            return None
        return client

    async def _turn_away(self, wire: Wire, client: Caller, error: ApiError) -> None:
        """Refuse who has a place among the clients. It gives that back first: it must not keep others out."""
        if self._refused < REFUSED_AT_ONCE:
            self._accepted -= 1
            self._refused += 1
            try:
                await self._http(wire, client).refuse(error)
            finally:
                self._accepted += 1
                self._refused -= 1

    def _http(self, wire: Wire, caller: Caller) -> HttpClient:
        return HttpClient(
            wire,
            self._app,
            self._turn,
            self._limits,
            self._log,
            admission=self._admission,
            caller=caller,
            may_deflate=self._deflate is not None,
        )

    async def _serve_http(self, wire: Wire, caller: Caller) -> bool:
        # A function of its own: a WebSocket client does not keep h11's buffers for all of its life.
        http = self._http(wire, caller)
        self._enter(http)
        try:
            with wire.outbox.life:
                return await http.run()
            return False  # it was cut off
        finally:
            self._clients.discard(http)

    async def _serve_websocket(self, wire: Wire, clients: trio.Nursery) -> None:
        websocket = WebSocketClient(
            wire,
            self._app,
            self._turn,
            clients,
            self._admission,
            limits=self._limits,
            log=self._log,
            deflate=self._deflate if wire.is_deflated else None,
        )
        self._enter(websocket)
        self._gate.entered()
        try:
            if self._gate.why_closed is not None:  # since its handshake was answered
                websocket.stop()
            await websocket.run()
        finally:
            self._clients.discard(websocket)
            self._gate.left()

    def _enter(self, client: Greeting | HttpClient | WebSocketClient) -> None:
        self._clients.add(client)
        if self._is_closing:
            client.stop()

    # -- Everyone ---------------------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """End WebSocket clients without traffic, until cancelled. One task for all: no timer for each."""
        while True:
            await trio.sleep(self._limits.idle_s / SWEEPS)
            for client in tuple(self._clients):
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
            leaving = [client for client in self._clients if isinstance(client, WebSocketClient)]
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
            if self._accepted:
                await trio.sleep(LAST_CHANCE_S)
            self._is_closing = True
            for client in tuple(self._clients):
                client.stop()
            while self._accepted:
                self._someone_left = trio.Event()
                await self._someone_left.wait()
        if patience.cancelled_caught:
            self._log.warning("clients cut off", clients=self._accepted, stop_s=self._limits.stop_s)
