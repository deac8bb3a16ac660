"""Picture of a floorplan: a tile of the die for each tile, coloured by subsystem."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from adakern_hw.hierarchy import UNNAMED

from .subsystems import Subsystem, short, subsystem

LEFT, TOP, RIGHT, BOTTOM = 40, 36, 56, 34
"""Pixels around the die, for axes and labels."""

LEVELS = 4
"""Shades by how full a logic tile is."""

AXIS_STEP = 10
"""Tiles between the numbers at the axes."""

TILE_WIDTH, PICTURE_WIDTH = 20, 1130
"""Pixels: a tile at most, and the picture, which sets the tiles of a large die."""

LABEL = 84
"""Pixels that the name of a pin takes."""

SHOWN_PARTS = 3
"""Modules that the hint of a tile names."""

_SHAPES = {
    "logic": "M{x} {y}h.9v.9h-.9z",
    "dsp": "M{x} {y}h.9v.9h-.9zm.45 .1l.35 .35l-.35 .35l-.35-.35z",
    "block_ram": "M{x} {y}h.9v.9h-.9zm.12 .2h.66v.2h-.66zm0 .32h.66v.2h-.66z",
    "single_port_ram": "M{x} {y}h.9v.9h-.9zm.12 .35h.66v.2h-.66z",
    "io": "M{x} {y}m.45-.35l.8 .8l-.8 .8l-.8-.8z",
    "pll": "M{x} {y}m-.4-.4h1.7v1.7h-1.7zm.4 .4v.9h.9v-.9z",
    "clock": "M{x} {y}m.45-.15l.6 1.1h-1.2z",
}
"""Outlines by kind of tile in units of tiles; what they cut out is left empty (even-odd rule)."""

NAMES = {
    "logic": "logic, stronger where fuller",
    "dsp": "DSP block",
    "block_ram": "block RAM",
    "single_port_ram": "single-port RAM",
    "io": "pin",
    "pll": "PLL",
    "clock": "clock buffer",
}

_SHORT = {"dsp": "DSP", "block_ram": "RAM"}


def draw_floorplan(plan: Mapping[str, Any], hops: Sequence[Mapping[str, Any]]) -> Markup:
    """SVG of a floorplan's facts, with the path of ``hops`` across it; its width follows the page's."""
    return _Picture(plan).draw(hops)


def shape_sample(kind: str, colour: str = "clock") -> Markup:
    """A tile of one kind by itself, for the legend."""
    outline = _SHAPES[kind].format(x=0, y=0)
    box = "-.1 -.1 1.1 1.1" if kind in ("logic", "dsp", "block_ram", "single_port_ram") else "-.6 -.6 2.1 2.1"
    return Markup(
        '<svg class="sample" viewBox="{}" aria-hidden="true"><path class="{} full4" '
        'fill-rule="evenodd" d="{}"/></svg>'
    ).format(box, colour, outline)


def tile_subsystem(plan: Mapping[str, Any], cells: Sequence[Sequence[int]]) -> Subsystem:
    """The subsystem that has most of a tile's cells."""
    votes: Counter[Subsystem] = Counter()
    for module, count in cells:
        votes[subsystem(plan["modules"][module])] += count
    return min(votes, key=lambda one: (-votes[one], one))


