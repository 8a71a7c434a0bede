"""What is particular to each kind of Redis: how its server is found, what becomes of a fail-over, and that what goes
wrong is said in words which help and never have a password in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
import pytest
import trio

from cluster.adapters import redis_finder
from cluster.adapters.redis_pool import RedisPool
from cluster.adapters.redis_url import RedisLogin, RedisTls
from cluster.errors import PoolUnavailable
from support.certificates import Authority
from support.redis_kinds import (
    MASTER,
    PASSWORD,
    QUOTED_PASSWORD,
    RedisCluster,
    Server,
    TlsServer,
    kept,
    owner_of,
    plain,
    redis_cluster,
    sentinel,
    sentinels,
    server,
    tls_program,
    with_tls,
    with_users,
)
from support.waiting import eventually

LONG_MS = 60_000


async def cards(pool: RedisPool) -> list[bytes]:
    return await pool.beat("a", b"card a", LONG_MS)


async def reason(pool: RedisPool) -> str:
    """Why the pool is not available."""
    with pytest.raises(PoolUnavailable) as caught:
        await cards(pool)
    await pool.aclose()
    text = str(caught.value)
    assert PASSWORD not in text
    assert QUOTED_PASSWORD not in text
    return text


async def works_again(pool: RedisPool) -> list[str]:
    """Beat as a node does until the pool answers; return the different reasons why it did not."""
    reasons: dict[str, None] = {}

    async def answers() -> bool:
        try:
            return await cards(pool) == [b"card a"]
        except PoolUnavailable as error:
            reasons[str(error)] = None
            return False

    await eventually(answers, f"the pool works again; so far: {reasons}")
    return list(reasons)


# -- Users -----------------------------------------------------------------------------------------------------------


async def test_what_is_wrong_with_the_credentials_is_said_without_them() -> None:
    async with with_users() as redis:
        at = redis.server.address
        assert await reason(RedisPool(f"redis://{at}", "test")) == (
            f"Redis at {at} wants a password, and none is configured"
        )
        for url in (
            f"redis://shoal:wrong@{at}",
            f"redis://:{QUOTED_PASSWORD}@{at}",
            f"redis://admin:{QUOTED_PASSWORD}@{at}",
        ):
            assert (
                await reason(RedisPool(url, "test")) == f"Redis at {at} does not accept the user and password"
            )


async def test_the_password_may_be_given_as_it_is() -> None:
    async with with_users() as redis:
        pool = RedisPool(
            f"redis://{redis.server.address}", "test", login=RedisLogin(user="shoal", password=PASSWORD)
        )
        assert await cards(pool) == [b"card a"]
        await pool.aclose()


async def test_a_user_without_the_rights_is_told_which() -> None:
    async with with_users() as redis:
        said = await reason(RedisPool(redis.url, "another-cluster"))
        assert f"Redis at {redis.server.address} does not let this user do what the pool needs: " in said
        assert (await redis.server.command("ACL SETUSER shoal -eval")).startswith("+OK")
        assert "'eval'" in await reason(RedisPool(redis.url, "test"))


async def test_a_password_that_was_changed_is_noticed_with_the_next_connection() -> None:
    async with with_users() as redis:
        pool = RedisPool(redis.url, "test")
        await cards(pool)
        await redis.server.command("ACL SETUSER shoal resetpass >another")
        assert await cards(pool) == [b"card a"]
        await redis.server.command("CLIENT KILL USER shoal")
        assert "does not accept" in await reason(pool)
        await redis.server.command(f"ACL SETUSER shoal >{PASSWORD}")
        assert await cards(pool) == [b"card a"]
        await pool.aclose()


# -- One server ------------------------------------------------------------------------------------------------------


async def test_a_redis_that_was_restarted_is_not_even_missed() -> None:
    """The connection is dead, and nobody knows it before it is used."""
    async with plain() as first:
        pool = RedisPool(first.url, "test")
        await cards(pool)
        port = first.server.port
    async with server(port=port):
        assert await cards(pool) == [b"card a"]
        await pool.aclose()


async def test_a_frozen_redis_costs_one_limit_and_a_cancelled_visit_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_finder, "ANSWER_LIMIT_S", 0.3)
    async with plain() as redis:
        pool = RedisPool(redis.url, "test")
        await cards(pool)
        with redis.server.paused():
            began = trio.current_time()
            assert "did not answer within" in await reason(pool)
            assert trio.current_time() - began < 2 * 0.3 + 1
            with trio.move_on_after(0.05):
                await cards(pool)
        assert await cards(pool) == [b"card a"]
        await pool.aclose()


async def test_nobody_there_is_said_with_the_systems_words() -> None:
    async with plain() as redis:
        at = redis.server.address
    assert await reason(RedisPool(f"redis://{at}", "test")) == f"Redis at {at}: Connection refused"
    assert await reason(RedisPool("unix:///nowhere/redis.sock", "test")) == (
        "Redis at /nowhere/redis.sock: No such file or directory"
    )
    assert "Redis at no..where:6379: " in await reason(RedisPool("redis://no..where", "test"))


async def test_a_database_of_its_own() -> None:
    async with plain() as redis:
        for url in (f"{redis.url}/3", f"unix://{redis.server.directory}/redis.sock?db=4"):
            pool = RedisPool(url, "test")
            assert await cards(pool) == [b"card a"]
            await pool.aclose()
        assert "db3:keys=2" in await redis.server.command("INFO keyspace")
        assert "db4:keys=2" in await redis.server.command("INFO keyspace")


# -- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls() -> Iterator[TlsServer]:
    with kept(with_tls(tls_program())) as running:
        yield running


async def test_only_the_authority_that_was_named_is_believed(
    tls: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = Authority(tmp_path, "stranger")
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority.certificate))  # what this machine believes
    by_the_machine = attrs.evolve(tls.tls, ca=None)
    pool = RedisPool(tls.url, "test", tls=by_the_machine)
    assert await cards(pool) == [b"card a"]
    await pool.aclose()
    by_a_stranger = attrs.evolve(tls.tls, ca=str(stranger.certificate))
    said = await reason(RedisPool(tls.url, "test", tls=by_a_stranger))
    assert said.startswith(f"Redis at {tls.server.address}: its certificate is not believed: ")


async def test_a_certificate_of_another_host_is_not_believed(tls: TlsServer) -> None:
    url = f"rediss://localhost:{tls.server.port}"
    assert "Hostname mismatch" in await reason(RedisPool(url, "test", tls=tls.tls))


async def test_redis_wants_a_certificate_and_one_that_it_believes(tls: TlsServer, tmp_path: Path) -> None:
    without = RedisTls(ca=tls.tls.ca)
    assert "redis_tls.certificate" in await reason(RedisPool(tls.url, "test", tls=without))
    foreign = Authority(tmp_path, "stranger").issue("foreign")
    theirs = RedisTls(ca=tls.tls.ca, certificate=str(foreign.certificate), key=str(foreign.key))
    assert "redis_tls.certificate" in await reason(RedisPool(tls.url, "test", tls=theirs))


async def test_certificates_are_read_again_for_each_connection(tls: TlsServer, tmp_path: Path) -> None:
    foreign = Authority(tmp_path, "stranger").issue("foreign")
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    certificate.write_bytes(foreign.certificate.read_bytes())
    key.write_bytes(foreign.key.read_bytes())
    pool = RedisPool(tls.url, "test", tls=RedisTls(ca=tls.tls.ca, certificate=str(certificate), key=str(key)))
    with pytest.raises(PoolUnavailable):
        await cards(pool)
    certificate.unlink()
    with pytest.raises(PoolUnavailable, match="No such file"):
        await cards(pool)
    certificate.write_bytes(tls.client.certificate.read_bytes())
    key.write_bytes(tls.client.key.read_bytes())
    assert await cards(pool) == [b"card a"]
    await pool.aclose()


async def test_tls_and_no_tls_do_not_understand_each_other(tls: TlsServer) -> None:
    await reason(RedisPool(f"redis://{tls.server.address}", "test"))
    async with plain() as redis:
        url = f"rediss://{redis.server.address}"
        assert "does not answer to TLS" in await reason(RedisPool(url, "test", tls=tls.tls))


# -- Sentinel --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_after_a_fail_over_the_new_master_is_found() -> None:
    async with sentinels() as watched:
        pool = RedisPool(watched.url, "test")
        await cards(pool)
        old = await watched.master()
        old.kill()
        reasons = await works_again(pool)
        new = await watched.has_failed_over(old)
        assert f"Redis at {old.address}: Connection refused" in reasons
        assert (await new.command("HGET {shoal:test}:cards a")).endswith("card a\r\n")
        await pool.aclose()


async def test_a_master_that_steps_down_is_left_at_once() -> None:
    """As for maintenance: it is well, still connected, and a replica from now on."""
    async with plain() as old, plain() as new, sentinel(old.server) as watching:
        pool = RedisPool(f"redis-sentinel://{watching.address}/{MASTER}", "test")
        await cards(pool)
        await old.server.command(f"REPLICAOF 127.0.0.1 {new.server.port}")
        assert await reason(pool) == (
            f"Redis at {old.server.address} is a replica and takes no cards: a fail-over may be under way"
        )
        await names_as_master(watching, new.server)
        assert await cards(pool) == [b"card a"]
        await pool.aclose()


async def test_sentinels_are_asked_until_one_knows_and_then_not_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_finder, "FIND_LIMIT_S", 0.3)
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(plain())
        watching = [await stack.enter_async_context(sentinel(redis.server)) for _ in range(3)]
        first, second, third = watching
        url = f"redis-sentinel://{first.address},{second.address},{third.address}/{MASTER}"
        first.kill()
        with second.paused():
            pool = RedisPool(url, "test")
            assert await cards(pool) == [b"card a"]
            third.kill()
            monkeypatch.setattr(redis_finder, "LOOK_AGAIN_S", 0)
            for _ in watching:
                assert await cards(pool) == [b"card a"]  # with nobody to ask
            await pool.aclose()
            assert await reason(RedisPool(url, "test")) == (
                f"Sentinel at {first.address}: Connection refused; "
                f"Sentinel at {second.address} did not answer within 0.3 s; "
                f"Sentinel at {third.address}: Connection refused"
            )


async def names_as_master(watching: Server, master: Server) -> None:
    await watching.command(f"SENTINEL REMOVE {MASTER}")
    await watching.command(f"SENTINEL MONITOR {MASTER} 127.0.0.1 {master.port} 1")


async def test_a_master_of_yesterday_that_still_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was cut off from the Sentinels, not from this node; they have made another one master meanwhile."""
    async with plain() as old, plain() as new, sentinel(old.server) as watching:
        pool = RedisPool(f"redis-sentinel://{watching.address}/{MASTER}", "test")
        await cards(pool)
        await names_as_master(watching, new.server)
        await cards(pool)
        assert await new.server.command("EXISTS {shoal:test}:cards") == ":0\r\n"
        monkeypatch.setattr(redis_finder, "LOOK_AGAIN_S", 0)
        await cards(pool)
        assert await new.server.command("EXISTS {shoal:test}:cards") == ":1\r\n"
        await pool.aclose()


