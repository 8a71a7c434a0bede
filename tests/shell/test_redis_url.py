"""What is said about Redis is understood as it was meant, or refused with the name of the key, and never repeated."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.adapters.redis_url import (
    ADDRESSES,
    ClusterNodes,
    Place,
    RedisLogin,
    RedisTls,
    Sentinels,
    Server,
    Socket,
    check_redis,
    read_url,
)
from cluster.errors import ConfigurationError
from plugins.cluster.config import ClusterConfig
from server.settings import without_password
from support.certificates import Authority, lock

NO_LOGIN, NO_TLS = RedisLogin(), RedisTls()

UNDERSTOOD = {
    "redis://redis.example": (Server(Place("redis.example", 6379)), 0, False),
    "redis://redis.example/": (Server(Place("redis.example", 6379)), 0, False),
    "redis://10.0.0.5:6380/3": (Server(Place("10.0.0.5", 6380)), 3, False),
    "rediss://[fd00::5]:6380": (Server(Place("fd00::5", 6380)), 0, True),
    "rediss://[::1]": (Server(Place("::1", 6379)), 0, True),
    "unix:///run/redis.sock": (Server(Socket("/run/redis.sock")), 0, False),
    "unix:///run/re%20dis.sock?db=2": (Server(Socket("/run/re dis.sock")), 2, False),
    "unix:///a@b/redis.sock": (Server(Socket("/a@b/redis.sock")), 0, False),
    "redis-sentinel://a/main": (Sentinels((Place("a", 26379),), "main"), 0, False),
    "redis-sentinel://a,b:1,[::2]:3/main.1/4": (
        Sentinels((Place("a", 26379), Place("b", 1), Place("::2", 3)), "main.1"),
        4,
        False,
    ),
    "rediss-sentinel://a/main": (Sentinels((Place("a", 26379),), "main"), 0, True),
    "redis-cluster://a,b:7001": (ClusterNodes((Place("a", 6379), Place("b", 7001))), 0, False),
    "rediss-cluster://a": (ClusterNodes((Place("a", 6379),)), 0, True),
}


@pytest.mark.parametrize("url", UNDERSTOOD)
def test_a_url_of_each_kind_is_understood(url: str) -> None:
    source = read_url(url, NO_LOGIN, NO_TLS)
    assert (source.target, source.database, source.tls is not None) == UNDERSTOOD[url]


def test_places_are_written_as_people_write_them() -> None:
    assert [str(place) for place in (Place("a", 1), Place("::1", 2), Socket("/a"))] == [
        "a:1",
        "[::1]:2",
        "/a",
    ]


REFUSED = {
    "": "must begin with",
    "redis": "must begin with",
    "redis:/host": "must begin with",
    "http://host": "must begin with",
    "valkey://host": "Valkey is addressed like Redis",
    "sentinel://host/main": "redis-sentinel://",
    "redis://": "the address is neither host",
    "redis://:6379": "the address is neither host",
    "redis:///0": "the address is neither host",
    "redis://host:0": "the address is neither host",
    "redis://host:65536": "the address is neither host",
    "redis://host:port": "the address is neither host",
    "redis://fd00::5": "the address is neither host",
    "redis://ho st": "has a space",
    "redis://host\n": "has a space or a control character",
    "redis://host/main": "something else than the number of a database",
    "redis://host/-1": "something else than the number of a database",
    "redis://host?ssl_ca_certs=/ca.pem": "certificates into redis_tls",
    "redis://a,b": "several addresses",
    "unix://redis.sock": "by its whole path",
    "unix://": "by its whole path",
    "unix:///redis.sock?password=x": "Passwords go",
    "redis-sentinel://a": "must end with the name",
    "redis-sentinel://a/": "must end with the name",
    "redis-sentinel://a/main/x": "must end with the name",
    "redis-sentinel://a,/main": "address 2 is neither host",
    "redis-cluster://a/0": "has one database",
    "redis-cluster://": "the address is neither host",
    f"redis-cluster://{','.join(['a'] * (ADDRESSES + 1))}": f"{ADDRESSES + 1} addresses",
}


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_cannot_be_meant_is_refused_with_a_reason(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^redis ") as refused:
        ClusterConfig(redis=url)
    assert REFUSED[url] in str(refused.value)


# -- Logins ----------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1), st.text(min_size=1))
def test_user_and_password_come_out_as_they_were_quoted(user: str, password: str) -> None:
    userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}@"
    for rest in (
        "redis://{}host",
        "unix://{}/redis.sock",
        "redis-sentinel://{}a,b/main",
        "redis-cluster://{}a,b",
    ):
        login = read_url(rest.format(userinfo), NO_LOGIN, NO_TLS).login
        assert (login.user, login.password) == (user, password)


def test_the_password_may_stand_in_a_key_of_its_own() -> None:
    login = RedisLogin(password="p@ss/word")
    assert read_url("redis://shoal@host", login, NO_TLS).login == RedisLogin(
        user="shoal", password="p@ss/word"
    )
    assert read_url("redis://host", login, NO_TLS).login == login
    assert read_url("redis://:p%40ss@host", NO_LOGIN, NO_TLS).login == RedisLogin(password="p@ss")


@pytest.mark.parametrize(
    ("url", "login", "reason"),
    [
        ("redis://shoal@host", NO_LOGIN, "a user without a password"),
        ("redis://host", RedisLogin(user="shoal"), "a user without a password"),
        ("redis://a:x@host", RedisLogin(user="b"), "so does redis_login.user"),
        ("redis://:x@host", RedisLogin(password="y"), "so has redis_login.password"),
        (
            "redis://host",
            RedisLogin(sentinel_password="x"),
            "redis_login.sentinel_password are for redis-sentinel",
        ),
        ("redis-sentinel://a/m", RedisLogin(sentinel_user="x"), "without redis_login.sentinel_password"),
    ],
)
def test_logins_that_cannot_be_meant_are_refused(url: str, login: RedisLogin, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^redis") as refused:
        ClusterConfig(redis=url, redis_login=login)
    assert reason in str(refused.value)


SECRET = "hunter2"


@given(
    st.sampled_from(["redis", "rediss", "unix", "redis-sentinel", "redis-cluster", "http", "redis+tls"]),
    st.text("/:@?#,[]% =\n\taé0.", max_size=6),
    st.text("/:@?#,[]% =\n\taé0.", max_size=6),
    st.booleans(),
)
def test_no_message_repeats_what_may_be_a_password(scheme: str, before: str, after: str, sure: bool) -> None:
    """Wherever it was written by mistake."""
    separator = "://" if sure else ":"
    url = f"{scheme}{separator}{before}{SECRET}{after}"
    said = ""
    try:
        config = ClusterConfig(redis=url)
    except ConfigurationError as error:
        said = str(error)
    else:
        password = read_url(url, NO_LOGIN, NO_TLS).login.password
        if password is not None and SECRET in password:
            said = repr(config) + without_password(url)
    assert SECRET not in said


def test_what_is_printed_of_a_configuration_has_no_password_in_it() -> None:
    login = RedisLogin(sentinel_password=SECRET)
    config = ClusterConfig(redis=f"redis-sentinel://shoal:{SECRET}@a:1,b:2/main", redis_login=login)
    assert SECRET not in repr(config)
    assert "redis-sentinel://shoal:***@a:1,b:2/main" in repr(config)


# -- Certificates ----------------------------------------------------------------------------------------------------


def test_certificates_without_tls_are_refused() -> None:
    for scheme in ("redis", "redis-cluster"):
        with pytest.raises(ConfigurationError, match="does not begin with rediss"):
            ClusterConfig(redis=f"{scheme}://host", redis_tls=RedisTls(ca="/ca.pem"))


def test_each_file_is_named_by_its_key(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    own, other = authority.issue("own"), authority.issue("other")
    ca, certificate, key = str(authority.certificate), str(own.certificate), str(own.key)
    empty = tmp_path / "empty.pem"
    empty.touch()
    check_redis("rediss://host", NO_LOGIN, RedisTls(ca=ca, certificate=certificate, key=key))
    both = tmp_path / "both.pem"
    both.write_bytes(own.certificate.read_bytes() + own.key.read_bytes())
    check_redis("rediss://host", NO_LOGIN, RedisTls(certificate=str(both)))
    for tls, reason in [
        (RedisTls(ca="/nowhere"), "redis_tls.ca: /nowhere cannot be read: No such file"),
        (RedisTls(ca=str(tmp_path)), f"redis_tls.ca: {tmp_path} cannot be read: Is a directory"),
        (RedisTls(ca=str(empty)), f"redis_tls.ca: {empty} has no certificate"),
        (RedisTls(ca=key), f"redis_tls.ca: {key} has no certificate"),
        (RedisTls(certificate="/nowhere"), "redis_tls.certificate: /nowhere cannot be read"),
        (RedisTls(certificate=certificate, key="/nowhere"), "redis_tls.key: /nowhere cannot be read"),
        (RedisTls(key=key), "redis_tls.key is set without redis_tls.certificate"),
        (RedisTls(certificate=certificate), "redis_tls.certificate: "),
        (RedisTls(certificate=certificate, key=str(other.key)), "cannot be used together"),
        (RedisTls(certificate=certificate, key=ca), "cannot be used together"),
    ]:
        with pytest.raises(ConfigurationError) as refused:
            ClusterConfig(redis="rediss://host", redis_tls=tls)
        assert reason in str(refused.value)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    own = Authority(tmp_path, "authority").issue("own")
    locked = tmp_path / "locked.key"
    lock(own.key, locked)
    tls = RedisTls(certificate=str(own.certificate), key=str(locked))
    with pytest.raises(ConfigurationError, match="without a passphrase"):
        ClusterConfig(redis="rediss://host", redis_tls=tls)
