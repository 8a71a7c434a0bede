"""Plots as SVG: curves side by side, and bars.

No library: what is needed are lines, dots and text. A plot says its unit above it and names its lines below; whoever
cannot see it finds the same numbers in the table beside it. Numbers far apart get a logarithmic axis, others
begin at zero.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Final

import attrs

PANEL_WIDTH: Final = 300
PANEL_HEIGHT: Final = 190
LEFT, RIGHT, TOP, BOTTOM, LEGEND = 56, 22, 50, 56, 18

LOG_FROM: Final = 20.0
"""From this ratio of the largest number to the smallest, small ones would lie on the axis of a linear scale."""

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's, which the colour-blind can tell apart."""

STYLE: Final = """\
  <style>
    text { font: 12px "Helvetica Neue", Helvetica, Arial, "DejaVu Sans", sans-serif; fill: #374151 }
    .title { font-weight: bold; font-size: 13px; fill: #111827 }
    .right { text-anchor: end }
    .middle { text-anchor: middle }
    .grid { stroke: #e5e7eb }
    .axis { stroke: #9ca3af }
    .line { fill: none; stroke-width: 2; stroke-linejoin: round }
  </style>"""


@attrs.frozen
class Series:
    """One line: its places in rising order."""

    name: str
    points: Sequence[tuple[float, float]]


@attrs.frozen
class Panel:
    """One pair of axes."""

    title: str
    across: str
    """What is on the horizontal axis."""
    series: Sequence[Series]


@attrs.frozen
class Scale:
    """Places numbers between `start` and `end`, in pixels."""

    low: float
    high: float
    is_log: bool
    start: float
    end: float

    @classmethod
    def of(cls, values: Iterable[float], start: float, end: float, *, is_log: bool | None = None) -> "Scale":
        """Return a scale that has room for all these values."""
        known = [value for value in values if value > 0]
        low, high = (min(known), max(known)) if known else (1.0, 10.0)
        if is_log or (is_log is None and high / low >= LOG_FROM):
            low = _decade(low, math.floor)
            return cls(low, max(_decade(high, math.ceil), 10 * low), True, start, end)
        return cls(0.0, _step(high) * math.ceil(high / _step(high) - 1e-9), False, start, end)

    def __call__(self, value: float) -> float:
        """Return where a value is."""
        if self.is_log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = value / self.high
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Return the values that are written at the axis."""
        if not self.is_log:
            step = _step(self.high)
            return [step * count for count in range(round(self.high / step) + 1)]
        decades = round(math.log10(self.high / self.low))
        return [self.low * 10**each for each in range(0, decades + 1, 1 + decades // 7)]


def curves(title: str, panels: Sequence[Panel]) -> str:
    """Draw panels side by side; a line of one name has the same colour in all of them."""
    names = list(dict.fromkeys(series.name for panel in panels for series in panel.series))
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    width, height = PANEL_WIDTH * len(panels), PANEL_HEIGHT + TOP + BOTTOM + LEGEND * len(names)
    lines = _begin(title, width, height)
    for number, panel in enumerate(panels):
        lines += _panel(panel, PANEL_WIDTH * number, colours)
    for number, name in enumerate(names):
        y = TOP + PANEL_HEIGHT + BOTTOM + LEGEND * number
        lines += [
            f'  <circle cx="{LEFT + 6}" cy="{y}" r="5" fill="{colours[name]}"/>',
            f'  <text x="{LEFT + 18}" y="{y + 4}">{escape(name)}</text>',
        ]
    return "\n".join([*lines, "</svg>\n"])


def bars(title: str, groups: Sequence[tuple[str, Sequence[tuple[str, float]]]], unit: str) -> str:
    """Draw groups of bars along a logarithmic axis, each bar with its name and number."""
    name_width, bar, gap, plot = 230, 17, 16, 480
    end = name_width + plot
    scale = Scale.of((value for _, rows in groups for _, value in rows), name_width, end, is_log=True)
    height = TOP + sum(len(rows) * bar + gap + 18 for _, rows in groups) + 10
    lines = _begin(title, end + 190, height)
    names = list(dict.fromkeys(name for _, rows in groups for name, _ in rows))
    y = TOP - 8.0
    for tick in scale.ticks():
        lines.append(f'  <path class="grid" d="M{scale(tick)} {y:g}V{height - 8}"/>')
        lines.append(f'  <text class="middle" x="{scale(tick)}" y="{y - 6:g}">{short(tick)}</text>')
    lines.append(f'  <text x="{end + 30}" y="{y - 6:g}">{escape(unit)}</text>')
    for group, rows in groups:
        y += 18
        lines.append(f'  <text class="title" x="10" y="{y:g}">{escape(group)}</text>')
        y += 7
        for name, value in rows:
            colour = COLOURS[names.index(name) % len(COLOURS)]
            lines.append(f'  <text class="right" x="{name_width - 8}" y="{y + 12:g}">{escape(name)}</text>')
            lines.append(
                f'  <rect x="{name_width}" y="{y + 1:g}" width="{scale(value) - name_width:.1f}" height="{bar - 4}" '
                f'fill="{colour}"/>'
            )
            lines.append(f'  <text x="{scale(value) + 6:.1f}" y="{y + 12:g}">{short(value)}</text>')
            y += bar
        y += gap - 7
    return "\n".join([*lines, "</svg>\n"])


def short(value: float) -> str:
    """Write a number for an axis: 2M, 1.5k, 0.03."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _begin(title: str, width: float, height: float) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-labelledby="title">',
        f'  <title id="title">{escape(title)}</title>',
        STYLE,
        '  <rect width="100%" height="100%" rx="6" fill="#ffffff"/>',  # readable on a dark page too
    ]


