"""What can be known of compose/ without a container engine: its files fit their formats, each other, and the tree.

Each test stands for a way in which `docker compose up` would fail or be unsafe; none is about taste.
"""

import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import trio
from ruamel.yaml import YAML

from server.config import load
from support.processes import running_cluster, running_node

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"
INSTRUCTIONS = {
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
    *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = YAML(typ="safe").load(COMPOSE / "compose.yaml")
    return parsed


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (COMPOSE / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    return [
        (instruction, arguments.strip())
        for instruction, _, arguments in (line.partition(" ") for line in lines)
    ]


def test_compose_file_fits_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, COMPOSE / "compose.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_compose_mounts_and_builds_is_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in (services["shoal"], services["secret"]):
        assert (COMPOSE / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    for mount in services["nginx"]["volumes"]:
        source = mount["source"]
        names = (
            [source]
            if "${" not in source
            else [re.sub(r"\$\{.*\}", kind, source) for kind in ("spread", "document")]
        )
        assert all((COMPOSE / name).is_file() for name in names), source
        assert mount["bind"] == {"create_host_path": False}, "a typing error would become an empty directory"


def test_only_the_client_port_is_published_and_only_here_by_default(compose: dict[str, Any]) -> None:
    published = {
        name: service.get("ports") for name, service in compose["services"].items() if "ports" in service
    }
    assert published == {"nginx": ["${SHOAL_LISTEN:-127.0.0.1:7512}:7512"]}
    assert all(
        "network_mode" not in service or name == "secret" for name, service in compose["services"].items()
    )


def test_nothing_starts_before_what_it_needs(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["shoal"]["depends_on"] == {
        "redis": {"condition": "service_healthy"},
        "secret": {"condition": "service_completed_successfully"},
    }
    assert services["nginx"]["depends_on"] == {"shoal": {"condition": "service_healthy"}}
    assert "healthcheck" in services["redis"], "or the condition above is never met"


def test_no_service_of_ours_can_write_to_its_image_or_gain_rights(compose: dict[str, Any]) -> None:
    for name in ("shoal", "secret", "nginx"):
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_nodes_settings_are_ones_that_a_node_takes(compose: dict[str, Any], tmp_path: Path) -> None:
    """The secret's service runs as written, here, and a node's configuration is read from what it made."""
    made = tmp_path / "secret.toml"
    _make_secret(compose, made, given="")
    secret = tomllib.loads(made.read_text())["cluster"]["secret"]
    assert re.fullmatch(r"[0-9a-f]{64}", secret)
    assert made.stat().st_mode & 0o077 == 0, "for the nodes' user only"

    command = compose["services"]["shoal"]["command"]
    assert command == ["serve", "--config", "/etc/shoal/secret.toml"]
    config = load(made, compose["services"]["shoal"]["environment"], {})
    assert config.origins["cluster.redis"] == "environment SHOAL_CLUSTER_REDIS"
    assert config.server.trusted_proxies == ("172.16.0.0/12", "192.168.0.0/16")
    settings = config.plugins["cluster"][1]
    assert settings.bindings.pub == "tcp://[eth0:ipv4]:7511"
    assert settings.bindings.router == "tcp://[eth0:ipv4]:7510"

    _make_secret(compose, made, given="")
    assert tomllib.loads(made.read_text())["cluster"]["secret"] == secret, "a second start keeps it"
    own = 'quotes " and \\ and é'
    _make_secret(compose, made, given=own)
    assert tomllib.loads(made.read_text())["cluster"]["secret"] == own


def _make_secret(compose: dict[str, Any], path: Path, given: str) -> None:
    service = compose["services"]["secret"]
    assert service["entrypoint"] == ["python", "-I", "-c"]
    [program] = service["command"]
    assert "$" not in program, "compose would replace it"
    assert "/etc/shoal/secret.toml" in program
    program = program.replace("/etc/shoal/secret.toml", str(path))
    subprocess.run([sys.executable, "-I", "-c", program], env={"SECRET": given}, check=True)


def test_dockerfile_has_only_known_instructions_and_ends_without_rights(
    dockerfile: list[tuple[str, str]],
) -> None:
    assert {instruction for instruction, _ in dockerfile} <= INSTRUCTIONS
    last_stage = dockerfile[max(i for i, (name, _) in enumerate(dockerfile) if name == "FROM") :]
    [user] = [arguments for name, arguments in last_stage if name == "USER"]
    uid = int(user.partition(":")[0])
    assert uid >= 1_000
    for name in ("ENTRYPOINT", "CMD"):
        [arguments] = [given for instruction, given in last_stage if instruction == name]
        assert isinstance(json.loads(arguments), list), (
            "the exec form: signals reach the node, no shell in between"
        )
    assert ("STOPSIGNAL", "SIGTERM") in last_stage


async def test_the_image_calls_a_node_healthy_when_its_cluster_works(
    dockerfile: list[tuple[str, str]], tmp_path: Path
) -> None:
    [check] = [arguments for name, arguments in dockerfile if name == "HEALTHCHECK"]
    command = check.partition(" CMD ")[2].strip()
    programs = f"{Path(sys.executable).parent}:/bin:/usr/bin"
    nobody = f"unix://{tmp_path}/no-redis"
    async with running_cluster(1) as [ready], running_node(redis=nobody) as not_ready:
        for url, code, says in [
            (ready.url, 0, "ok"),
            (not_ready.url, 1, "not ready"),
            ("http://127.0.0.1:1", 1, "No node answers"),
        ]:
            env = {"PATH": programs, "SHOAL_URL": url}
            done = await trio.run_process(
                ["/bin/sh", "-c", command], env=env, capture_stdout=True, capture_stderr=True, check=False
            )
            assert done.returncode == code
            assert says in (done.stdout + done.stderr).decode()


def test_dockerfile_pins_what_it_installs(dockerfile: list[tuple[str, str]]) -> None:
    commands = [part for name, line in dockerfile if name == "RUN" for part in line.split("&&")]
    installs = [command for command in commands if "pip" in command and " install " in command]
    assert installs
    for install in installs:
        # What has no hash is our own wheel, made from the files copied in.
        assert (
            "--no-deps --require-hashes --only-binary=:all:" in install
            or "--no-deps --no-index /wheel/" in install
        )
    for name, arguments in dockerfile:
        if name == "FROM":
            assert re.fullmatch(r"python:\$\{PYTHON\}-slim-bookworm( AS \w+)?", arguments)
    [python] = [
        arguments for name, arguments in dockerfile if name == "ARG" and arguments.startswith("PYTHON=")
    ]
    lowest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert lowest == f">={python.removeprefix('PYTHON=')}", "the version that the tests run on"


def test_what_the_dockerfile_copies_exists_and_is_not_ignored(dockerfile: list[tuple[str, str]]) -> None:
    ignored = (COMPOSE / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = [line[1:].removesuffix("/**") for line in ignored if line.startswith("!")]
    assert "*" in ignored
    copied = []
    for name, arguments in dockerfile:
        if name == "COPY" and not arguments.startswith("--from"):
            copied += arguments.split()[:-1]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in allowed), f"{source} is ignored"
    # What hatchling reads on its own account must be there as well.
    assert {"pyproject.toml", "README.md", "LICENSE", "cluster", "server", "plugins"} <= set(copied)


def test_a_plain_up_needs_no_variable() -> None:
    variables = re.findall(r"\$\{([^}]+)\}", (COMPOSE / "compose.yaml").read_text())
    assert variables
    assert all(":-" in variable for variable in variables)
