"""Nodes of this state of the code and of the last release in one cluster, under load, while nodes are killed,
restarted, upgraded and taken back: nothing is lost in silence.

As long as there is no release (a tag like v1.2.3) there is nothing to compare with, and the soak is not there; that it
works is shown with the present commit in the place of a release. RELEASE_SOAK_S makes it longer.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import trio

from support.chaos_cluster import ChaosCluster, Member, chaos_cluster
from support.releases import Release, build_release, last_release

SOAK_S = float(os.environ.get("RELEASE_SOAK_S", "60"))
"""Of load, with one round of faults after the other; at least one round."""

RATE = 100
"""Publishes a second on each node."""

LAST_RELEASE = last_release()

Say = Callable[[str], None]


async def versions(cluster: ChaosCluster) -> dict[str, str]:
    """The version that each node says to be, as the first of them sees it."""
    status = (await cluster.nodes[0].get("/_plugin/cluster/status")).result
    return {node["id"]: node["version"] for node in (status["current"], *status["pool"])}


async def restarted(
    cluster: ChaosCluster, member: Member, env: Mapping[str, str], *, is_killed: bool
) -> float:
    """End a node and start it as one of that release; return how long it took until all agreed again."""
    await (member.kill() if is_killed else member.stop())
    member.env = env
    await member.start()
    await cluster.attach(member.node)
    return await cluster.whole()


async def one_round(cluster: ChaosCluster, old: Release, say: Say) -> None:
    """Two nodes of each release: one of each is killed, then one of each becomes one of the other release."""
    for member in (cluster.members[0], cluster.members[2]):
        took = await restarted(cluster, member, member.env, is_killed=True)
        say(f"whole {took:.2f} s after {member.name} was killed and started again")
    for member in (cluster.members[1], cluster.members[3]):
        is_old = bool(member.env)
        took = await restarted(cluster, member, {} if is_old else old.env, is_killed=False)
        say(f"whole {took:.2f} s after {member.name} was {'upgraded' if is_old else 'taken back'}")


async def soak(old: Release, seconds: float, say: Say) -> None:
    async with chaos_cluster(4, envs=[old.env, old.env]) as cluster:
        found = await versions(cluster)
        assert found["node-1"] == found["node-2"] == old.version
        say(f"{', '.join(f'{name}: {version}' for name, version in sorted(found.items()))}")
        await cluster.attach(*cluster.nodes)
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish_everywhere, cluster, stop)
            began = trio.current_time()
            while True:
                await one_round(cluster, old, say)
                if trio.current_time() > began + seconds:
                    break
            stop.set()
        await cluster.judge()
        sent = sum(client.author.sent for client in cluster.load.authors)
        seen = sum(client.subscriber.seen for client in cluster.load.subscribers)
        say(f"{sent:,} published, {seen:,} delivered")
        assert sent > RATE


async def publish_everywhere(cluster: ChaosCluster, stop: trio.Event) -> None:
    """Let every author publish, those of nodes that are started meanwhile, too."""
    begun = 0
    async with trio.open_nursery() as nursery:
        while not stop.is_set():
            for author in cluster.load.authors[begun:]:
                nursery.start_soon(author.publish_at, RATE, stop)
            begun = len(cluster.load.authors)
            with trio.move_on_after(0.1):
                await stop.wait()


if LAST_RELEASE is not None:

    @pytest.mark.slow
    async def test_the_last_release_and_this_one_work_together(tmp_path: Path, say: Say) -> None:
        await soak(build_release(LAST_RELEASE, tmp_path), SOAK_S, say)


# -- The soak itself -------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_the_soak_works_with_the_present_commit_as_the_last_release(tmp_path: Path, say: Say) -> None:
    await soak(build_release("HEAD", tmp_path, version="0.0.1"), 0, say)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def git(repository: Path, *words: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@test.invalid"]
    subprocess.run(["git", *identity, *words], cwd=repository, check=True, capture_output=True)


def commit(repository: Path, *tags: str) -> None:
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "one more")
    for tag in tags:
        git(repository, "tag", tag)


def test_without_a_release_there_is_none(repository: Path) -> None:
    commit(repository, "vendor", "v-next", "1.0")
    assert last_release(repository) is None


def test_the_last_release_is_the_highest_one_before(repository: Path) -> None:
    commit(repository, "v0.9.0")
    commit(repository, "v0.10.0")
    commit(repository)
    assert last_release(repository) == "v0.10.0"


def test_a_release_is_compared_with_the_one_before_it(repository: Path) -> None:
    commit(repository, "v0.1.0")
    commit(repository, "v0.2.0", "v0.2")
    assert last_release(repository) == "v0.1.0"


def test_a_release_of_another_branch_is_none_of_ours(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "other")
    commit(repository, "v3.0.0")
    git(repository, "checkout", "--quiet", "-")
    assert last_release(repository) is None


def test_where_there_is_no_history_there_is_no_release(tmp_path: Path) -> None:
    assert last_release(tmp_path) is None
