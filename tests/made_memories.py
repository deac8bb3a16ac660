"""The memories that a design makes, as its blocks ask for them."""

from collections import Counter

import pytest
from amaranth.hdl import Shape
from amaranth.hdl._ir import Fragment
from amaranth.lib import wiring

from adakern_hw.blocks.ram import Ram
from adakern_hw.memories import Words


def made_memories(monkeypatch: pytest.MonkeyPatch, design: wiring.Component) -> Counter[Words]:
    made: Counter[Words] = Counter()
    elaborate = Ram.elaborate

    def record(self, platform):
        made[Words(Shape.cast(self.shape).width, self.depth)] += 1
        return elaborate(self, platform)

    with monkeypatch.context() as patch:
        patch.setattr(Ram, "elaborate", record)
        Fragment.get(design, None)
    return made
