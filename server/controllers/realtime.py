"""The `realtime` controller: subscriptions and messages.

Subscribing needs a connection that notifications can be sent to; over HTTP it is refused.
"""

from enum import StrEnum
from typing import Any, TypeVar

import attrs

from server.core.actions import action
from server.core.errors import ApiError
from server.core.notifications import DocumentNotification
from server.core.requests import Request
from server.core.rooms import Scope, Users
from server.realtime import Realtime, Subscribed, Wish

Option = TypeVar("Option", bound=StrEnum)


@attrs.frozen
class RealtimeController:
    """`realtime:*`. See docs/reference for arguments and results."""

    _realtime: Realtime
    name: str = "realtime"

    @action()
    def subscribe(self, request: Request) -> Any:
        """Put the connection into the room of a filter."""
        _require_lasting(request)
        index, collection, body = (
            request.require_index(),
            request.require_collection(),
            request.require_body(),
        )
        subscribed = self._realtime.subscribe(request.session, index, collection, body, _wish(request))
        return _answer(request, subscribed)

    @action()
    def join(self, request: Request) -> Any:
        """Put the connection into a room that somebody, on any node, has."""
        _require_lasting(request)
        subscribed = self._realtime.join(request.session, request.body_string("roomId"), _wish(request))
        return _answer(request, subscribed)

    @action()
    def unsubscribe(self, request: Request) -> dict[str, Any]:
        """Take the connection out of a room, all its channels."""
        room_id = request.body_string("roomId")
        self._realtime.unsubscribe(request.session, room_id)
        return {"roomId": room_id}

    @action()
    def count(self, request: Request) -> dict[str, Any]:
        """Count the connections in a room, on all nodes."""
        return {"count": self._realtime.count(request.body_string("roomId"))}

    @action(http=[("GET", "/_listSubscriptions")])
    def list(self, request: Request) -> dict[str, Any]:  # noqa: ARG002 - every action takes the request
        """List the rooms of all nodes and how many connections each has."""
        return self._realtime.counts()

    @action(http=[("POST", "/:index/:collection/_publish")])
    def publish(self, request: Request) -> dict[str, Any]:
        """Tell the subscribers whose filter the message matches. Stores nothing. The hot path."""
        index, collection, body = (
            request.require_index(),
            request.require_collection(),
            request.require_body(),
        )
        document_id = request.optional_id()
        # What a client says of itself here is ignored, as it is for stored documents.
        content = {
            **body,
            "_kuzzle_info": {"author": request.session.user.kuid, "createdAt": request.received_at},
        }
        result: dict[str, Any] = (
            {"_source": content} if document_id is None else {"_id": document_id, "_source": content}
        )
        self._realtime.publish(
            DocumentNotification(
                index=index,
                collection=collection,
                action="publish",
                scope="in",
                event="publish",
                content=content,
                document_id=document_id,
                result=result,
                request_id=request.id,
                timestamp=request.received_at,
                volatile=request.volatile,
                controller="realtime",
                protocol=request.protocol,
            )
        )
        return {"published": True}


def _require_lasting(request: Request) -> None:
    if not request.session.is_lasting:
        raise ApiError(
            "api.assert.unsupported_protocol", request.protocol, f"{request.controller}:{request.action}"
        )


def _wish(request: Request) -> Wish:
    return Wish(
        scope=_option(request, "scope", Scope.ALL, "core.realtime.invalid_scope"),
        users=_option(request, "users", Users.NONE, "core.realtime.invalid_users"),
        volatile=request.volatile,
    )


def _option(request: Request, name: str, default: Option, error_id: str) -> Option:
    value = request.args.get(name)
    if value is None:
        return default
    try:
        return type(default)(value)
    except ValueError:
        raise ApiError(error_id) from None


def _answer(request: Request, subscribed: Subscribed) -> Any:
    request.on_sent = subscribed.release
    if subscribed.is_settled:
        return {"roomId": subscribed.room_id, "channel": subscribed.channel}
    return _settled_answer(subscribed)


async def _settled_answer(subscribed: Subscribed) -> dict[str, Any]:
    answer: dict[str, Any] = {"roomId": subscribed.room_id, "channel": subscribed.channel}
    if not await subscribed.settled():
        answer["synced"] = False
    return answer