def _panel(panel: Panel, x: float, colours: dict[str, str]) -> list[str]:
    left, right, top, bottom = x + LEFT, x + PANEL_WIDTH - RIGHT, TOP, TOP + PANEL_HEIGHT
    points = [point for series in panel.series for point in series.points]
    across = Scale.of((at for at, _ in points), left, right, is_log=True)
    up = Scale.of((value for _, value in points), bottom, top)
    lines = [f'  <text class="title" x="{left}" y="{top - 24}">{escape(panel.title)}</text>']
    for tick in up.ticks():
        lines.append(f'  <path class="grid" d="M{left} {up(tick)}H{right}"/>')
        lines.append(f'  <text class="right" x="{left - 6}" y="{up(tick) + 4:.1f}">{short(tick)}</text>')
    places = sorted({at for at, _ in points})
    for tick in places if len(places) <= 5 else across.ticks():
        lines.append(f'  <text class="middle" x="{across(tick)}" y="{bottom + 16}">{short(tick)}</text>')
    lines.append(f'  <path class="axis" d="M{left} {bottom}H{right}"/>')
    lines.append(
        f'  <text class="middle" x="{(left + right) / 2}" y="{bottom + 32}">{escape(panel.across)}</text>'
    )
    for series in panel.series:
        colour = colours[series.name]
        placed = [(across(at), up(value)) for at, value in series.points]
        way = "L".join(f"{at} {value}" for at, value in placed)
        lines.append(f'  <path class="line" stroke="{colour}" d="M{way}"/>')
        lines += [f'  <circle cx="{at}" cy="{value}" r="3" fill="{colour}"/>' for at, value in placed]
    return lines


def _decade(value: float, rounded: Callable[[float], int]) -> float:
    return 10.0 ** rounded(math.log10(value))


def _step(high: float) -> float:
    """Return a round distance of ticks, three to seven of them up to `high`."""
    size = 10.0 ** math.floor(math.log10(high))
    return next(size * factor for factor in (0.2, 0.5, 1, 2) if high / (size * factor) <= 7)
