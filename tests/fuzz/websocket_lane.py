"""What a client sends over WebSocket, in any pieces. The law: the fast lane changes nothing (judged by wsproto, which
reads the same bytes without a lane), does not depend on the pieces, and keeps no more than it may."""

from __future__ import annotations

from collections.abc import Iterator

from support.fuzz_engine import Target
from support.fuzz_websocket import change_stream, conversations, head_of
from support.websocket_readers import (
    Limits,
    the_lane_changes_nothing,
    what_is_passed_on_does_not_depend_on_the_pieces,
)

LIMITS: tuple[Limits, ...] = ((1_000, 2_000), (100_000, 200_000), (200, 2_000), (1_000, 130), (0, 10))


def check(data: bytes) -> None:
    """Read it with the lane and without, at once and in pieces."""
    choice, sizes, stream = head_of(data)
    limits = LIMITS[choice % len(LIMITS)]
    the_lane_changes_nothing(stream, sizes, limits)
    what_is_passed_on_does_not_depend_on_the_pieces(stream, sizes, limits)


def seeds() -> Iterator[bytes]:
    """Conversations, sound and unsound."""
    return conversations()


TARGET = Target(check, seeds, change_stream)
