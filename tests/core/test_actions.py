"""Actions: how a controller declares them, and what a node refuses to have twice."""

from typing import Any

import pytest

from server.core.actions import Action, ActionCollisionError, ActionTable, action, actions_of
from server.core.errors import ApiError
from server.core.requests import Request
from server.core.routes import RouteCollisionError
from server.core.session import Session


class Greeter:
    name = "greeter"

    @action(http=[("GET", "/hello/:who"), ("POST", "/hello")], public=True)
    def say_hello(self, request: Request) -> Any:
        return {"hello": request.args.get("who")}

    @action(name="mGreet")
    def greet_many(self, _request: Request) -> Any:
        return []

    def helps(self) -> None:
        """Not an action."""


class PoliteGreeter(Greeter):
    @action()
    def say_hello(self, _request: Request) -> Any:
        return {"hello": "dear"}


def a_request() -> Request:
    return Request(
        id="r",
        controller="greeter",
        action="sayHello",
        session=Session(id="s", protocol="http", remote=""),
        received_at=0,
        args={"who": "you"},
    )


def test_methods_marked_as_actions_are_actions() -> None:
    hello, many = actions_of(Greeter(), "plug/", "/_plugin/plug")
    assert (hello.controller, hello.name, hello.is_public) == ("plug/greeter", "sayHello", True)
    assert hello.http == (("GET", "/_plugin/plug/hello/:who"), ("POST", "/_plugin/plug/hello"))
    assert (many.name, many.http, many.is_public) == ("mGreet", (), False)
    assert hello.call(a_request()) == {"hello": "you"}


def test_a_subclass_may_replace_an_action() -> None:
    hello = next(entry for entry in actions_of(PoliteGreeter()) if entry.name == "sayHello")
    assert hello.call(a_request()) == {"hello": "dear"}
    assert hello.http == ()


def a_table() -> ActionTable:
    table = ActionTable()
    table.add(Greeter())
    return table


def test_the_table_finds_actions_by_name() -> None:
    table = a_table()
    assert table.find("greeter", "sayHello").name == "sayHello"
    assert [entry.name for entry in table] == ["sayHello", "mGreet"]
    assert [(route.verb, route.path) for route in table.routes] == [
        ("GET", "/hello/:who"),
        ("POST", "/hello"),
    ]


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ApiError) as caught:
        a_table().find("nobody", "sayHello")
    assert (caught.value.id, caught.value.props) == ("api.process.controller_not_found", ("nobody",))
    with pytest.raises(ApiError) as caught:
        a_table().find("greeter", "shout")
    assert (caught.value.id, caught.value.props) == ("api.process.action_not_found", ("greeter", "shout"))


def test_only_public_actions_are_public() -> None:
    table = a_table()
    assert table.is_public("greeter", "sayHello")
    assert not table.is_public("greeter", "mGreet")
    assert not table.is_public("greeter", "shout")
    assert not table.is_public("nobody", "sayHello")


class SecondGreeter:
    name = "second"

    @action(http=[("GET", "/hello/:name")])
    def hello(self, _request: Request) -> Any: ...


class TwoOfAName:
    name = "two"

    @action(name="same")
    def one(self, _request: Request) -> Any: ...

    @action(name="same")
    def other(self, _request: Request) -> Any: ...


class NoActions:
    name = "idle"


class BadName:
    name = "Not A Name"

    @action()
    def hello(self, _request: Request) -> Any: ...


@pytest.mark.parametrize(
    ("controller", "error", "said"),
    [
        (Greeter(), ActionCollisionError, 'a controller "greeter" already'),
        (SecondGreeter(), RouteCollisionError, "second:hello is already taken by greeter:sayHello"),
        (TwoOfAName(), ActionCollisionError, 'two actions "same"'),
        (NoActions(), ValueError, "has no actions"),
        (BadName(), ValueError, "cannot name a controller"),
    ],
)
def test_what_collides_or_does_nothing_is_refused(controller: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        a_table().add(controller)


def test_an_action_is_plain_data() -> None:
    entry: Action = a_table().find("greeter", "mGreet")
    assert entry.call(a_request()) == []