async def test_a_sentinel_that_names_a_dead_master_is_not_asked_for_ever() -> None:
    """It is cut off from the others, and does not know of their fail-over."""
    async with plain() as old, plain() as new, sentinel(old.server) as alone, sentinel(new.server) as other:
        old.server.kill()
        pool = RedisPool(f"redis-sentinel://{alone.address},{other.address}/{MASTER}", "test")
        with pytest.raises(PoolUnavailable, match="Connection refused"):
            await cards(pool)
        assert await cards(pool) == [b"card a"]
        await pool.aclose()


async def test_sentinels_have_passwords_of_their_own() -> None:
    async with with_users() as redis, sentinel(redis.server, password="the-sentinels-own") as watching:
        url = f"redis-sentinel://shoal:{QUOTED_PASSWORD}@{watching.address}/{MASTER}"
        right, wrong = (
            RedisLogin(sentinel_password="the-sentinels-own"),
            RedisLogin(sentinel_password="wrong"),
        )
        pool = RedisPool(url, "test", login=right)
        assert await cards(pool) == [b"card a"]
        await pool.aclose()
        who = f"Sentinel at {watching.address}"
        assert await reason(RedisPool(url, "test")) == f"{who} wants a password, and none is configured"
        assert (
            await reason(RedisPool(url, "test", login=wrong))
            == f"{who} does not accept the user and password"
        )


