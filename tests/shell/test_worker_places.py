"""Where the workers of one server are, when one that ended is started again, and what they leave behind."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import Bindings, ConfigurationError
from plugins.cluster.workers import bindings_of, near_of, siblings_of
from server.cli.shared_directory import hold_directory, make_directory
from server.cli.workers import HOPELESS, LONGEST_PAUSE_S, restart_pause
from server.plugin import Worker


def worker(number: int, of: int = 3) -> Worker:
    return Worker(number=number, of=of, directory="/run/x")


def bound(number: int, pub: str, router: str, of: int = 3) -> tuple[str, str]:
    bindings = bindings_of(worker(number, of), Bindings(pub=pub, router=router))
    return bindings.pub, bindings.router


@pytest.mark.parametrize(
    ("number", "pub", "router"),
    [
        (1, "tcp://10.0.0.5:7511", "tcp://10.0.0.5:7510"),
        (2, "tcp://10.0.0.5:7521", "tcp://10.0.0.5:7520"),
        (3, "tcp://10.0.0.5:7531", "tcp://10.0.0.5:7530"),
    ],
)
def test_each_worker_is_bound_ten_ports_above_the_one_before(number: int, pub: str, router: str) -> None:
    assert bound(number, "tcp://10.0.0.5:7511", "tcp://10.0.0.5:7510") == (pub, router)


def test_other_addresses_are_told_apart_where_it_is_needed() -> None:
    assert bound(2, "tcp://[::1]:7511", "tcp://127.0.0.1:*") == ("tcp://[::1]:7521", "tcp://127.0.0.1:*")
    assert bound(1, "ipc:///run/pub", "ipc:///run/router") == ("ipc:///run/pub", "ipc:///run/router")
    assert bound(2, "ipc:///run/pub", "ipc:///run/router") == ("ipc:///run/pub.2", "ipc:///run/router.2")


@pytest.mark.parametrize(("pub", "router"), [(7511, 7501), (7511, 7511), (7501, 7521)])
def test_ports_at_which_two_workers_would_meet_are_refused(pub: int, router: int) -> None:
    with pytest.raises(ConfigurationError, match="two of them would meet"):
        bound(1, f"tcp://127.0.0.1:{pub}", f"tcp://127.0.0.1:{router}")


def test_ports_that_are_far_enough_apart_are_not() -> None:
    assert bound(3, "tcp://127.0.0.1:7531", "tcp://127.0.0.1:7501")[1] == "tcp://127.0.0.1:7521"
    assert bound(3, "tcp://10.0.0.5:7511", "tcp://127.0.0.1:*")[0] == "tcp://10.0.0.5:7531"


def test_ports_that_do_not_exist_are_refused_before_any_worker_has_one() -> None:
    with pytest.raises(ConfigurationError, match="would need port 65540"):
        bound(1, "tcp://127.0.0.1:65520", "tcp://127.0.0.1:7510")


def test_siblings_know_each_other() -> None:
    assert siblings_of(worker(2)) == [near_of(worker(1), 1), near_of(worker(3), 3)]
    near = near_of(worker(2), 2)
    assert (near.site, near.pub, near.router) == ("/run/x", "ipc:///run/x/2.pub", "ipc:///run/x/2.router")


def test_a_worker_that_keeps_ending_is_started_ever_more_slowly() -> None:
    assert [restart_pause(lives) for lives in range(1, 10)] == [0, 1, 2, 4, 8, 16, 30, 30, 30]
    assert sum(restart_pause(lives) for lives in range(1, HOPELESS)) == 7
    assert restart_pause(10_000) == LONGEST_PAUSE_S


# -- The directory that they share -----------------------------------------------------------------------------------


def test_a_shared_directory_is_gone_with_the_last_who_holds_it() -> None:
    with make_directory("shoal-test-") as path:
        assert Path(path).stat().st_mode & 0o077 == 0
        with hold_directory(path), hold_directory(path):
            Path(path, "left").write_text("behind")
        assert Path(path, "left").exists()
    assert not Path(path).exists()


def test_a_directory_that_is_not_there_cannot_be_held(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), hold_directory(str(tmp_path / "gone")):
        pass


HOLD = (
    "import sys; from server.cli.shared_directory import hold_directory\n"
    "with hold_directory(sys.argv[1]): print('held', flush=True); input()"
)


@pytest.mark.parametrize("is_killed", [True, False])
def test_who_is_killed_holds_nothing(is_killed: bool) -> None:
    with make_directory("shoal-test-") as path:
        other = subprocess.Popen(
            [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        if is_killed:
            other.send_signal(signal.SIGKILL)
            other.wait()
    with other:
        assert Path(path).exists() is not is_killed
        other.communicate("\n")
    assert not Path(path).exists()
