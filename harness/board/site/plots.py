"""Plots as SVG texts, coloured by the site's style sheet: speed against quality, noise power spectra."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from harness.base.structs import Strict
from harness.board.ranking import Row, comparable, ranking_value
from harness.board.site.columns import power_of_ten
from harness.board.site.facts import Curves
from harness.board.words import ranked_by
from harness.protocol import Protocol
from harness.scoring.per_slice import MeanSpectrum

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 16, 48  # pixels around the plotting area
SMALL_WIDTH, SMALL_HEIGHT = 300, 210
CHARACTER, LINE, LONGEST_NAME = 6.5, 13, 32  # pixels of a letter and a line of names; letters of a name
MOST_NAMES = 40  # in a plot; more would lie over each other


class Axis(Strict, frozen=True, kw_only=True):
    """`low` and `high` in data units lie at `start` and `end` in pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, value = (math.log10(one) if self.log else one for one in (self.low, self.high, value))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)


class Spectrum(Strict, frozen=True, kw_only=True):
    """The plot of one region, and the reference that outputs differ from."""

    region: str
    reference: str
    svg: Markup


# ------------------------------------------------------------------------------------------------ speed and quality
def pareto(protocol: Protocol, rows: Sequence[Row]) -> Markup | None:
    """Seconds a slice against the ranking value, with the frontier of what nothing is both faster and better than.

    None for fewer than two rows whose time is known; most reference rows ran in no container and have none.
    """
    points: list[tuple[float, float, Row]] = []
    higher = False
    for row in comparable(rows, protocol):
        found, times = ranking_value(row.record, protocol), row.record.observed.times
        if found is not None and times is not None and times.seconds_per_slice > 0:
            points.append((times.seconds_per_slice, found.value, row))
            higher = bool(found.higher_is_better)
    if len(points) < 2:
        return None
    seconds, values = [one[0] for one in points], [one[1] for one in points]
    x = Axis(low=min(seconds) / 1.6, high=max(seconds) * 2.2, start=LEFT, end=WIDTH - RIGHT, log=True)
    pad = (max(values) - min(values) or 1.0) * 0.12
    y = Axis(low=min(values) - pad, high=max(values) + pad, start=HEIGHT - BOTTOM, end=TOP)
    parts = [*_grid(x, y, HEIGHT), _frontier(points, x, y, higher=higher)]
    for second, value, row in points:
        dot = Markup('<circle class="dot {}{}" cx="{}" cy="{}" r="5"/>')
        parts.append(dot.format(row.standing, " lost" * row.loses_lesions, x.at(second), y.at(value)))
    shown = [(x.at(second), y.at(value), row.record.result.submission.name) for second, value, row in points]
    parts += _names(shown[:MOST_NAMES])  # rows come best first
    metric = ranked_by(protocol)
    better = "higher" if higher else "lower"
    parts += _titles("seconds per slice, on the machine of each run", f"{metric} ({better} is better)", WIDTH, HEIGHT)
    return _svg(parts, WIDTH, HEIGHT, f"{metric} against seconds per slice of {len(points)} submissions")


def _names(points: Sequence[tuple[float, float, str]]) -> list[Markup]:
    """Names beside their points, within the plot, moved upwards where they would lie over another name or point."""
    taken = [(across - 6, across + 6, down) for across, down, _ in points]
    names = []
    for across, down, name in sorted(points, key=lambda one: (-one[1], one[0])):
        shown = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
        width = CHARACTER * len(shown)
        left = across + 9 + width > WIDTH - 4
        start, place = (across - 9 - width, across - 9) if left else (across + 9, across + 9)
        while any(start < end and first < start + width and abs(level - down) < LINE for first, end, level in taken):
            down -= 2
        taken.append((start, start + width, down))
        text = Markup('<text class="name{}" x="{}" y="{}">{}</text>')
        names.append(text.format(" left" if left else "", round(place, 1), round(down + 4, 1), shown))
    return names


def _frontier(points: Sequence[tuple[float, float, Row]], x: Axis, y: Axis, *, higher: bool) -> Markup:
    """A step through the submissions that are better than every faster one, without those that lose lesions."""
    best: float | None = None
    steps: list[str] = []
    for second, value, row in sorted(points, key=lambda one: one[:2]):
        if (
            row.standing == "ranked"
            and not row.loses_lesions
            and (best is None or (value > best if higher else value < best))
        ):
            if best is not None:
                steps.append(f"{x.at(second)},{y.at(best)}")
            steps.append(f"{x.at(second)},{y.at(value)}")
            best = value
    if best is not None:
        steps.append(f"{x.end},{y.at(best)}")
    return Markup('<polyline class="frontier" points="{}"/>').format(" ".join(steps))


