"""Line and bar charts as SVG text: the same numbers give the same bytes, and nothing from outside is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

COLOURS: Final = ("#0b6e99", "#d9730d", "#4d7c3a", "#ad1a72", "#6940a5", "#787774")
_WIDTH, _HEIGHT = 560, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 14, 44
_LABEL_CHARACTERS = 34


@dataclass(frozen=True, slots=True)
class Series:
    """One line.

    Attributes
    ----------
    name
        In the legend.
    x, y
        Points; a ``y`` of None is left out.
    error
        Standard errors, drawn as a band of twice their size, as far as the plot reaches; empty if there are none.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    error: Sequence[float | None] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Axis:
    """From where to where an axis goes.

    Attributes
    ----------
    label
        What it shows.
    low, high
        Its ends; above 0 if it is logarithmic.
    log
        Whether it is logarithmic.
    """

    label: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return where on the axis a value lies, 0 to 1."""
        if self.log:
            return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return round values to mark."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**k for k in range(first, last + 1, max(1, (last - first) // 5))]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
        for factor in (1, 2, 5, 10):
            if (self.high - self.low) / (step * factor) <= 6:  # noqa: PLR2004 - marks that fit
                step *= factor
                break
        first = math.ceil(self.low / step - 1e-9)
        return [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def fitting_axis(label: str, series: Sequence[Series]) -> Axis:
    """Return a linear axis from 0 to a little above the largest value and the band around it."""
    known = [point for each in series for point in _points(each)]
    low = min([0.0, *(value for _, value, _ in known)])
    return Axis(label, low, max([1e-9, *(value + 2 * (error or 0.0) for _, value, error in known)]) * 1.08)


def _points(series: Series) -> list[tuple[float, float, float | None]]:
    """Return the points that have a ``y``, each with its error."""
    return [
        (at, value, series.error[k] if series.error else None)
        for k, (at, value) in enumerate(zip(series.x, series.y, strict=True))
        if value is not None
    ]


def line_chart(series: Sequence[Series], x: Axis, y: Axis, *, diagonal: bool = False) -> str:
    """Return a chart of lines.

    Parameters
    ----------
    diagonal
        Whether to draw the line from corner to corner that perfect calibration, or pure chance, follows.
    """
    parts = [_frame(x, y)]
    if diagonal:
        parts.append(
            f'<path d="M{_at_x(0)} {_at_y(0)}L{_at_x(1)} {_at_y(1)}" stroke="#999" stroke-dasharray="4 4" fill="none"/>'
        )
    for k, each in enumerate(series):
        parts.append(_line(each, x, y, COLOURS[k % len(COLOURS)]))
    parts.append(_legend([each.name for each in series]))
    return _svg(parts, _HEIGHT)


def _line(series: Series, x: Axis, y: Axis, colour: str) -> str:
    points = [(x.place(at), value, error) for at, value, error in _points(series)]
    if not points:
        return ""
    title = f"<title>{escape(series.name)}</title>"
    path = "L".join(f"{_at_x(at)} {_at_y(y.place(value))}" for at, value, _ in points)
    out = f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2">{title}</path>'
    if all(error is not None for _, _, error in points):
        edges = [(at, value - 2 * (error or 0.0), value + 2 * (error or 0.0)) for at, value, error in points]
        upper = [f"{_at_x(at)} {_at_y(y.place(min(high, y.high)))}" for at, _, high in edges]
        lower = [f"{_at_x(at)} {_at_y(y.place(max(low, y.low)))}" for at, low, _ in edges]
        out += f'<path d="M{"L".join([*upper, *reversed(lower)])}Z" fill="{colour}" fill-opacity=".15"/>'
    if len(points) == 1:
        out += f'<circle cx="{_at_x(points[0][0])}" cy="{_at_y(y.place(points[0][1]))}" r="3" fill="{colour}"/>'
    return out


def bar_chart(labels: Sequence[str], series: Sequence[Series], value: str) -> str:
    """Return horizontal bars in groups: one group per label, one bar per series (its ``x`` is not looked at)."""
    height = 12 * max(len(series), 1)
    pitch = height + 8
    left = 8 + 7 * min(max((len(label) for label in labels), default=1), _LABEL_CHARACTERS)
    axis = fitting_axis(value, series)
    bottom = _TOP + 12 + pitch * len(labels)
    scale = (_WIDTH - left - 70) / max(axis.high, 1e-9)
    parts = []
    for row, label in enumerate(labels):
        top = _TOP + 12 + pitch * row
        short = label if len(label) <= _LABEL_CHARACTERS else f"…{label[1 - _LABEL_CHARACTERS :]}"
        parts.append(
            f'<text x="{left - 6}" y="{top + height / 2 + 4:.1f}" text-anchor="end">{escape(short)}'
            f"<title>{escape(label)}</title></text>"
        )
        for k, each in enumerate(series):
            number = each.y[row]
            if number is None:
                continue
            width = max(number, 0.0) * scale
            y = top + 12 * k
            parts.append(
                f'<rect x="{left}" y="{y + 1}" width="{width:.1f}" height="10" fill="{COLOURS[k % len(COLOURS)]}">'
                f"<title>{escape(label)}, {escape(each.name)}: {number:.4g}</title></rect>"
                f'<text x="{left + width + 4:.1f}" y="{y + 10}" class="value">{number:.4g}</text>'
            )
    parts.append(_legend([each.name for each in series]))
    return _svg(parts, bottom + 8)


def signed_bars(labels: Sequence[str], values: Sequence[float]) -> str:
    """Return horizontal bars to both sides of zero, for weights."""
    left, pitch, middle = 190, 16, 370
    largest = max([1e-9, *(abs(value) for value in values)])
    parts = [f'<path d="M{middle} {_TOP}V{_TOP + pitch * len(labels)}" stroke="#999"/>']
    for row, (label, value) in enumerate(zip(labels, values, strict=True)):
        y = _TOP + pitch * row
        width = abs(value) / largest * 130
        x = middle if value >= 0 else middle - width
        colour = COLOURS[0] if value >= 0 else COLOURS[1]
        end, anchor = (middle + width + 4, "start") if value >= 0 else (middle - width - 4, "end")
        parts.append(
            f'<text x="{left - 6}" y="{y + 11}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="11" fill="{colour}"/>'
            f'<text x="{end:.1f}" y="{y + 11}" text-anchor="{anchor}" class="value">{value:+.3f}</text>'
        )
    return _svg(parts, _TOP + pitch * len(labels) + 8)


def _svg(parts: Sequence[str], height: float) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img">{"".join(parts)}</svg>'


def _at_x(share: float) -> str:
    return f"{_LEFT + share * (_WIDTH - _LEFT - _RIGHT):.1f}"


def _at_y(share: float) -> str:
    return f"{_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM):.1f}"


def _frame(x: Axis, y: Axis) -> str:
    parts = []
    for tick in y.ticks():
        at = _at_y(y.place(tick))
        parts.append(
            f'<path d="M{_LEFT} {at}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 6}" y="{float(at) + 4:.1f}" text-anchor="end">{tick:.4g}</text>'
        )
    for tick in x.ticks():
        at = _at_x(x.place(tick))
        parts.append(
            f'<path d="M{at} {_at_y(0)}v4" stroke="#999"/>'
            f'<text x="{at}" y="{_HEIGHT - _BOTTOM + 17}" text-anchor="middle">{tick:.4g}</text>'
        )
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x.label)}</text>'
        f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{escape(y.label)}</text>'
    )
    return "".join(parts)


def _legend(names: Sequence[str]) -> str:
    out, x = [], float(_LEFT + 8)
    for k, name in enumerate(names):
        out.append(
            f'<rect x="{x:.0f}" y="2" width="10" height="10" fill="{COLOURS[k % len(COLOURS)]}"/>'
            f'<text x="{x + 14:.0f}" y="11">{escape(name)}</text>'
        )
        x += 26 + 6.6 * len(name)
    return "".join(out)
