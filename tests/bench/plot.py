"""Grouped bars as SVG, and as PNG where a converter is installed."""

from __future__ import annotations

import math
import shutil
import subprocess
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 960, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 90, 60
FONT = "font-family='DejaVu Sans, Helvetica, Arial, sans-serif'"
# converters in order of preference, and how each is called
CONVERTERS = {
    "rsvg-convert": lambda svg, png: ["rsvg-convert", "-z", "1.5", "-o", str(png), str(svg)],
    "magick": lambda svg, png: ["magick", "-density", "144", str(svg), str(png)],
    "convert": lambda svg, png: ["convert", "-density", "144", str(svg), str(png)],
}


@dataclass(frozen=True)
class Series:
    """One contestant's bars."""

    title: str
    colour: str


@dataclass(frozen=True)
class Group:
    """Bars that stand together, one value for each series; None: no bar."""

    title: str
    values: list[float | None]


@dataclass(frozen=True)
class Chart:
    """A picture."""

    name: str
    title: str
    unit: str
    series: list[Series]
    groups: list[Group]


def write(chart: Chart, folder: Path) -> None:
    """NAME.svg, and NAME.png when a converter is here."""
    path = folder / f"{chart.name}.svg"
    path.write_text(svg(chart), encoding="utf-8")
    for program, command in CONVERTERS.items():
        if shutil.which(program):
            done = subprocess.run(command(path, path.with_suffix(".png")), capture_output=True, check=False,
                                  stdin=subprocess.DEVNULL)
            if done.returncode == 0:
                return


def svg(chart: Chart) -> str:
    """The picture's text."""
    top = _round_up(max((v for g in chart.groups for v in g.values if v is not None), default=1))
    parts = [f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}' {FONT}>",
             f"<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>",
             _text(LEFT, 30, chart.title, size=18, weight="bold"), *_legend(chart), *_grid(top, chart.unit)]
    for i, group in enumerate(chart.groups):
        parts += _bars(chart, group, i, top)
    return "\n".join([*parts, "</svg>", ""])


def _round_up(value: float) -> float:
    """The next 1, 2, 2.5, 4, 5 or 8 times a power of ten: five steps of it are round, too."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(step * power for step in (1, 2, 2.5, 4, 5, 8, 10) if step * power >= value * 1.05 or step == 10)


def _text(x: float, y: float, words: str, size: int = 12, anchor: str = "start", weight: str = "normal") -> str:
    return (f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' text-anchor='{anchor}' "
            f"fill='#222'>{escape(words)}</text>")


def _legend(chart: Chart) -> list[str]:
    parts, x = [], LEFT
    for series in chart.series:
        parts += [f"<rect x='{x}' y='48' width='14' height='14' fill='{series.colour}'/>",
                  _text(x + 20, 60, series.title)]
        x += 50 + 7 * len(series.title)
    return parts


def _height(value: float, top: float) -> float:
    return value / top * (HEIGHT - TOP - BOTTOM)


def _grid(top: float, unit: str) -> list[str]:
    parts = [_text(LEFT - 8, TOP - 12, unit, anchor="end")]
    for i in range(6):
        y = HEIGHT - BOTTOM - _height(top * i / 5, top)
        parts += [f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='#ddd'/>",
                  _text(LEFT - 8, y + 4, f"{top * i / 5:.4g}", anchor="end")]
    return parts


def _bars(chart: Chart, group: Group, index: int, top: float) -> list[str]:
    room = (WIDTH - LEFT - RIGHT) / len(chart.groups)
    width = min(60.0, room * 0.84 / len(chart.series))
    middle = LEFT + room * (index + 0.5)
    x = middle - width * len(chart.series) / 2
    parts = _label(middle, group.title, room)
    for series, value in zip(chart.series, group.values):
        if value is not None:
            height = _height(value, top)
            y = HEIGHT - BOTTOM - height
            parts += [f"<rect x='{x + 1:.1f}' y='{y:.1f}' width='{width - 2:.1f}' height='{height:.1f}' "
                      f"fill='{series.colour}'/>",
                      _text(x + width / 2, y - 5, f"{value:.3g}" if value < 1000 else f"{value:.0f}", 11, "middle")]
        x += width
    return parts


def _label(middle: float, title: str, room: float) -> list[str]:
    """Under a group, in two lines when one is too long."""
    lines = title.split(", ", 1) if len(title) * 7 > room else [title]
    return [_text(middle, HEIGHT - BOTTOM + 20 + 16 * i, line, anchor="middle") for i, line in enumerate(lines)]
