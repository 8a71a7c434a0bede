"""The table of errors: Kuzzle's numbers where Kuzzle has the case, ours where they cannot collide with them."""

import json
import string
from pathlib import Path

import pytest

from server.core.errors import CATALOGUE, MAX_PROP_CHARS, ApiError, PluginApiError

KUZZLE = json.loads((Path(__file__).parent.parent / "vectors" / "error_table.json").read_text())

DOMAINS = {
    "core": 0,
    "services": 1,
    "api": 2,
    "network": 3,
    "plugin": 4,
    "validation": 5,
    "security": 7,
    "cluster": 8,
}

# In Kuzzle, but not in the part of its table that is recorded in vectors/: (code, status).
ALSO_KUZZLES = {
    "plugin.runtime.pipe_timeout": (0x04020003, 504),
    "plugin.controller.unserializable_response": (0x04040008, 500),
}


@pytest.mark.parametrize("error_id", CATALOGUE)
def test_an_error_has_kuzzles_number_or_one_that_kuzzle_never_gives(error_id: str) -> None:
    kind = CATALOGUE[error_id]
    if error_id in KUZZLE:
        assert (kind.code, kind.status) == (KUZZLE[error_id]["code"], KUZZLE[error_id]["status"])
    elif error_id in ALSO_KUZZLES:
        assert (kind.code, kind.status) == ALSO_KUZZLES[error_id]
    else:
        assert kind.code & 0xFFFF >= 0x8000


@pytest.mark.parametrize("error_id", CATALOGUE)
def test_the_code_says_domain_and_subdomain(error_id: str) -> None:
    domain, subdomain, _ = error_id.split(".")
    kind = CATALOGUE[error_id]
    assert kind.code >> 24 == DOMAINS[domain]
    neighbours = {
        other.code >> 16
        for other_id, other in CATALOGUE.items()
        if other_id.startswith(f"{domain}.{subdomain}.")
    }
    assert neighbours == {kind.code >> 16}


def test_no_two_errors_have_one_code() -> None:
    assert len({kind.code for kind in CATALOGUE.values()}) == len(CATALOGUE)


@pytest.mark.parametrize("error_id", CATALOGUE)
def test_every_placeholder_is_filled(error_id: str) -> None:
    kind = CATALOGUE[error_id]
    fields = [name for _, name, _, _ in string.Formatter().parse(kind.template) if name is not None]
    # The message of "not ready" is fixed; its reason is among the props only.
    props = ["reason"] if error_id == "cluster.node.not_ready" else [f"prop {n}" for n in range(len(fields))]
    error = ApiError(error_id, *props)
    assert error.to_wire() == {
        "id": error_id,
        "code": kind.code,
        "status": kind.status,
        "props": props,
        "message": error.message,
    }
    for n in range(len(fields)):
        assert f"prop {n}" in error.message
    if error_id in KUZZLE:
        assert len(fields) == KUZZLE[error_id]["placeholders"]


def test_an_unknown_id_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        ApiError("no.such.error")


def test_a_flood_is_not_echoed() -> None:
    error = ApiError("network.http.url_not_found", "/" + "x" * 100_000)
    assert len(error.props[0]) == MAX_PROP_CHARS
    assert error.props[0].endswith("…")
    assert error.props[0] in error.message


def test_braces_of_clients_mean_nothing() -> None:
    assert (
        ApiError("api.assert.missing_argument", "{0.__class__}").message
        == 'Missing argument "{0.__class__}".'
    )


def test_a_plugins_error_has_its_own_id_and_no_code() -> None:
    error = PluginApiError("greeter.name.unknown", "who are you?", 404, ("name",))
    assert error.to_wire() == {
        "id": "greeter.name.unknown",
        "message": "who are you?",
        "props": ["name"],
        "status": 404,
    }
    assert str(error) == "who are you?"


@pytest.mark.parametrize("status", [200, 399, 600])
def test_a_plugins_error_has_the_status_of_an_error(status: int) -> None:
    with pytest.raises(ValueError, match="400 to 599"):
        PluginApiError("greeter.name.unknown", "who are you?", status)
