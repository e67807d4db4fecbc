"""Two kinds of plots as SVG text: grouped bars and lines. Numbers in, text out.

Colours are those of Okabe and Ito, which people who see few colours can tell apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

COLOURS = ("#999999", "#0072b2", "#e69f00", "#009e73", "#d55e00")
WIDTH, HEIGHT = 860, 240
"""Of a row of panels; two panels share it."""
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 30, 40
LEGEND_HEIGHT = 30
TICKS_MAX = 5


@dataclass(frozen=True)
class Bars:
    """One panel: for each group (its label) the value of each series, None where there is none."""

    title: str
    groups: Sequence[tuple[str, Sequence[float | None]]]


@dataclass(frozen=True)
class Lines:
    """One panel: the values of each series at the same points, from `first` in steps of `step`."""

    title: str
    first: float
    step: float
    series: Sequence[Sequence[float]]


@dataclass(frozen=True)
class _Axes:
    """What all panels of a plot share; `width` is that of one panel."""

    x: str
    y: str
    top: float
    width: float

    @property
    def inner_width(self) -> float:
        return self.width - LEFT - RIGHT


def bar_plot(panels: Sequence[Bars], names: Sequence[str], *, x: str, y: str) -> str:
    """Draw the panels in two columns with one scale, so that their heights compare."""
    top = max(value or 0 for panel in panels for _, values in panel.groups for value in values)
    axes = _Axes(x, y, top, WIDTH / min(2, len(panels)))
    return _plot([(panel.title, _bars(panel, axes)) for panel in panels], names, axes)


def line_plot(panels: Sequence[Lines], names: Sequence[str], *, x: str, y: str) -> str:
    """Draw the panels in two columns with one scale."""
    top = max(value for panel in panels for values in panel.series for value in values)
    axes = _Axes(x, y, top, WIDTH / min(2, len(panels)))
    return _plot([(panel.title, _lines(panel, axes)) for panel in panels], names, axes)


def tick_step(top: float) -> float:
    """Return 1, 2 or 5 times a power of ten: the smallest that gives TICKS_MAX ticks or less."""
    power = 10.0 ** (len(str(int(top))) - 1) if top >= 1 else 1.0
    steps = (factor * scale for scale in (power / 10, power) for factor in (1, 2, 5))
    return next(step for step in steps if top / step <= TICKS_MAX)


def _height(value: float, top: float) -> float:
    return (HEIGHT - TOP - BOTTOM) * value / top if top else 0.0


def _bars(panel: Bars, axes: _Axes) -> str:
    slot = axes.inner_width / len(panel.groups)
    drawn = []
    for number, (label, values) in enumerate(panel.groups):
        there = [(series, value) for series, value in enumerate(values) if value is not None]
        width = min(24.0, slot * 0.84 / len(there))
        left = LEFT + slot * number + (slot - width * len(there)) / 2
        for place, (series, value) in enumerate(there):
            height = _height(value, axes.top)
            drawn.append(
                f'<rect x="{left + place * width:.1f}" y="{HEIGHT - BOTTOM - height:.1f}"'
                f' width="{width - 1.5:.1f}" height="{height:.1f}" fill="{COLOURS[series]}">'
                f"<title>{value:,.0f}</title></rect>"
            )
        drawn.append(_text(LEFT + slot * (number + 0.5), HEIGHT - BOTTOM + 14, label))
    return "".join(drawn)


def _lines(panel: Lines, axes: _Axes) -> str:
    points = max(len(values) for values in panel.series)
    across = axes.inner_width / max(1, points - 1)
    drawn = []
    for series, values in enumerate(panel.series):
        path = " ".join(
            f"{LEFT + across * number:.1f},{HEIGHT - BOTTOM - _height(value, axes.top):.1f}"
            for number, value in enumerate(values)
        )
        drawn.append(
            f'<polyline points="{path}" fill="none" stroke="{COLOURS[series]}" stroke-width="1.5"/>'
        )
    for number in range(points):
        at = panel.first + number * panel.step
        if abs(at - round(at)) < panel.step / 2:
            drawn.append(_text(LEFT + across * number, HEIGHT - BOTTOM + 14, f"{round(at)}"))
    return "".join(drawn)


def _plot(drawn: Sequence[tuple[str, str]], names: Sequence[str], axes: _Axes) -> str:
    """Put the legend above the panels, which are (title, what is drawn inside)."""
    columns = round(WIDTH / axes.width)
    rows = -(-len(drawn) // columns)
    height = rows * HEIGHT + LEGEND_HEIGHT
    panels = "".join(
        f'<g transform="translate({number % columns * axes.width},'
        f'{LEGEND_HEIGHT + number // columns * HEIGHT})">{_frame(title, axes)}{inside}</g>\n'
        for number, (title, inside) in enumerate(drawn)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{_legend(names)}{panels}</svg>\n'
    )


def _frame(title: str, axes: _Axes) -> str:
    """Title, axes' names, and a line across at each tick."""
    step = tick_step(axes.top)
    drawn = [_text(axes.width / 2, 18, title, weight="bold")]
    for number in range(int(axes.top / step) + 1):
        level = HEIGHT - BOTTOM - _height(number * step, axes.top)
        drawn.append(
            f'<line x1="{LEFT}" x2="{axes.width - RIGHT}" y1="{level:.1f}" y2="{level:.1f}"'
            ' stroke="#ddd"/>'
        )
        drawn.append(_text(LEFT - 6, level + 4, f"{number * step:,.0f}", anchor="end"))
    drawn.append(_text(axes.width / 2, HEIGHT - 10, axes.x))
    middle = (HEIGHT - BOTTOM + TOP) / 2
    drawn.append(f'<g transform="translate(12,{middle}) rotate(-90)">{_text(0, 0, axes.y)}</g>')
    return "".join(drawn)


def _legend(names: Sequence[str]) -> str:
    drawn, left = [], float(LEFT)
    for colour, name in zip(COLOURS, names, strict=False):
        drawn.append(f'<rect x="{left:.0f}" y="10" width="12" height="12" fill="{colour}"/>')
        drawn.append(_text(left + 17, 20, name, anchor="start"))
        left += 34 + 7 * len(name)
    return "".join(drawn) + "\n"


def _text(x: float, y: float, text: str, *, anchor: str = "middle", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )
