"""Finds the one server that has the pool's keys, and sends it commands: one Redis, the master of some Sentinels, or the
node of a Redis Cluster. Everything here blocks, and is for one worker thread at a time.

Whatever the kind, the pool is two keys at one server, so one ordinary connection is all that is needed. It is kept as
long as it works. After any failure it is dropped, and the next command begins at the URL again: after a fail-over, a
restart or a change of addresses nothing remembered can be in the way.

Every error comes out as `PoolUnavailable`, in words that name the server and never a password.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from typing import Any, Final

import attrs
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, MovedError, NoPermissionError, TryAgainError
from redis.retry import Retry

from cluster.adapters.redis_url import (
    ClusterNodes,
    Place,
    RedisLogin,
    RedisSource,
    RedisTls,
    Sentinels,
    Server,
    Socket,
)
from cluster.errors import PoolUnavailable

ANSWER_LIMIT_S = 2.0
"""How long Redis may take to accept a connection, and again to answer. Set here, because redis-py's defaults differ
between its versions. A frozen Redis costs a worker thread this long, and nothing else."""

FIND_LIMIT_S = 1.0
"""The same for a Sentinel: the next one may know."""

LOOK_AGAIN_S = 10.0
"""How often one Sentinel is asked whether the master is still the same, while the master answers. One that was cut off
from the Sentinels but not from this node would answer for ever, with a pool that nobody else sees."""

REDIRECTIONS = 4
"""How often nodes of a Redis Cluster may send a command on. Once is normal; they disagree while one takes over."""


class Finder:
    """The way to the server. Nothing is connected before the first `run`."""

    def __init__(self, source: RedisSource) -> None:
        self._source = source
        self._server: _Connected | None = None
        self._last: Place | Socket | None = None
        """The last that was connected to."""
        self._sentinels = list(source.target.places) if isinstance(source.target, Sentinels) else []
        """The one that answered last comes first."""
        self._asked_at = 0.0

    def run(self, *command: Any) -> Any:
        """Send the command to the server that has its keys, and return the answer. Raises `PoolUnavailable`, after
        twice `ANSWER_LIMIT_S` for each server that was tried, at most (and what the system takes to look up names)."""
        self._look_again()
        if self._server is not None:
            try:
                return self._send(self._server, command)
            except _Outdated:
                pass  # found anew, it may be well
        match self._source.target:
            case Server(place):
                return self._send(self._connect(place), command)
            case Sentinels(_, master):
                return self._send_to_master(master, command)
            case ClusterNodes(places):
                return self._send_to_any(places, command)

    def close(self) -> None:
        """Drop the connection; the next command makes a new one."""
        if self._server is not None:
            self._server.client.close()
            self._server = None

    # -- one server --

    def _connect(self, place: Place | Socket) -> _Connected:
        self.close()
        self._last = place
        self._server = _Connected(place, _client(place, self._source, self._source.login, ANSWER_LIMIT_S))
        return self._server

    def _send(self, server: _Connected, command: tuple[Any, ...]) -> Any:
        for _ in range(REDIRECTIONS):
            try:
                return _execute(server.client, *command)
            except MovedError as moved:
                if not isinstance(self._source.target, ClusterNodes):
                    raise self._failed(server.place, moved) from moved
                server = self._connect(_moved_to(moved, server.place))
            except _ERRORS as error:
                raise self._failed(server.place, error) from error
        self.close()
        raise PoolUnavailable(
            f"Redis Cluster: its nodes send each other our keys, {server.place} was the last: a fail-over may be "
            "under way"
        )

    def _failed(self, place: Place | Socket, error: Exception) -> PoolUnavailable:
        self.close()
        text = _in_words(f"Redis at {place}", error, self._source.login.password)
        text = self._source.without_passwords(text)
        match error:
            case redis.AuthenticationError():
                return PoolUnavailable(text)
            case redis.ConnectionError():
                return _Outdated(text)
            case _ if _is_of_a_replica(error):
                return _Outdated(text)
            case _:
                return PoolUnavailable(text)

    # -- Redis Cluster --

    def _send_to_any(self, places: tuple[Place, ...], command: tuple[Any, ...]) -> Any:
        """Send it to the first that answers; who is sent on from there has to answer as well."""
        failures = []
        for place in places:
            entrance = self._connect(place)
            try:
                return self._send(entrance, command)
            except PoolUnavailable as failure:
                if self._last != place:
                    raise  # the others would send us to the same one
                failures.append(str(failure))
        raise PoolUnavailable("; ".join(failures))

    # -- Sentinel --

    def _send_to_master(self, name: str, command: tuple[Any, ...]) -> Any:
        place = self._ask_all(name)
        try:
            return self._send(self._connect(place), command)
        except PoolUnavailable:
            self._ask_another_next()
            raise

    def _ask_another_next(self) -> None:
        """The first one does not answer; or it may be cut off from the others, and name a master of yesterday."""
        self._sentinels.append(self._sentinels.pop(0))

    def _look_again(self) -> None:
        match self._source.target:
            case Sentinels(_, master) if (
                self._server is not None and time.monotonic() - self._asked_at > LOOK_AGAIN_S
            ):
                self._asked_at = time.monotonic()
                try:
                    place = self._ask(self._sentinels[0], master)
                except PoolUnavailable:
                    self._ask_another_next()  # until then, what was said last holds
                    return
                if place != self._server.place:
                    self.close()
            case _:
                pass

    def _ask_all(self, master: str) -> Place:
        failures = []
        for sentinel in tuple(self._sentinels):
            try:
                place = self._ask(sentinel, master)
            except PoolUnavailable as failure:
                failures.append(str(failure))
            else:
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                self._asked_at = time.monotonic()
                return place
        raise PoolUnavailable("; ".join(failures))

    def _ask(self, sentinel: Place, master: str) -> Place:
        """As Redis's guidelines for clients of Sentinel have it, but for ROLE: who is no master takes no card."""
        login = self._source.login
        theirs = RedisLogin(user=login.sentinel_user, password=login.sentinel_password)
        client = _client(sentinel, self._source, theirs, FIND_LIMIT_S)
        try:
            answer = _execute(client, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", master)
        except _ERRORS as error:
            text = _in_words(f"Sentinel at {sentinel}", error, theirs.password, limit_s=FIND_LIMIT_S)
            raise PoolUnavailable(self._source.without_passwords(text)) from error
        finally:
            client.close()
        match answer:
            case [bytes(host), bytes(port)] if re.fullmatch(rb"[0-9]{1,5}", port):
                return Place(host.decode(errors="replace"), int(port))
            case _:
                raise PoolUnavailable(f'Sentinel at {sentinel} knows no master of the name "{master}"')


@attrs.frozen
class _Connected:
    place: Place | Socket
    client: redis.Redis


class _Outdated(PoolUnavailable):
    """The connection is closed, or the server is no master any more: another may have taken over."""


_ERRORS: Final = (redis.RedisError, OSError, ValueError, OverflowError)
"""What a command may raise; the last two are what becomes of names and ports that cannot be any."""


def _execute(client: redis.Redis, *command: Any) -> Any:
    return client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py types its commands, not this


def _moved_to(moved: MovedError, asked: Place | Socket) -> Place:
    """Where the keys are. A node that does not know its own name leaves it out: it is the one that was asked."""
    host = moved.host or (asked.host if isinstance(asked, Place) else "")
    return Place(host, moved.port)


class _TlsConnection(redis.Connection):
    """redis-py's own would believe the machine's certificate authorities besides the one that it is given."""

    def __init__(self, *, tls: RedisTls, **options: Any) -> None:
        self._tls = tls
        super().__init__(**options)  # type: ignore[no-untyped-call]  # like all of redis-py's connections

    def _connect(self) -> socket.socket:
        plain: socket.socket = super()._connect()  # type: ignore[no-untyped-call]
        try:
            return self._tls.context().wrap_socket(plain, server_hostname=self.host)
        except TimeoutError as error:
            plain.close()
            raise OSError("it does not answer to TLS: is it a port without?") from error
        except BaseException:
            plain.close()
            raise


_NO_RETRY: Final = Retry(NoBackoff(), 0)
"""Who tries again, and where, is decided here."""


def _client(place: Place | Socket, source: RedisSource, login: RedisLogin, limit_s: float) -> redis.Redis:
    options: dict[str, Any] = {
        "username": login.user or None,
        "password": login.password or None,
        "socket_connect_timeout": limit_s,
        "socket_timeout": limit_s,
        "retry": _NO_RETRY,
        "client_name": "shoal",
        "protocol": 2,  # what every Redis and every Sentinel speaks; which one is the default differs between versions
    }
    if login is source.login:
        options["db"] = source.database
    match place:
        case Socket(path):
            options |= {"connection_class": redis.UnixDomainSocketConnection, "path": path}
        case Place(host, port):
            options |= {"host": host, "port": port}
            if source.tls is not None:
                options |= {"connection_class": _TlsConnection, "tls": source.tls}
    return redis.Redis.from_pool(redis.ConnectionPool(**options))


# -- In words --------------------------------------------------------------------------------------------------------


def _in_words(who: str, error: Exception, password: str | None, *, limit_s: float = ANSWER_LIMIT_S) -> str:
    match error:
        case redis.AuthenticationError() if password:
            return f"{who} does not accept the user and password"  # its own text may repeat them
        case redis.AuthenticationError():
            return f"{who} wants a password, and none is configured"
        case redis.TimeoutError():
            return f"{who} did not answer within {limit_s:g} s"
        case NoPermissionError():
            return f"{who} does not let this user do what the pool needs: {error}"
        case _ if _is_of_a_replica(error):
            return f"{who} is a replica and takes no cards: a fail-over may be under way"
        case MovedError():
            return f"{who} is part of a Redis Cluster, and another part has our keys: use redis-cluster://"
        case AskError() | TryAgainError():
            return f"{who} is giving our keys to another node"
        case ClusterDownError():
            return f"{who} says that the Redis Cluster is down: {error}"
        case redis.ConnectionError(__context__=OSError() as cause):
            return f"{who}: {_of_the_system(cause)}"
        case _:
            return f"{who}: {error}" if str(error) else f"{who}: {type(error).__name__}"


def _is_of_a_replica(error: Exception) -> bool:
    """Before Redis 7, what a script met with was text within another error."""
    return isinstance(error, redis.ReadOnlyError) or "READONLY" in str(error)


def _of_the_system(error: OSError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            why = error.verify_message.rstrip(".")
            return f"its certificate is not believed: {why} (redis_tls.ca says who is believed)"
        case ssl.SSLEOFError():
            return "it closed the TLS connection: it may want a certificate of this node, see redis_tls.certificate"
        case ssl.SSLError(reason=str(reason)) if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE" in reason:
            return f"it wants a certificate of this node: set redis_tls.certificate ({reason})"
        case ssl.SSLError(reason=str(reason)) if "ALERT" in reason:
            return f"it does not accept the certificate in redis_tls.certificate ({reason})"
        case ssl.SSLError(reason=str(reason)) if "WRONG_VERSION" in reason or "RECORD_LAYER" in reason:
            return f"it does not speak TLS on this port ({reason})"
        case _:
            return error.strerror or str(error) or type(error).__name__
