"""Who may reset and drain: who is near, or knows the token."""

from __future__ import annotations

from typing import Any

import pytest

from cluster import ConfigurationError
from plugins.cluster.access import Access, is_loopback
from plugins.cluster.config import ClusterConfig
from server.core.session import Session
from server.plugin import PluginApiError, Request

TOKEN = "correct horse battery"
NEAR = ClusterConfig().admin_networks


def asked(
    remote: str = "127.0.0.1:50000",
    *,
    protocol: str = "http",
    body: Any = None,
    is_forwarded: bool = False,
    is_from_page: bool = False,
) -> Request:
    session = Session(
        id="s", protocol=protocol, remote=remote, is_forwarded=is_forwarded, is_from_page=is_from_page
    )
    return Request(
        id="r", controller="cluster/cluster", action="drain", session=session, received_at=0, body=body
    )


def may(access: Access, request: Request) -> bool:
    try:
        access.check(request)
    except PluginApiError as error:
        return (error.status, error.id) != (403, "cluster.access.denied")
    return True


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (asked(), True),
        (asked("[::1]:50000"), True),
        (asked("[::ffff:127.0.0.1]:50000"), True),
        (asked("10.0.0.7:50000"), False),
        (asked("[fe80::1%eth0]:50000"), False),
        (asked("[::ffff:10.0.0.7]:50000"), False),
        (asked("somewhere"), False),
        (asked("127.0.0.1"), True),
        (asked("[::1]"), True),
        (asked("10.0.0.7"), False),
        (asked(""), False),
        (asked(is_forwarded=True), False),
        (asked(is_from_page=True), False),
        (asked(protocol="websocket"), False),
        (asked("", protocol="internal"), True),
        (asked("10.0.0.7:50000", body={"token": TOKEN}), True),
        (asked(protocol="websocket", body={"token": TOKEN}), True),
        (asked(is_forwarded=True, body={"token": TOKEN}), True),
        (asked(is_from_page=True, body={"token": TOKEN}), True),
        (asked("10.0.0.7:50000", body={"token": TOKEN + "!"}), False),
        (asked("10.0.0.7:50000", body={"token": "é\ud800"}), False),
        (asked("10.0.0.7:50000", body={"token": 5}), False),
        (asked("10.0.0.7:50000", body=[TOKEN]), False),
        (asked(body={"token": "another"}), False),
    ],
)
def test_who_is_near_or_knows_the_token_may(request_: Request, expected: bool) -> None:
    assert may(Access(TOKEN, NEAR, are_addresses_sure=False), request_) is expected


def test_without_a_token_none_is_right() -> None:
    access = Access(None, NEAR, are_addresses_sure=False)
    assert not may(access, asked("10.0.0.7:50000", body={"token": ""}))
    assert may(access, asked(body={"token": "not needed"}))


def test_where_addresses_are_sure_a_websocket_may_if_nobody_speaks_for_it() -> None:
    access = Access(None, NEAR, are_addresses_sure=True)
    assert may(access, asked(protocol="websocket"))
    assert not may(access, asked("10.0.0.7:50000", protocol="websocket"))
    assert not may(access, asked(protocol="websocket", is_forwarded=True))
    assert not may(access, asked(protocol="websocket", is_from_page=True))


def test_networks_can_be_named() -> None:
    access = Access(None, ("10.0.0.0/8",), are_addresses_sure=False)
    assert [may(access, asked("10.0.0.7:50000")), may(access, asked())] == [True, False]


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_what_listens_for_this_machine_only(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"admin_token": "short"}, "admin_token has 5"), ({"admin_networks": ("10.0.0.7/8",)}, "is no network")],
)
def test_what_cannot_be_used_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ClusterConfig(**settings)


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(ClusterConfig(admin_token=TOKEN))