# ------------------------------------------------------------------------------------------------ spectra
def spectra(own: Curves, noisy: Curves) -> list[Spectrum]:
    """Noise power spectra by region, beside those of the noisy input; against the truth where it is known."""
    reference = "truth" if "truth" in own else "label"
    found = []
    for region, spectrum in own.get(reference, {}).items():
        if any(power > 0 for power in spectrum.power):
            other = noisy.get(reference, {}).get(region)
            found.append(Spectrum(region=region, reference=reference, svg=_spectrum(region, spectrum, other)))
    return found


def _spectrum(region: str, own: MeanSpectrum, noisy: MeanSpectrum | None) -> Markup:
    curves = [("own", own), *([("noisy", noisy)] if noisy is not None else [])]
    powers = [power for _, one in curves for power in one.power if power > 0]
    frequencies = [frequency for _, one in curves for frequency in one.frequency]
    x = Axis(low=0, high=max(frequencies), start=LEFT - 8, end=SMALL_WIDTH - 12)
    y = Axis(low=min(powers) / 1.5, high=max(powers) * 1.5, start=SMALL_HEIGHT - BOTTOM, end=TOP, log=True)
    parts = list(_grid(x, y, SMALL_HEIGHT))
    for name, one in reversed(curves):
        points = " ".join(
            f"{x.at(frequency)},{y.at(power)}"
            for frequency, power in zip(one.frequency, one.power, strict=True)
            if power > 0
        )
        parts.append(Markup('<polyline class="curve {}" points="{}"/>').format(name, points))
    parts += _titles("1/mm" if own.unit == "HU" else "frequency", f"{own.unit}² mm²", SMALL_WIDTH, SMALL_HEIGHT)
    return _svg(parts, SMALL_WIDTH, SMALL_HEIGHT, f"noise power spectrum, {region}")


# ------------------------------------------------------------------------------------------------ parts
def ticks(axis: Axis) -> list[float]:
    """Round numbers within an axis: 1, 2 and 5 times powers of ten, powers alone where those would be many."""
    if axis.log:
        exponents = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
        factors = (1, 2, 5) if len(exponents) <= 3 else (1,)
        marks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    else:
        raw = (axis.high - axis.low) / 5
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
        first = math.ceil(axis.low / step)
        marks = [index * step for index in range(first, math.floor(axis.high / step) + 1)]
    return [mark for mark in marks if axis.low <= mark <= axis.high]


def _grid(x: Axis, y: Axis, height: int) -> list[Markup]:
    parts = []
    for mark in ticks(x):
        line = '<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/><text class="tick" x="{0}" y="{3}">{4}</text>'
        parts.append(Markup(line).format(x.at(mark), y.start, y.end, height - BOTTOM + 16, _tick(x, mark)))
    for mark in ticks(y):
        line = '<line class="grid" y1="{0}" y2="{0}" x1="{1}" x2="{2}"/><text class="tick y" x="{3}" y="{4}">{5}</text>'
        parts.append(Markup(line).format(y.at(mark), x.start, x.end, x.start - 6, y.at(mark) + 4, _tick(y, mark)))
    return parts


def _tick(axis: Axis, mark: float) -> str:
    exponent = round(math.log10(mark)) if axis.log else 0
    if abs(exponent) > 2 and mark == 10.0**exponent:
        return power_of_ten(exponent)
    return f"{mark:.4g}".replace("-", "−")


def _titles(below: str, beside: str, width: int, height: int) -> list[Markup]:
    middle = (height - BOTTOM + TOP) / 2
    return [
        Markup('<text class="axis" x="{}" y="{}">{}</text>').format((width + LEFT - RIGHT) / 2, height - 8, below),
        Markup('<text class="axis" transform="translate(13 {}) rotate(-90)">{}</text>').format(middle, beside),
    ]


def _svg(parts: Sequence[Markup], width: int, height: int, label: str) -> Markup:
    head = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(width, height, label)
    return head + Markup("").join(parts) + Markup("</svg>")
