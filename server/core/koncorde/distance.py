"""Distances as people write them, `"1 000,5 km"`, in metres.

A number with a point or a comma, then a unit, which is required. Case, spaces and dashes do not count.
"""

from __future__ import annotations

import re
from decimal import Decimal

from server.core.koncorde.limits import MAX_DISTANCE_CHARACTERS

_METRE_PREFIXES = {
    "nano": ("n", "1e-9"),
    "micro": ("u", "1e-6"),
    "milli": ("m", "1e-3"),
    "centi": ("c", "1e-2"),
    "deci": ("d", "1e-1"),
    "": ("", "1"),
    "deca": ("da", "1e1"),
    "hecto": ("h", "1e2"),
    "kilo": ("k", "1e3"),
    "mega": (None, "1e6"),  # its letter would be that of milli: case does not count
    "giga": ("g", "1e9"),
}
_OTHER_UNITS = {
    ("ft", "feet", "feets"): "0.3048",
    ("in", "inch", "inches"): "0.0254",
    ("yd", "yard", "yards"): "0.9144",
    ("mi", "mile", "miles"): "1609.34",
}


def _factors() -> dict[str, Decimal]:
    factors = {name: Decimal(factor) for names, factor in _OTHER_UNITS.items() for name in names}
    for prefix, (letter, factor) in _METRE_PREFIXES.items():
        factors[f"{prefix}meter"] = factors[f"{prefix}meters"] = Decimal(factor)
        if letter is not None:
            factors[f"{letter}m"] = Decimal(factor)
    return factors


_FACTORS = _factors()
_DISTANCE = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)([a-z]+)")


def to_metres(text: str) -> float | None:
    """Return the distance in metres, or None when the text is not one.

    The product is a decimal one, so that "2.3km" and "2300m" are the same distance.
    """
    if len(text) > MAX_DISTANCE_CHARACTERS:
        return None
    compact = re.sub(r"[\s-]", "", text).replace(",", ".").lower()
    parts = _DISTANCE.fullmatch(compact)
    if parts is None:
        return None
    number, unit = parts.groups()
    factor = _FACTORS.get(unit)
    return None if factor is None else float(Decimal(number) * factor)
