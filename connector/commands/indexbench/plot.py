"""Draws recall against queries a second as SVG: one line an index, one dot a search parameter; what is up and to the right is better.

A ring is an index that was searched without parameters. The drawing is a few dozen elements, so it needs no library.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from connector.commands.indexbench.choices import words
from connector.commands.indexbench.result import IndexBench, Measured, Point

_WIDTH, _HEIGHT = 1000, 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 610, 60, 460
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000", "#8c564b", "#9467bd")
"""The palette of Okabe and Ito, which people with colour blindness can tell apart, and some more."""

_STEPS = (1, 2, 5)


def svg(found: IndexBench) -> str:
    """The picture as text."""
    drawn = [one for one in found.indexes if one.points]
    axes = _Axes([point for one in drawn for point in one.points])
    title = f"{found.collection}.{found.field}, {found.metric}: {found.rows:,} rows, {found.server}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="30" font-size="15">{escape(title)}</text>',
        *axes.lines(),
    ]
    for place, one in enumerate(drawn):
        parts += _line(one, axes, _COLOURS[place % len(_COLOURS)], _TOP + 20 * place)
    parts.append(f'<text x="{_RIGHT + 16}" y="{_TOP + 20 * len(drawn) + 12}" fill="#555">ring: without search parameters</text>')
    return "\n".join([*parts, "</svg>", ""])


class _Axes:
    """Recall to the right, from a tenth below the least one; queries a second upwards, by their logarithm."""

    def __init__(self, points: list[Point]) -> None:
        self._low = max(0.0, math.floor(min((one.recall for one in points), default=0.0) * 10) / 10 - 0.05)
        rates = [max(one.qps, 1e-3) for one in points] or [1.0]
        self._slow, self._fast = math.log10(min(rates) / 1.2), math.log10(max(rates) * 1.2)

    def x(self, recall: float) -> float:
        return _LEFT + (recall - self._low) / (1.0 - self._low) * (_RIGHT - _LEFT)

    def y(self, qps: float) -> float:
        return _BOTTOM - (math.log10(max(qps, 1e-3)) - self._slow) / (self._fast - self._slow) * (_BOTTOM - _TOP)

    def lines(self) -> Iterator[str]:
        """The frame, a grid, and what stands beside it."""
        step = 0.05 if self._low > 0.6 else 0.1  # noqa: PLR2004 - no more than ten lines
        for number in range(math.ceil(self._low / step - 1e-9), round(1 / step) + 1):
            x = self.x(number * step)
            yield f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_BOTTOM}" stroke="#e5e5e5"/>'
            yield f'<text x="{x:.1f}" y="{_BOTTOM + 18}" text-anchor="middle">{number * step:.2f}</text>'
        for rate in self._rates():
            y = self.y(rate)
            yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_RIGHT}" y2="{y:.1f}" stroke="#e5e5e5"/>'
            yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{rate:,g}</text>'
        yield f'<path d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}" fill="none" stroke="#333"/>'
        yield f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_BOTTOM + 42}" text-anchor="middle">recall@10</text>'
        middle = (_TOP + _BOTTOM) / 2
        yield f'<text x="22" y="{middle}" text-anchor="middle" transform="rotate(-90 22 {middle})">queries/s, one client</text>'

    def _rates(self) -> Iterator[float]:
        few = self._fast - self._slow < 1
        for power in range(math.floor(self._slow), math.ceil(self._fast) + 1):
            for one in range(1, 10) if few else _STEPS:
                if self._slow <= math.log10(one * 10.0**power) <= self._fast:
                    yield one * 10.0**power


def _line(one: Measured, axes: _Axes, colour: str, legend: float) -> Iterator[str]:
    at = [(axes.x(point.recall), axes.y(point.qps), point) for point in one.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, point in at if point.params)
    width = 3 if one.declared else 1.5
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-opacity="0.7"/>'
    for x, y, point in at:
        said = f"{one.index} {words(point.params)}: recall {point.recall:.3f}, {point.qps:,.1f} queries/s"
        inside = colour if point.params else "white"
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{inside}" stroke="{colour}"><title>{escape(said)}</title></circle>'
    yield f'<circle cx="{_RIGHT + 20}" cy="{legend}" r="5" fill="{colour}"/>'
    weight = ' font-weight="bold"' if one.declared else ""
    yield f'<text x="{_RIGHT + 32}" y="{legend + 4}"{weight}>{escape(one.index + (" (declared)" if one.declared else ""))}</text>'
