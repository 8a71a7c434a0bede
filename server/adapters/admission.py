"""Who is let in at the front door, and held to what: the policy towards clients and proxies, in one place.

    socket accepted -> caller -> introduced (PROXY header) -> enter ... leave
    HTTP request    -> as_told (X-Forwarded-For) -> check

What is decided here is pure and lives in the core: whose word about an address counts (callers), which pages may ask
(origins), how much an address may take up (accounts). This adds the clock, the counters and the log, where each kind of
refusal is named at the 1st, 2nd, 4th, 8th… time. It refuses to answer anybody: it raises the error, others say it.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import trio
from structlog.typing import FilteringBoundLogger

from server.core.accounts import Account, Accounts
from server.core.callers import Caller, TrustedProxies
from server.core.errors import MAX_PROP_CHARS, ApiError
from server.core.limits import Limits
from server.core.origins import AllowedOrigins
from server.core.proxy_protocol import Introduction, ProxyHeaderError
from server.core.refusals import Refusal, RefusalCounters


class AdmissionConfig(Protocol):
    """Whom to believe, and whom to serve."""

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """Origins of the pages that may ask; `*` for all."""

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        """Networks of the proxies that are believed."""

    @property
    def proxy_protocol(self) -> bool:
        """Whether these begin their connections with a PROXY header."""


class Admission:
    """The policy of one node."""

    def __init__(
        self,
        config: AdmissionConfig,
        limits: Limits,
        counters: RefusalCounters,
        log: FilteringBoundLogger,
    ) -> None:
        """Take what is allowed. Raises ValueError for what is no network or no origin."""
        self._proxies = TrustedProxies(config.trusted_proxies)
        self._has_headers = config.proxy_protocol
        self._origins = AllowedOrigins(config.allowed_origins)
        self._accounts = Accounts(limits)
        self._limits = limits
        self._counters = counters
        self._log = log

    # -- Connections ------------------------------------------------------------------------------------------------

    def caller(self, address: Any) -> Caller:
        """Return who is at the other end of a socket, from its address."""
        return self._proxies.direct(*address[:2])

    def must_introduce(self, caller: Caller) -> bool:
        """Tell whether this connection begins with a PROXY header."""
        return self._has_headers and caller.is_proxy

    def introduced(self, proxy: Caller, introduction: Introduction) -> Caller:
        """Return for whom a proxy opened a connection."""
        return self._proxies.introduced(proxy, introduction)

    def enter(self, caller: Caller) -> Account | None:
        """Let a connection in: return what its address takes up, to be given to `leave`; None for whom nothing is
        counted. Raises ApiError (429) when the address has as many connections as it may."""
        key = caller.counted_as
        if not key or not self._accounts.are_kept:
            return None
        account = self._accounts.enter(key, trio.current_time())
        if account is None:
            self._over(Refusal.ADDRESS_FULL, caller.remote, "address_connections")
            raise ApiError("network.entrypoint.too_many_connections")
        return account

    def leave(self, account: Account | None) -> None:
        """Hear that a connection that was let in is gone."""
        if account is not None:
            self._accounts.leave(account, trio.current_time())

    def node_is_full(self) -> ApiError:
        """Count one for whom there is no room on the node; return what to say."""
        self._counters.count(Refusal.NODE_FULL)
        return ApiError("api.process.overloaded")

    # -- Requests ---------------------------------------------------------------------------------------------------

    def as_told(self, caller: Caller, headers: Mapping[str, str]) -> Caller:
        """Return for whom a request is made, by its headers, if their word counts."""
        return self._proxies.forwarded(caller, headers)

    def check_origin(self, caller: Caller, headers: Mapping[str, str]) -> None:
        """Raise ApiError (401) for a page that may not ask."""
        origin = headers.get("origin", "")
        if not self._origins.allows(origin):
            if self._counters.count(Refusal.ORIGIN):
                times = self._counters.by_reason[Refusal.ORIGIN]
                shown = origin[:MAX_PROP_CHARS]
                self._log.info("origin refused", client=caller.remote, origin=shown, times=times)
            raise ApiError("api.process.unauthorized_origin", origin)

    def check_rate(self, caller: Caller, account: Account | None) -> None:
        """Raise ApiError (429) when an address asks for more than it may. `account` is the connection's; through a
        proxy each request may be another's, and has its own."""
        if not self._limits.address_requests_per_s:
            return
        key = caller.counted_as
        if account is None and key:
            account = self._accounts.visit(key, trio.current_time())
        if account is not None and not self.granted(account, 1, caller.remote):
            raise ApiError("api.process.too_many_requests")

    def granted(self, account: Account, wanted: int, remote: str) -> int:
        """Return how many of so many requests an address may make now."""
        if account.requests is None:
            return wanted
        granted = account.requests.take(wanted, trio.current_time())
        if granted < wanted:
            self._over(Refusal.REQUESTS, remote, "address_requests_per_s")
        return granted

    def allow_origin(self, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Return the headers that let the page read the answer to a request that was let in."""
        origin = headers.get("origin", "")
        if origin and origin.isascii():
            return (("Access-Control-Allow-Origin", origin), ("Vary", "Origin"))
        return () if self._origins.are_all else (("Vary", "Origin"),)

    # -- The PROXY header -------------------------------------------------------------------------------------------

    def no_header(self, proxy: Caller, error: ProxyHeaderError) -> None:
        """Hear that a proxy did not introduce its connection."""
        if self._counters.count(Refusal.PROXY_HEADER):
            times = self._counters.by_reason[Refusal.PROXY_HEADER]
            self._log.warning("proxy header refused", client=proxy.remote, reason=str(error), times=times)

    def _over(self, why: Refusal, remote: str, limit: str) -> None:
        if self._counters.count(why):
            most, times = getattr(self._limits, limit), self._counters.by_reason[why]
            self._log.warning("address over its limit", client=remote, limit=limit, most=most, times=times)
