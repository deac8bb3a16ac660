"""Small pictures of a build's page: where resources go, what each layer's integers cost, what stages take."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from .subsystems import Subsystem, by_subsystem

WIDTH = 1000
"""Units of a bar's length."""

_BAR = Markup(
    '<svg class="bar" role="img" aria-label="{}" viewBox="0 0 1000 14" preserveAspectRatio="none">{}</svg>'
)


def composition(modules: Mapping[str, Mapping[str, int]], kind: str) -> list[tuple[Subsystem, int]]:
    """Cells of one kind by subsystem, conv stages first."""
    return [(one, cells[kind]) for one, cells in by_subsystem(modules).items() if cells[kind]]


def draw_composition(parts: Sequence[tuple[Subsystem, int]], capacity: int | None, name: str) -> Markup:
    """SVG bar: ``parts`` one after the other, of the part's capacity if that is known."""
    used = sum(count for _, count in parts)
    scale = WIDTH / max(capacity or 0, used, 1)
    label = ", ".join(f"{one.label} {count:,}" for one, count in parts) or "none"
    bars = []
    start = 0.0
    for one, count in parts:
        length = count * scale
        bars.append(
            Markup(
                '<rect class="{} full4" x="{:.2f}" y="0" width="{:.2f}" height="14">'
                "<title>{}: {:,} ({:.0%})</title></rect>"
            ).format(one.colour, start, max(length - 1.2, 0.6), one.label, count, count / used)
        )
        start += length
    track = Markup('<rect class="track" width="1000" height="14"/>')
    return _BAR.format(f"{name} by subsystem: {label}", track + Markup("").join(bars))


def draw_stages(seconds: Mapping[str, float]) -> Markup:
    """SVG bar of a build's stages by the time that they took."""
    total = sum(seconds.values()) or 1.0
    start, bars = 0.0, []
    for index, (stage, taken) in enumerate(seconds.items()):
        length = WIDTH * taken / total
        bars.append(
            Markup(
                '<rect class="shade{}" x="{:.1f}" y="0" width="{:.1f}" height="14">'
                "<title>{}: {:.1f} s</title></rect>"
            ).format(index % 3, start, max(length - 1.2, 0.6), stage, taken)
        )
        start += length
    label = ", ".join(f"{stage} {taken:.1f} s" for stage, taken in seconds.items())
    return _BAR.format(f"Time by stage: {label}", Markup("").join(bars))


def last_bits(layer: Mapping[str, Any], error: str) -> float:
    """A layer's error in units of its format's last bit."""
    return float(layer[error] * 2.0 ** layer["frac"])


def draw_errors(layers: Sequence[Mapping[str, Any]]) -> Markup:
    """SVG: each layer's mean and largest error in last bits, on a logarithmic axis with half a bit marked.

    Half a last bit is what rounding alone may cost.
    """
    errors = [(last_bits(layer, "error_mean"), last_bits(layer, "error_max")) for layer in layers]
    positive = [value for pair in errors for value in pair if value > 0] or [1.0]
    low = math.floor(math.log10(min(*positive, 0.5)))
    high = math.ceil(math.log10(max(*positive, 1.0)))
    left, right, line = 62, 440, 28
    bottom = line * len(layers) + 14

    def x(value: float) -> float:
        exponent = math.log10(value) if value > 0 else low
        return left + (right - left) * (max(exponent, low) - low) / (high - low)

    described = "; ".join(
        f"{layer['name']} mean {mean:.2g}, largest {largest:.2g}"
        for layer, (mean, largest) in zip(layers, errors, strict=True)
    )
    parts = [
        Markup(
            '<svg class="errors" role="img" aria-labelledby="errors-title errors-text" viewBox="0 0 460 {}">'
            '<title id="errors-title">Quantisation error by layer, in last bits</title>'
            '<desc id="errors-text">{}</desc>'
        ).format(bottom + 34, described)
    ]
    for power in range(low, high + 1):
        value = 10.0**power
        parts += [
            Markup('<path class="grid" d="M{0:.1f} 6V{1}"/>').format(x(value), bottom),
            Markup('<text class="axis middle" x="{:.1f}" y="{}">{:g}</text>').format(
                x(value), bottom + 15, value
            ),
        ]
    parts += [
        Markup('<path class="half" d="M{:.1f} 6V{}"/>').format(x(0.5), bottom),
        Markup('<text class="axis middle" x="{:.1f}" y="{}">½ bit: rounding</text>').format(
            x(0.5), bottom + 29
        ),
    ]
    for index, (layer, (mean, largest)) in enumerate(zip(layers, errors, strict=True)):
        y = 22 + index * line
        parts += [
            Markup('<text class="name end" x="{}" y="{}">{}</text>').format(left - 12, y + 4, layer["name"]),
            Markup('<path class="span" d="M{:.1f} {}H{:.1f}"/>').format(x(mean), y, x(largest)),
            _dot("mean", x(mean), y, mean),
            _dot("largest", x(largest), y, largest),
        ]
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _dot(name: str, x: float, y: float, value: float) -> Markup:
    return Markup(
        '<circle class="{0}" cx="{1:.1f}" cy="{2}" r="4.5"><title>{0} {3:.3g} last bits</title></circle>'
    ).format(name, x, y, value)
