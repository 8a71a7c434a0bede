"""Laws of the configuration: what is stronger, where a value came from, and how a mistake is told."""

import contextlib
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typed_settings.types import SecretStr

from server.config import ConfigError, LoadedConfig, ServerConfig, find_plugin, load


@attrs.frozen(kw_only=True)
class Timers:
    heartbeat: int = attrs.field(default=1000, validator=attrs.validators.ge(10))
    silence: int = 3000

    def __attrs_post_init__(self) -> None:
        if self.silence < 2 * self.heartbeat:
            raise ValueError(
                "silence must be at least twice heartbeat, or one lost beat declares a peer dead"
            )


@attrs.frozen(kw_only=True)
class ReefConfig:
    redis: str = "redis://127.0.0.1"
    secret: SecretStr = attrs.field(default=SecretStr(""))
    token: str = attrs.field(default="", metadata={"secret": True})
    depth: float = 1.0
    seeds: tuple[str, ...] = ()
    mood: Literal["calm", "wild"] = "calm"
    mark: int | None = None
    timers: Timers = attrs.field(factory=Timers)


class Reef:
    name: ClassVar[str] = "reef"
    config: ClassVar[type] = ReefConfig


@attrs.frozen(kw_only=True)
class NeedyConfig:
    key: int


class Needy:
    name: ClassVar[str] = "needy"
    config: ClassVar[type] = NeedyConfig


PLUGINS = {"reef": Reef, "needy": Needy, "reef-again": Reef}


def loaded(
    toml: str | None = None,
    environ: dict[str, str] | None = None,
    flags: dict[str, Any] | None = None,
    *,
    plugins: str = "reef",
    tmp_path: Path = Path(),
) -> LoadedConfig:
    file = None
    if toml is not None:
        file = tmp_path / "shoal.toml"
        file.write_text(toml)
    environment = {"SHOAL_SERVER_PLUGINS": plugins, "PATH": "/bin"} | (environ or {})
    return load(file, environment, flags or {}, PLUGINS.__getitem__)


def problems(*args: Any, **kwargs: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(*args, **kwargs)
    return caught.value.problems


def reef(config: LoadedConfig) -> ReefConfig:
    settings = config.plugins["reef"][1]
    assert isinstance(settings, ReefConfig)
    return settings


def test_without_any_source_there_are_defaults() -> None:
    config = load(None, {}, {"server.plugins": []})
    assert config.server == ServerConfig(plugins=())
    assert config.plugins == {}
    assert config.origins["server.port"] == "default"


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    toml = '[server]\nhost = "::1"\nport = 1\nname = "one"\n'
    environ = {"SHOAL_SERVER_PORT": "2", "SHOAL_SERVER_NAME": "two"}
    config = loaded(toml, environ, {"server.name": "three", "server.url": None}, tmp_path=tmp_path)
    assert (config.server.host, config.server.port, config.server.name) == ("::1", 2, "three")
    assert {key: config.origins[f"server.{key}"] for key in ("host", "port", "name", "url")} == {
        "host": f"file {tmp_path / 'shoal.toml'}",
        "port": "environment SHOAL_SERVER_PORT",
        "name": "flag --name",
        "url": "default",
    }


def test_a_plugin_has_a_table_typed_by_its_class(tmp_path: Path) -> None:
    toml = """
        [reef]
        depth = 3
        seeds = ["tcp://a:1"]
        mood = "wild"
        [reef.timers]
        heartbeat = 500
    """
    flags = {"reef.redis": "redis://elsewhere"}
    config = loaded(toml, {"SHOAL_REEF_TIMERS_SILENCE": "1500"}, flags, tmp_path=tmp_path)
    assert config.plugins["reef"][0] is Reef
    timers = Timers(heartbeat=500, silence=1500)
    expected = ReefConfig(
        redis="redis://elsewhere", depth=3.0, seeds=("tcp://a:1",), mood="wild", timers=timers
    )
    assert reef(config) == expected
    assert config.origins["reef.timers.silence"] == "environment SHOAL_REEF_TIMERS_SILENCE"
    assert config.origins["reef.redis"] == "flag --redis"


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("0", False), ("Yes", True), ("off", False)],
)
def test_text_in_the_environment_is_parsed(text: str, value: bool) -> None:
    config = loaded(
        environ={"SHOAL_SERVER_ANONYMOUS": text, "SHOAL_REEF_SEEDS": "a, b,", "SHOAL_REEF_MARK": "7"}
    )
    assert config.server.anonymous is value
    assert reef(config).seeds == ("a", "b")
    assert reef(config).mark == 7


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[server]\nprot = 1", '[server] has no key "prot" (did you mean "port"?). Its keys are: host, port'),
        ("[reef]\nzzz = 1", '[reef] has no key "zzz". Its keys are: redis'),
        (
            "[reef.timers]\nheart_beat = 1",
            '[reef] has no key "timers.heart_beat" (did you mean "timers.heartbeat"?)',
        ),
        ("[reef]\ntimers = 1", "reef.timers is a table with the keys heartbeat, silence"),
        ('[server]\nport = "7512"', "server.port must be a whole number, not '7512'"),
        ("[server]\nport = true", "server.port must be a whole number, not True"),
        ("[server]\nport = 75.5", "server.port must be a whole number, not 75.5"),
        ("[server]\nanonymous = 1", "server.anonymous must be true or false, not 1"),
        ("[server]\nname = 5", "server.name must be text, not 5"),
        ('[reef]\nseeds = "a,b"', "reef.seeds must be a list, each item text, not 'a,b'"),
        ("[reef]\nseeds = [1]", "reef.seeds must be a list, each item text, not [1]"),
        ('[reef]\nmood = "sad"', 'reef.mood must be one of "calm", "wild", not \'sad\''),
        ('[reef]\nmark = "x"', "reef.mark must be a whole number, not 'x'"),
        ("[reef]\ndepth = nan", "reef.depth must be a number, not nan"),
        ("server = 1", "server is a table: write [server] on a line of its own"),
        (
            "[raef]\nx = 1",
            'unknown table [raef] (did you mean "reef"?). The tables are: server, limits, log, reef',
        ),
    ],
)
def test_a_mistake_in_the_file_names_the_file_the_key_and_what_is_allowed(
    toml: str, said: str, tmp_path: Path
) -> None:
    (problem,) = problems(toml, tmp_path=tmp_path, environ={})
    assert problem.startswith(f"file {tmp_path / 'shoal.toml'}: ")
    assert said in problem


