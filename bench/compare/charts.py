"""Bar charts that compare peers, line charts for growth: numbers in, SVG out."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.compare.svg import Drawing

__all__ = ["Bar", "Line", "Role", "bar_chart", "line_chart", "short_count", "short_time"]

#: The role of a peer for the reader, which decides the colour.
Role = Literal["ours", "limit", "base", "other"]

MARGIN = 16
LINE_HEIGHT = 20

BAR_WIDTH = 760
BAR_HEIGHT = 14
#: Room for the value of the longest bar.
VALUE_WIDTH = 80
#: The average width of a letter: SVG does not report the width of a text.
LETTER_WIDTH = 6.8

PLOT_WIDTH = 480
PLOT_HEIGHT = 330
PLOT_LEFT = 72
PLOT_TOP = 64
PLOT_BOTTOM = 52


@dataclass(frozen=True)
class Bar:
    """One peer's value."""

    label: str
    value: float
    role: Role


@dataclass(frozen=True)
class Line:
    """One peer's values, by the quantity that grows; both above or equal to zero, values above."""

    label: str
    role: Role
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class _Span:
    """Maps values to a stretch of the drawing, by their logarithms."""

    lowest: float
    highest: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return the place of a value; with a single value that is the middle."""
        if self.highest <= self.lowest:
            return (self.start + self.end) / 2
        share = math.log(value / self.lowest) / math.log(self.highest / self.lowest)
        return self.start + share * (self.end - self.start)


def short_count(value: float) -> str:
    """Return a count with three digits that matter, as in 1.23 M."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def short_time(seconds: float) -> str:
    """Return a duration in the unit that keeps it short, as in 4.7 µs."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds / 1e-9)} ns"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def bar_chart(title: str, note: str, bars: Sequence[Bar], show: Callable[[float], str]) -> str:
    """Draw horizontal bars from zero, in the given order, each with its value; the note states the unit."""
    height = 2 * MARGIN + (len(bars) + 2) * LINE_HEIGHT
    drawing = Drawing(BAR_WIDTH, height, title)
    drawing.heading((MARGIN, MARGIN + 12), title)
    drawing.text((MARGIN, MARGIN + 12 + LINE_HEIGHT), note, "faint-ink")
    longest = max((bar.value for bar in bars), default=1.0)
    left = MARGIN + round(LETTER_WIDTH * max((len(bar.label) for bar in bars), default=0))
    room = BAR_WIDTH - MARGIN - left - VALUE_WIDTH
    for index, bar in enumerate(bars):
        base = MARGIN + (index + 2) * LINE_HEIGHT + 16
        width = max(1.0, round(bar.value / longest * room, 1))
        drawing.text((left, base), bar.label, anchor="end")
        drawing.bar((left + 8, base - BAR_HEIGHT + 3), (width, BAR_HEIGHT), f"bar-{bar.role}")
        drawing.text((left + 14 + width, base), show(bar.value), "faint-ink")
    return drawing.render()


def line_chart(
    title: str,
    axes: tuple[str, str],
    lines: Sequence[Line],
    show: tuple[Callable[[float], str], Callable[[float], str]],
) -> str:
    """Draw lines over logarithmic axes; `axes` names them with their units, `show` writes their values.

    Zero has no logarithm: it is drawn where the next smaller point would be.
    """
    drawing = Drawing(PLOT_WIDTH, PLOT_HEIGHT, title)
    drawing.heading((MARGIN, MARGIN + 12), title)
    _draw_legend(drawing, lines)
    quantities = sorted({quantity for line in lines for quantity, _ in line.points})
    values = [value for line in lines for _, value in line.points]
    if not values:
        return drawing.render()
    zero = _stand_in_for_zero(quantities)
    lowest, highest = quantities[0] or zero, quantities[-1] or zero
    across = _Span(lowest, highest, PLOT_LEFT + 8, PLOT_WIDTH - MARGIN - 12)
    decades = list(_decades(values))
    up = _Span(decades[0], decades[-1], PLOT_HEIGHT - PLOT_BOTTOM, PLOT_TOP)
    _draw_grid(
        drawing, [(across.place(each or zero), show[0](each)) for each in quantities], up, decades, show[1]
    )
    drawing.text(
        ((across.start + across.end) / 2, PLOT_HEIGHT - MARGIN + 4), axes[0], "faint-ink", anchor="middle"
    )
    drawing.turned_text((MARGIN + 4, (up.start + up.end) / 2), axes[1])
    for line in lines:
        points = [
            (round(across.place(quantity or zero), 1), round(up.place(value), 1))
            for quantity, value in line.points
        ]
        drawing.line(points, f"line-{line.role}")
        for point in points:
            drawing.dot(point, f"line-{line.role}")
    return drawing.render()


def _draw_legend(drawing: Drawing, lines: Sequence[Line]) -> None:
    left = float(MARGIN)
    for line in lines:
        drawing.line([(left, MARGIN + 28), (left + 24, MARGIN + 28)], f"line-{line.role}")
        drawing.text((left + 30, MARGIN + 32), line.label)
        left += 30 + LETTER_WIDTH * len(line.label) + 20


def _draw_grid(
    drawing: Drawing,
    marks: Sequence[tuple[float, str]],
    up: _Span,
    decades: Sequence[float],
    show: Callable[[float], str],
) -> None:
    right = PLOT_WIDTH - MARGIN
    for decade in decades:
        height = round(up.place(decade), 1)
        drawing.line([(PLOT_LEFT, height), (right, height)], "grid")
        drawing.text((PLOT_LEFT - 6, height + 4), show(decade), "faint-ink", anchor="end")
    for place, label in marks:
        drawing.line([(round(place, 1), up.start), (round(place, 1), up.start + 4)], "grid")
        drawing.text((round(place, 1), up.start + 18), label, "faint-ink", anchor="middle")


def _stand_in_for_zero(quantities: Sequence[float]) -> float:
    above = [quantity for quantity in quantities if quantity > 0]
    if len(above) < 2:
        return 1.0
    return above[0] * above[0] / above[1]


def _decades(values: Sequence[float]) -> Iterator[float]:
    first = math.floor(math.log10(min(values)))
    last = max(first + 1, math.ceil(math.log10(max(values))))
    for exponent in range(first, last + 1):
        yield 10.0**exponent