def _tile(plan: Mapping[str, Any], column: int, row: int, kind: str, cells: list[list[int]]) -> Markup:
    count = sum(number for _, number in cells)
    level = max(1, min(LEVELS, -(-LEVELS * count // plan["slots"]))) if kind == "logic" else LEVELS
    names = [f"{short(plan['modules'][module])} {number}" for module, number in cells[:SHOWN_PARTS]]
    names += [f"{len(cells) - SHOWN_PARTS} more"] if len(cells) > SHOWN_PARTS else []
    return Markup('<path class="tile {} full{}" d="{}"><title>X{} Y{}: {}</title></path>').format(
        tile_subsystem(plan, cells).colour,
        level,
        _SHAPES[kind].format(x=column, y=_down(plan, row)),
        column,
        row,
        ", ".join(names),
    )


def _down(plan: Mapping[str, Any], row: int) -> int:
    """Row counted from the top of the picture."""
    return plan["rows"] - 1 - row if plan["row_up"] else row


def _pin(module: str) -> str:
    """What a pin is called: its module, as far as that is known."""
    return "pin" if module == UNNAMED else short(module).split(".")[0]


def _text(kind: str, x: float, y: float, words: str) -> Markup:
    """Words in the middle of a line at ``y``."""
    return Markup('<text class="{}" x="{:g}" y="{:g}" dy=".35em">{}</text>').format(
        kind, round(x, 2), round(y, 2), words
    )


class _Picture:
    """The parts of a floorplan's picture, in units of tiles; ``pixel`` is a pixel at full width in them."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self.plan = plan
        self.columns, self.rows = plan["columns"], plan["rows"]
        self.pixel = max(1 / TILE_WIDTH, self.columns / (PICTURE_WIDTH - LEFT - RIGHT))

    def draw(self, hops: Sequence[Mapping[str, Any]]) -> Markup:
        plan, pixel = self.plan, self.pixel
        width, height = self.columns + (LEFT + RIGHT) * pixel, self.rows + (TOP + BOTTOM) * pixel
        pins = sum(kind == "io" for _, _, kind, _ in plan["tiles"])
        described = (
            f"{len(plan['tiles'])} occupied tiles of a die of {self.columns} columns and {self.rows} rows, "
            f"coloured by subsystem; {pins} tiles with pins; the critical path drawn across"
        )
        parts = [
            Markup(
                '<svg class="floorplan" role="img" aria-labelledby="floorplan-title floorplan-text" '
                'viewBox="{:.2f} {:.2f} {:.2f} {:.2f}" style="max-width:{:.0f}px;--px:{:.4f}">'
                '<title id="floorplan-title">Floorplan</title><desc id="floorplan-text">{}</desc>'
            ).format(-LEFT * pixel, -TOP * pixel, width, height, width / pixel, pixel, described),
            Markup('<rect class="die" x="-.5" y="-.5" width="{}" height="{}" rx=".6"/>').format(
                self.columns + 1, self.rows + 1
            ),
            *self._strips(),
            *self._axes(),
            *(_tile(plan, *content) for content in plan["tiles"]),
            *self._labels(),
            *self._path(hops),
            Markup("</svg>"),
        ]
        return Markup("\n").join(parts)

    def _strips(self) -> list[Markup]:
        """The rows and columns of hard blocks, empty or not."""
        strip = Markup('<rect class="strip" x="{:g}" y="{:g}" width="{:g}" height="{:g}"/>')
        parts = []
        for row, kind in self.plan["block_rows"].items():
            y = _down(self.plan, int(row))
            parts.append(strip.format(-0.5, y - 0.1, self.columns + 1, 1.1))
            parts.append(_text("strip-label", self.columns + 0.5 + 10 * self.pixel, y + 0.45, _SHORT[kind]))
        for column, kind in self.plan["block_columns"].items():
            x = int(column)
            parts.append(strip.format(x - 0.1, -0.5, 1.1, self.rows + 1))
            parts.append(
                _text("strip-label middle", x + 0.45, self.rows + 0.5 + 16 * self.pixel, _SHORT[kind])
            )
        return parts

    def _axes(self) -> list[Markup]:
        """Numbers of columns above and of rows on the left."""
        edge = -0.5 - 10 * self.pixel
        above = [
            _text("axis middle", column + 0.45, edge - 6 * self.pixel, str(column))
            for column in range(0, self.columns, AXIS_STEP)
        ]
        left = [
            _text("axis end", edge, _down(self.plan, row) + 0.45, str(row))
            for row in range(0, self.rows, AXIS_STEP)
        ]
        return above + left

    def _labels(self) -> list[Markup]:
        """Names at the PLL and at the pins, beside them where there is no other name."""
        names: dict[tuple[int, int], set[str]] = {}
        for column, row, kind, cells in self.plan["tiles"]:
            if kind in ("io", "pll"):
                modules = [self.plan["modules"][module] for module, _ in cells]
                found = {_pin(module) for module in modules} if kind == "io" else {"PLL"}
                names.setdefault((_down(self.plan, row), column), set()).update(found)
        places = sorted(names)
        parts = []
        for (y, x), before, after in zip(places, [(-1, 0), *places], [*places[1:], (-1, 0)], strict=False):
            crowded_left = before[0] == y and x - before[1] < LABEL * self.pixel
            crowded_right = after[0] == y and after[1] - x < LABEL * self.pixel
            left = crowded_right or (x > self.columns / 2 and not crowded_left)
            gap = 0.8 + 5 * self.pixel
            words = ", ".join(sorted(names[y, x]))
            parts.append(
                _text(
                    f"label {'end' if left else 'start'}", x + 0.45 + (-gap if left else gap), y + 0.45, words
                )
            )
        return parts

    def _path(self, hops: Sequence[Mapping[str, Any]]) -> list[Markup]:
        """The critical path from tile to tile: a ring where it starts, a dot where it ends."""
        places: list[tuple[float, float]] = []
        for hop in hops:
            column, row = hop["place"]
            place = (column + 0.45, _down(self.plan, row) + 0.45)
            if not places or places[-1] != place:
                places.append(place)
        if not places:
            return []
        points = " ".join(f"{x:g},{y:g}" for x, y in places)
        dot = Markup('<circle class="{}" cx="{:g}" cy="{:g}" r="{:.2f}"/>')
        return [
            Markup('<g class="path"><polyline class="halo" points="{0}"/><polyline points="{0}"/>').format(
                points
            ),
            dot.format("start", *places[0], 8 * self.pixel),
            dot.format("end", *places[-1], 6 * self.pixel),
            Markup("</g>"),
        ]
