"""Subsystems of a design: what a module belongs to, for colours and legends."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

STAGE_COLOURS = 4
"""Colours of conv stages, used again from the first one by networks of more stages."""

OTHER_COLOURS = 3
"""Colours of what the rules below do not know, likewise."""

_STAGE = re.compile(r"(^|\.)engine\.(.+\.)?stage_(\d+)(\.|$)")

_RULES = (
    (r"(^|\.)engine\.(.+\.)?smoother_\d+(\.|$)", "smoothers", "other0"),
    (r"(^|\.)engine\.(.+\.)?(drain|downsample)_\d+(\.|$)", "downsampling", "other1"),
    (r"(^|\.)engine(\.|$)", "sequencing and head", "head"),
    (r"(^|\.)accelerator\.(receiver|sender)(\.|$)", "framing and serial line", "serial"),
    (r"(^|\.)accelerator(\.|$)", "packet link", "link"),
    (r"^device\.(receiver|transmitter)(\.|$)", "framing and serial line", "serial"),
    (r"^(clock|rx|tx|\()", "clock and pins", "clock"),
)
"""Pattern of the module's path, label, colour; the first that fits."""


@dataclass(frozen=True, order=True)
class Subsystem:
    """``label`` for people, ``colour`` the class of the page's style sheet."""

    label: str
    colour: str


def subsystem(module: str) -> Subsystem:
    """Where a module belongs."""
    stage = _STAGE.search(module)
    if stage is not None:
        return Subsystem(f"conv stage {stage[3]}", f"stage{int(stage[3]) % STAGE_COLOURS}")
    for pattern, label, colour in _RULES:
        if re.search(pattern, module):
            return Subsystem(label, colour)
    root = module.split(".")[0]
    return Subsystem(plain(root), f"other{sum(root.encode()) % OTHER_COLOURS}")


def subsystems(modules: Iterable[str]) -> list[Subsystem]:
    """Those of some modules, conv stages first."""
    found = {subsystem(module) for module in modules}
    return sorted(found, key=lambda one: (not one.colour.startswith("stage"), one.colour, one.label))


def by_subsystem(modules: Mapping[str, Mapping[str, int]]) -> dict[Subsystem, Counter[str]]:
    """Cells of each kind by subsystem, in the order of `subsystems`."""
    sums: dict[Subsystem, Counter[str]] = {one: Counter() for one in subsystems(modules)}
    for module, cells in modules.items():
        sums[subsystem(module)].update(cells)
    return sums


def plain(name: str) -> str:
    """A module's path without the numbers that tell equal names apart; nameless ones (U$0) keep theirs."""
    return re.sub(r"(?<!\bU)\$\d+(?=\.|\[|$)", "", name)


def short(module: str) -> str:
    """A module's path without the levels that all of the device's modules share."""
    return re.sub(r"^device\.(accelerator\.)?", "", plain(module))