def test_a_value_that_the_class_refuses_is_told_with_its_place(tmp_path: Path) -> None:
    (problem,) = problems("[reef.timers]\nheartbeat = 2000", tmp_path=tmp_path)
    assert problem == (
        "[reef] silence must be at least twice heartbeat, or one lost beat declares a peer dead "
        f"(reef.timers.heartbeat comes from file {tmp_path / 'shoal.toml'})"
    )
    (problem,) = problems(flags={"server.port": 70_000})
    assert "'port' must be <= 65535: 70000 (server.port comes from flag --port)" in problem


@pytest.mark.parametrize("name", ["-x", "a b", "a/b", "x" * 65, "ü"])
def test_a_node_name_must_be_safe_in_topics_and_urls(name: str) -> None:
    (problem,) = problems(environ={"SHOAL_SERVER_NAME": name})
    assert "name must be 1 to 64 letters, digits" in problem


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (
            {"SHOAL_SERVER_PORT": "http"},
            "environment SHOAL_SERVER_PORT: server.port must be a whole number, not 'http'",
        ),
        (
            {"SHOAL_SERVER_PORT": "tcp://10.0.0.1:80"},
            "set enableServiceLinks: false in the pod",
        ),
        (
            {"SHOAL_REEF_REDDIS": "x"},
            'environment SHOAL_REEF_REDDIS: there is no such setting (did you mean "SHOAL_REEF_REDIS"?)',
        ),
        ({"SHOAL_PORT": "7512"}, 'did you mean "SHOAL_SERVER_PORT"?'),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(environ: dict[str, str], said: str) -> None:
    (problem,) = problems(environ=environ)
    assert said in problem


def test_what_kubernetes_sets_for_a_service_named_shoal_does_not_stop_the_start() -> None:
    config = loaded(
        environ={
            "SHOAL_SERVICE_HOST": "10.0.0.1",
            "SHOAL_SERVICE_PORT": "7512",
            "SHOAL_SERVICE_PORT_HTTP": "7512",
            "SHOAL_PORT": "tcp://10.0.0.1:7512",
            "SHOAL_PORT_7512_TCP": "tcp://10.0.0.1:7512",
            "SHOAL_PORT_7512_TCP_ADDR": "10.0.0.1",
        }
    )
    assert config.server.port == 7512


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    toml = '[server]\nport = "x"\nhsot = ""\n[log]\nlevel = "loud"\n[limits]\nconnections = 0\n'
    assert len(problems(toml, tmp_path=tmp_path)) == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"[server", "is not valid TOML"), (b"\xff\xfe", "is not valid TOML")],
)
def test_a_file_that_is_not_toml_is_told(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        load(file, {}, {})


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "none.toml", {}, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, {}, {})


def test_a_key_without_default_must_be_set() -> None:
    assert problems(plugins="needy") == ("needy.key must be set: it has no default. It is a whole number",)
    assert loaded(plugins="needy", environ={"SHOAL_NEEDY_KEY": "3"}).plugins["needy"][1].key == 3


def test_two_plugins_of_one_name_are_refused() -> None:
    (problem,) = problems(plugins="reef,reef-again")
    assert problem == 'server.plugins: the name "reef" (of reef-again) is already taken'


