"""One connection, from its acceptance to its end: who is at the other end, what is spoken, and who serves it.

    accepted -> (a proxy's Greeting) -> (TLS: Handshake) -> HttpClient -> (WebSocket's handshake) -> WebSocketClient

Each step takes over the socket from the one before, and everyone who is at one of them can be told to leave. Who may
come is the policy's to say (admission), and how many there may be the listener's. What goes wrong with one client ends
that client, and is logged; nobody else notices.
"""

import socket
from typing import Final

import attrs
import trio
from structlog.typing import FilteringBoundLogger

from server.adapters.admission import Admission
from server.adapters.greeting import Greeting
from server.adapters.handshakes import Handshake, HandshakeFailed, Handshakes, NotTls
from server.adapters.http import HttpClient
from server.adapters.outbox import Outbox
from server.adapters.tls import TlsSocket, TlsWire
from server.adapters.turn import Turn
from server.adapters.websocket import WebSocketClient
from server.adapters.wire import Wire
from server.app import App
from server.core.accounts import Account
from server.core.callers import Caller
from server.core.deflate import SharedDeflate
from server.core.errors import ApiError
from server.core.limits import Limits
from server.core.outbox import OutboxCounters
from server.core.proxy_protocol import ProxyHeaderError

REFUSED_AT_ONCE: Final = 64
"""Clients above a limit that are being told so at the same time; more are closed without a word."""

NOT_TLS: Final = "this port speaks TLS: write https:// or wss://"


@attrs.define(eq=False)
class _Visit:
    """What is known of one who came, until it speaks WebSocket."""

    caller: Caller
    remote: str
    account: Account | None
    """What its address takes up."""
    refusal: ApiError | None
    has_a_place: bool
    """Whether it is counted among the clients. It may be refused all the same."""


class Reception:
    """Everyone who is there, and what is done for each."""

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
        handshakes: Handshakes | None,
    ) -> None:
        """Take what compresses for those who agree to it, and what shakes hands if TLS is spoken."""
        self._app = app
        self._limits = limits
        self._turn = turn
        self._admission = admission
        self._counters = counters
        self._log = log
        self._deflate = deflate
        self._handshakes = handshakes
        self.present: set[Greeting | Handshake | HttpClient | WebSocketClient] = set()
        self.accepted = 0
        """Accepted and not closed yet; those that are only told that there is no room are not among them."""
        self.refused = 0
        """These."""
        self._is_closing = False
        self._someone_left = trio.Event()

    async def attend(
        self,
        sock: socket.socket,
        caller: Caller,
        account: Account | None,
        refusal: ApiError | None,
        clients: trio.Nursery,
    ) -> None:
        """Serve a client until it is gone; with a `refusal`, only tell it that. The caller has counted it, as one or
        the other. `account` is what its address takes up, and is given back; `clients` outlives it.
        """
        visit = _Visit(caller, caller.remote, account, refusal, has_a_place=refusal is None)
        del caller, account, refusal
        try:
            with sock:
                wire = await self._serve_first(sock, visit, clients)
                if wire is not None:
                    del visit.caller  # the wire knows all that matters: no need to keep more for its life
                    try:
                        await self._serve_websocket(wire, clients)
                    finally:
                        wire.give_up()
        except Exception as failure:
            self._log.error("client failed", client=visit.remote, exc_info=failure)
        finally:
            self._admission.leave(visit.account)
            if visit.has_a_place:
                self.accepted -= 1
            else:
                self.refused -= 1
            self._someone_left.set()

    def ask_to_leave(self) -> None:
        """Tell everyone who is there, and who comes from now on, that it is time."""
        self._is_closing = True
        for client in tuple(self.present):
            client.stop()

    async def emptied(self) -> None:
        """Wait until all that were accepted are gone."""
        while self.accepted:
            self._someone_left = trio.Event()
            await self._someone_left.wait()

    # -- Step by step -----------------------------------------------------------------------------------------------

    async def _serve_first(self, sock: socket.socket, visit: _Visit, clients: trio.Nursery) -> Wire | None:
        """Serve a client until it speaks WebSocket; return None when it does not come to that."""
        if self._admission.must_introduce(visit.caller) and not await self._introduced(sock, visit):
            return None
        try:
            connection = await self._connection(sock, visit.remote)
        except HandshakeFailed:
            return None
        except NotTls:
            connection, visit.refusal = sock, ApiError("network.http.unexpected_error", NOT_TLS)
        wire, is_websocket = self._wire(connection, visit, clients), False
        try:
            if visit.refusal is not None:
                await self._refuse(wire, visit, visit.refusal)
            else:
                is_websocket = await self._serve_http(wire, visit.caller)
        finally:
            visit.account = (
                wire.account
            )  # through a proxy, it is only known by the request who a WebSocket is for
            if not is_websocket:
                wire.give_up()
        return wire if is_websocket else None

    async def _introduced(self, sock: socket.socket, visit: _Visit) -> bool:
        """Hear of a proxy whom it has brought; tell whether that is anybody. Before anything else on the wire."""
        greeting = Greeting(sock, self._limits.proxy_header_s)
        self._enter(greeting)
        try:
            introduction = await greeting.run()
        except ProxyHeaderError as error:
            self._admission.no_header(visit.caller, error)
            return False
        finally:
            self.present.discard(greeting)
        if introduction is None:
            return False
        visit.caller = self._admission.introduced(visit.caller, introduction)
        visit.remote = visit.caller.remote
        if visit.refusal is None:
            try:
                visit.account = self._admission.enter(visit.caller)
            except ApiError as error:
                visit.refusal = error
        return True

    async def _connection(self, sock: socket.socket, remote: str) -> socket.socket | TlsSocket:
        """Return what to talk through. Raises HandshakeFailed, and NotTls for who speaks plain text instead."""
        if self._handshakes is None:
            return sock
        handshake = Handshake(sock, remote, self._handshakes)
        self._enter(handshake)
        try:
            return await handshake.run()
        finally:
            self.present.discard(handshake)

    def _wire(self, connection: socket.socket | TlsSocket, visit: _Visit, clients: trio.Nursery) -> Wire:
        outbox = Outbox(
            connection,
            visit.remote,
            self._turn,
            clients,
            limits=self._limits,
            counters=self._counters,
            log=self._log,
        )
        if isinstance(connection, TlsSocket):
            wire: Wire = TlsWire(connection, outbox, visit.remote)
        else:
            wire = Wire(connection, outbox, visit.remote)
        wire.belongs_to(visit.caller, visit.account)
        return wire

    async def _refuse(self, wire: Wire, visit: _Visit, refusal: ApiError) -> None:
        http = self._http(wire, visit.caller)
        if not visit.has_a_place:
            await http.refuse(refusal)
        elif self.refused < REFUSED_AT_ONCE:
            # It gives its place among the clients back first: it must not keep others out.
            self.accepted -= 1
            self.refused += 1
            try:
                await http.refuse(refusal)
            finally:
                self.accepted += 1
                self.refused -= 1

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
            self.present.discard(http)

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
        gate = self._app.gate
        self._enter(websocket)
        gate.entered()
        try:
            if gate.why_closed is not None:  # since its handshake was answered
                websocket.stop()
            await websocket.run()
        finally:
            self.present.discard(websocket)
            gate.left()

    def _enter(self, client: Greeting | Handshake | HttpClient | WebSocketClient) -> None:
        self.present.add(client)
        if self._is_closing:
            client.stop()