async def test_a_name_that_no_sentinel_knows_is_told() -> None:
    async with plain() as redis, sentinel(redis.server) as watching:
        assert await reason(RedisPool(f"redis-sentinel://{watching.address}/another", "test")) == (
            f'Sentinel at {watching.address} knows no master of the name "another"'
        )


async def test_tls_counts_for_sentinels_too(tls: TlsServer) -> None:
    """What answers there is no Sentinel, but it answers: the connection was made as it has to be."""
    url = f"rediss-sentinel://{tls.server.address}/{MASTER}"
    assert "unknown command" in await reason(RedisPool(url, "test", tls=tls.tls))


# -- Redis Cluster ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sharded() -> Iterator[RedisCluster]:
    """For tests that leave it as it is."""
    with kept(redis_cluster()) as running:
        yield running


def name_owned_by(number: int, prefix: str = "test") -> str:
    """The name of a cluster whose keys this master has."""
    for name in (f"{prefix}-{n}" for n in range(100)):
        if owner_of(f"{{shoal:{name}}}:cards") == number:
            return name
    raise AssertionError("no such name")


async def test_the_keys_are_where_the_redis_cluster_has_them(sharded: RedisCluster) -> None:
    for number, owner in enumerate(sharded.masters):
        name = name_owned_by(number)
        for entrance in (*sharded.masters, sharded.replica):
            pool = RedisPool(f"redis-cluster://{entrance.address}", name)
            assert await cards(pool) == [b"card a"]
            await pool.aclose()
        assert await owner.command(f"EXISTS {{shoal:{name}}}:cards") == ":1\r\n"