def test_a_flag_for_a_plugin_that_is_not_loaded_is_refused() -> None:
    (problem,) = problems(plugins="", flags={"reef.redis": "redis://x"})
    assert problem == 'flag --redis sets reef.redis, but the plugin "reef" is not in server.plugins'


def test_a_plugin_that_is_not_installed_is_told_with_those_that_are() -> None:
    with pytest.raises(
        ConfigError,
        match=r'no plugin is called "clutser" \(did you mean "cluster"\?\)\. Installed here: .*cluster',
    ):
        find_plugin("clutser")
    with pytest.raises(ConfigError, match='environment SHOAL_SERVER_PLUGINS: no plugin is called "nothing"'):
        load(None, {"SHOAL_SERVER_PLUGINS": "nothing"}, {})


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("no_such_module:Plugin", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("server.config:Nothing", "AttributeError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_told(entry: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f'"{entry}" could not be imported: {said}'):
        find_plugin(entry)


def test_a_plugin_is_found_by_dotted_name() -> None:
    assert find_plugin("server.config:ServerConfig") is ServerConfig


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    toml = '[reef]\nsecret = "hush-hush"\ntoken = "tok-tok"\nredis = "redis://me:pass:w@rd@host/1"\n'
    config = loaded(toml, tmp_path=tmp_path)
    shown = {key: value for key, value, _ in config.rows()}
    assert shown["reef.secret"] == shown["reef.token"] == "***"
    assert shown["reef.redis"] == '"redis://me:***@host/1"'
    assert "hush" not in repr(reef(config))
    (problem,) = problems('[reef]\nmood = "sad"\nsecret = "hush-hush"', tmp_path=tmp_path)
    assert "hush" not in problem
    (problem,) = problems("[reef]\nsecret = 12345", tmp_path=tmp_path)
    assert problem.endswith("reef.secret must be text, not ***")


def test_rows_show_each_setting_as_it_would_be_written(tmp_path: Path) -> None:
    rows = {key: (value, origin) for key, value, origin in loaded("", tmp_path=tmp_path).rows()}
    assert rows["server.port"] == ("7512", "default")
    assert rows["server.plugins"] == ('["reef"]', "environment SHOAL_SERVER_PLUGINS")
    assert rows["server.anonymous"] == ("true", "default")
    assert rows["reef.secret"] == ('""', "default")
    assert rows["reef.timers.heartbeat"] == ("1000", "default")


_toml_values = st.one_of(
    st.integers(),
    st.booleans(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)
_keys = st.one_of(
    st.sampled_from(["port", "name", "timers", "seeds", "mark", "secret", "timers.heartbeat"]),
    st.text(max_size=5),
)


@given(values=st.dictionaries(_keys, _toml_values, max_size=4), text=st.text(max_size=8))
def test_whatever_the_values_are_nothing_but_a_config_error_is_raised(
    values: dict[str, Any], text: str
) -> None:
    flags = {f"{table}.{key}": value for key, value in values.items() for table in ("server", "reef")}
    environ = {"SHOAL_REEF_DEPTH": text, "SHOAL_REEF_MARK": text, "SHOAL_SERVER_PLUGINS": "reef"}
    with contextlib.suppress(ConfigError):
        load(None, environ, flags, PLUGINS.__getitem__)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('trusted_proxies = ["10.0.0.5/8"]', ["trusted_proxies", "10.0.0.5/8", "write an address such as"]),
        ('trusted_proxies = ["nginx"]', ["trusted_proxies", "'nginx'", "10.1.0.0/24"]),
        ('trusted_proxies = "10.0.0.5"', ["trusted_proxies", "a list"]),
        ("proxy_protocol = true", ["proxy_protocol needs trusted_proxies"]),
        ('allowed_origins = ["app.example"]', ["allowed_origins", "'app.example'", "https://app.example"]),
        ('allowed_origins = ["https://*example.com"]', ["allowed_origins", "is no origin"]),
    ],
)
def test_what_no_proxy_and_no_origin_is_stops_the_start(toml: str, said: list[str], tmp_path: Path) -> None:
    (problem,) = problems(f"[server]\n{toml}\n", tmp_path=tmp_path)
    assert [part for part in said if part not in problem] == []
    assert str(tmp_path) in problem


def test_proxies_and_origins_may_come_from_the_environment() -> None:
    config = loaded(
        None,
        {
            "SHOAL_SERVER_TRUSTED_PROXIES": "10.0.0.5, fd00:1::/64",
            "SHOAL_SERVER_PROXY_PROTOCOL": "true",
            "SHOAL_SERVER_ALLOWED_ORIGINS": "https://app.example,https://*.example.com",
            "SHOAL_LIMITS_ADDRESS_CONNECTIONS": "0",
        },
    )
    assert config.server.trusted_proxies == ("10.0.0.5", "fd00:1::/64")
    assert config.server.proxy_protocol is True
    assert config.server.allowed_origins == ("https://app.example", "https://*.example.com")
    assert config.limits.address_connections == 0
