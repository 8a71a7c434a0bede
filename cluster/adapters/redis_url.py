"""What an operator says about Redis: one URL, and next to it logins and certificates. Nothing is connected here.

    redis://[user:password@]host[:6379][/database]           one server; `rediss://` is the same with TLS
    unix://[user:password@]/path/of/the.sock[?db=database]
    redis-sentinel://[user:password@]host[:26379],host,…/name[/database]     whichever server the Sentinels call master
    redis-cluster://[user:password@]host[:6379],host,…                       some nodes of a Redis Cluster
    rediss-sentinel://, rediss-cluster://                                    the same with TLS

The schemes are those of Lettuce and of other clients that know these kinds. No message made here repeats a part of the
URL in which a password may be: it may be written in the wrong place.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import unquote

import attrs

from cluster.errors import ConfigurationError

ADDRESSES: Final = 16
"""Sentinels, or nodes of a Redis Cluster, in one URL: three to five are usual, and any one that answers will do. Each
that does not answer costs a visit up to four seconds, so there has to be an end."""

_REDIS_PORT = 6379
_SENTINEL_PORT = 26379


def _help(text: str) -> dict[str, str]:
    return {"help": text, "unit": ""}


@attrs.frozen(kw_only=True)
class RedisLogin:
    """Who this node is for Redis and for its Sentinels."""

    user: str | None = attrs.field(
        default=None, metadata=_help("User of Redis's access control lists, if it is not in the URL.")
    )
    password: str | None = attrs.field(
        default=None,
        repr=False,
        metadata=_help("Password for Redis, as it is; in the URL it would have to be percent-encoded."),
    )
    sentinel_user: str | None = attrs.field(
        default=None, metadata=_help("User for the Sentinels, which have users of their own.")
    )
    sentinel_password: str | None = attrs.field(
        default=None,
        repr=False,
        metadata=_help(
            "Password for the Sentinels, if they want one. The password for Redis is never sent to them."
        ),
    )


@attrs.frozen(kw_only=True)
class RedisTls:
    """Certificates for `rediss`. The files are read again for every new connection, so that they can be renewed."""

    ca: str | None = attrs.field(
        default=None,
        metadata=_help(
            "File (PEM) with the certificate of the authority that signed Redis's: only this one is believed. "
            "Not set: those that this machine believes."
        ),
    )
    certificate: str | None = attrs.field(
        default=None,
        metadata=_help("File (PEM) with this node's certificate, if Redis wants one (`tls-auth-clients`)."),
    )
    key: str | None = attrs.field(
        default=None,
        metadata=_help(
            "File (PEM) with the private key of `redis_tls.certificate`, without a passphrase. Not set: it is in the "
            "same file."
        ),
    )

    @property
    def is_set(self) -> bool:
        """Whether any file is named."""
        return any(attrs.astuple(self))

    def context(self) -> ssl.SSLContext:
        """Read the files. Raises OSError (of which `ssl.SSLError` is one)."""
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None:
            # With a password given, a key that wants one is refused. Without, OpenSSL would ask for it on the terminal.
            context.load_cert_chain(self.certificate, self.key, password="")
        return context

    def check(self) -> None:
        """Read each file once. Raises `ConfigurationError` that names the key."""
        if self.key is not None and self.certificate is None:
            raise ConfigurationError("redis_tls.key is set without redis_tls.certificate, whose key it is")
        for name in ("ca", "certificate", "key"):
            path: str | None = getattr(self, name)
            if path is not None:
                _check_readable(f"redis_tls.{name}", path)
        try:
            ssl.create_default_context(cafile=self.ca)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"redis_tls.ca: {self.ca} has no certificate (PEM) in it: {error.reason or error}"
            ) from error
        try:
            self.context()
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"redis_tls.certificate: {self.certificate} and redis_tls.key: {self.key or self.certificate} cannot "
                f"be used together: {error.reason or error}. Both have to be PEM, the key without a passphrase and "
                "that of the certificate"
            ) from error


@attrs.frozen
class Place:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class Socket:
    """A Unix socket."""

    path: str

    def __str__(self) -> str:
        return self.path


@attrs.frozen
class Server:
    """One server, always the same."""

    place: Place | Socket


@attrs.frozen
class Sentinels:
    """Those who know which server is the master of that name."""

    places: tuple[Place, ...]
    master: str


@attrs.frozen
class ClusterNodes:
    """Some nodes of a Redis Cluster: each knows who has which keys."""

    places: tuple[Place, ...]


Target = Server | Sentinels | ClusterNodes


@attrs.frozen(kw_only=True)
class RedisSource:
    """Everything that is needed to find and to enter the server in which the pool is."""

    target: Target
    database: int
    login: RedisLogin
    tls: RedisTls | None

    def without_passwords(self, text: str) -> str:
        """The text with `***` for each password."""
        for secret in (self.login.password, self.login.sentinel_password):
            if secret:
                text = text.replace(secret, "***")
        return text


_SCHEME: Final = re.compile(r"(?:redis(?P<tls>s)?(?:-(?P<kind>sentinel|cluster))?|unix)://")
_PLACE: Final = re.compile(
    r"(?:\[(?P<ip>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+))(?::(?P<port>[0-9]{1,5}))?"
)
_MASTER: Final = r"[A-Za-z0-9_.-]{1,128}"


def read_url(url: str, login: RedisLogin, tls: RedisTls) -> RedisSource:
    """Return what the URL and the keys next to it say. Raises `ConfigurationError` that names the key; files are not
    looked at."""
    found = _SCHEME.match(url)
    if found is None:
        _refuse(
            "must begin with redis://, rediss:// (with TLS), unix://, redis-sentinel://, rediss-sentinel://, "
            "redis-cluster:// or rediss-cluster://; Valkey is addressed like Redis"
        )
    if re.search(r"\s|[\x00-\x1f\x7f]", url):
        _refuse(
            "has a space or a control character in it: write %20 for a space, or use redis_login.password"
        )
    if tls.is_set and found["tls"] is None:
        raise ConfigurationError(
            "redis_tls is set, but redis does not begin with rediss, so that nothing would be encrypted: write "
            "rediss://, rediss-sentinel:// or rediss-cluster://"
        )
    rest = url[found.end() :]
    userinfo, _, rest = ("", "", rest) if rest.startswith("/") else rest.rpartition("@")
    login = _login(userinfo, login)
    is_unix = url.startswith("unix:")
    place, _, query = rest.partition("?")
    database = _database_in(query, is_allowed=is_unix)
    names, _, path = ("", "", place) if is_unix else place.partition("/")
    target: Target
    match found["kind"]:
        case "sentinel":
            target, database = _sentinels(names, path)
        case "cluster":
            if path:
                _refuse("has something after the addresses: a Redis Cluster has one database, and no name")
            target = ClusterNodes(_places(names, _REDIS_PORT))
        case _ if is_unix:
            if not path.startswith("/"):
                _refuse("must name the socket by its whole path: unix:///run/redis/redis.sock")
            target = Server(Socket(unquote(path)))
        case _:
            first, *more = _places(names, _REDIS_PORT)
            if more:
                _refuse(
                    "has several addresses: write redis-sentinel://…/name if they are Sentinels, redis-cluster:// if "
                    "they are a Redis Cluster"
                )
            target = Server(first)
            database = _number(path) if path else database
    if not isinstance(target, Sentinels) and (login.sentinel_user or login.sentinel_password):
        raise ConfigurationError(
            "redis_login.sentinel_user and redis_login.sentinel_password are for redis-sentinel:// only"
        )
    return RedisSource(target=target, database=database, login=login, tls=tls if found["tls"] else None)


def check_redis(url: str, login: RedisLogin, tls: RedisTls) -> RedisSource:
    """Do as `read_url`, and read the files as well. Raises `ConfigurationError` that names the key."""
    source = read_url(url, login, tls)
    if source.tls is not None:
        source.tls.check()
    return source


def without_password(url: str) -> str:
    """The URL, quoted, with `***` for the password."""
    return repr(re.sub(r"(://[^:@/\s]*):.*@", r"\1:***@", url))


def _refuse(why: str) -> NoReturn:
    raise ConfigurationError(f"redis {why}")


def _login(userinfo: str, given: RedisLogin) -> RedisLogin:
    user, colon, password = (unquote(part) for part in userinfo.partition(":"))
    changes: dict[str, Any] = {}
    if user:
        if given.user:
            raise ConfigurationError(
                "redis names a user, and so does redis_login.user: one of them is enough"
            )
        changes["user"] = user
    if colon:
        if given.password:
            raise ConfigurationError(
                "redis has a password, and so has redis_login.password: one of them is enough"
            )
        changes["password"] = password
    login = attrs.evolve(given, **changes)
    if login.user and not login.password:
        raise ConfigurationError(
            "redis has a user without a password: write user:password@ (or :password@ without a user), or set "
            "redis_login.password"
        )
    if login.sentinel_user and not login.sentinel_password:
        raise ConfigurationError("redis_login.sentinel_user is set without redis_login.sentinel_password")
    return login


def _database_in(query: str, *, is_allowed: bool) -> int:
    if not query:
        return 0
    name, _, value = query.partition("=")
    if name != "db" or not is_allowed:
        # Not repeated: somebody may have written a password there.
        _refuse(
            "has something after a question mark that is not understood: only unix:///path?db=1 may. Passwords go "
            "before the address or into redis_login.password, certificates into redis_tls"
        )
    return _number(value)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        _refuse("has something else than the number of a database at its end: write redis://host:6379/0")
    return int(text)


def _sentinels(names: str, path: str) -> tuple[Sentinels, int]:
    found = re.fullmatch(rf"(?P<master>{_MASTER})(?:/(?P<database>[0-9]{{1,5}}))?", path)
    if found is None:
        _refuse(
            "must end with the name that the Sentinels have for the master, and may name a database after it: "
            "redis-sentinel://host:26379,host:26379/name/0"
        )
    return Sentinels(_places(names, _SENTINEL_PORT), found["master"]), int(found["database"] or 0)


def _places(names: str, port: int) -> tuple[Place, ...]:
    parts = names.split(",")
    if len(parts) > ADDRESSES:
        _refuse(f"has {len(parts)} addresses; at most {ADDRESSES} are used, and three are enough")
    places = []
    for number, part in enumerate(parts, 1):
        found = _PLACE.fullmatch(part)
        if found is None or not 1 <= int(found["port"] or port) <= 65_535:
            which = f"address {number} is" if len(parts) > 1 else "the address is"
            _refuse(
                f"cannot be used: {which} neither host, host:port nor [IPv6]:port. A password with @, / or : in it has "
                "to be percent-encoded, or goes into redis_login.password"
            )
        places.append(Place(found["ip"] or found["host"], int(found["port"] or port)))
    return tuple(places)


def _check_readable(key: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ConfigurationError(f"{key}: {path} cannot be read: {error.strerror}") from error
