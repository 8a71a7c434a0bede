"""Bytes in the pieces that a network may deliver them in."""

import itertools
from collections.abc import Sequence


def pieces_of(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Cut `data` into pieces of these sizes, over and over."""
    pieces: list[bytes] = []
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(data):
            return pieces
        pieces.append(data[start : start + size])
        start += size
    return pieces