@pytest.mark.slow
async def test_after_a_fail_over_in_a_redis_cluster_the_new_owner_is_found() -> None:
    async with redis_cluster() as redis:
        name, other = name_owned_by(0), name_owned_by(2)
        pool = RedisPool(redis.url, name)
        await cards(pool)
        redis.masters[0].kill()
        newcomer = RedisPool(redis.url, other)  # whose first entrance is gone
        await works_again(newcomer)
        reasons = await works_again(pool)
        assert any("Connection refused" in said for said in reasons), reasons
        assert "role:master" in await redis.replica.command("INFO replication")
        await pool.aclose()
        await newcomer.aclose()


async def test_a_url_for_one_server_is_refused_by_a_redis_cluster(sharded: RedisCluster) -> None:
    name, other = name_owned_by(1), sharded.masters[0]
    assert await reason(RedisPool(f"redis://{other.address}", name)) == (
        f"Redis at {other.address} is part of a Redis Cluster, and another part has our keys: use redis-cluster://"
    )


async def test_keys_that_are_being_moved_are_waited_for(sharded: RedisCluster) -> None:
    """Our slot goes to another node, key by key, while we beat."""
    name = name_owned_by(1, "moved")
    pool = RedisPool(sharded.url, name)
    await cards(pool)
    source, target = sharded.masters[1], sharded.masters[2]
    key = f"{{shoal:{name}}}:cards"
    slot = (await source.command(f"CLUSTER KEYSLOT {key}")).strip(":\r\n")
    source_id, target_id = [(await one.command("CLUSTER MYID")).split("\r\n")[1] for one in (source, target)]
    assert (await target.command(f"CLUSTER SETSLOT {slot} IMPORTING {source_id}")).startswith("+OK")
    assert (await source.command(f"CLUSTER SETSLOT {slot} MIGRATING {target_id}")).startswith("+OK")
    assert (await source.command(f"MIGRATE 127.0.0.1 {target.port} {key} 0 5000")).startswith("+OK")
    with pytest.raises(PoolUnavailable, match="is giving our keys to another node"):
        await cards(pool)
    key = f"{{shoal:{name}}}:expiries"
    assert (await source.command(f"MIGRATE 127.0.0.1 {target.port} {key} 0 5000")).startswith("+OK")
    for one in (target, source):
        assert (await one.command(f"CLUSTER SETSLOT {slot} NODE {target_id}")).startswith("+OK")
    assert await cards(pool) == [b"card a"]
    await pool.aclose()


async def test_a_redis_cluster_that_is_down_says_so() -> None:
    async with server("--cluster-enabled", "yes") as empty:
        assert f"Redis at {empty.address} says that the Redis Cluster is down: " in await reason(
            RedisPool(f"redis-cluster://{empty.address}", "test")
        )
