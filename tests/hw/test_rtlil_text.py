"""RTLIL for Yosys: names that it keeps apart, everything else as Amaranth writes it."""

import re
from collections import Counter
from pathlib import Path

import pytest
from amaranth.back import rtlil

from adakern_hw.bitstream import Order, measure, write_sources
from adakern_hw.boards import find_board
from adakern_hw.engines.networks import make_engine
from adakern_hw.rtlil_text import apart
from adakern_spec.akm import AkmLayer, AkmShape, Downsample, layer_folds_for_interval

SHAPE = AkmShape(2, 4, (AkmLayer(4), AkmLayer(2)), classes=3, radius=1)
ELEMENT = re.compile(r"(\\\S+)\[\d+\]$")


def wires(text: str) -> list[Counter[str]]:
    """Names of the wires of each module, and how often each is there."""
    modules = re.split(r"^module ", text, flags=re.MULTILINE)[1:]
    return [Counter(re.findall(r"^  wire .*?(\S+)$", module, re.MULTILINE)) for module in modules]


def test_no_wire_has_the_name_of_another_ones_bit() -> None:
    engine = make_engine(SHAPE, layer_folds_for_interval(SHAPE, 36))
    raw = rtlil.convert(engine, emit_src=False)
    taken = [
        name for names in wires(raw) for name in names if (bit := ELEMENT.match(name)) and bit[1] in names
    ]
    assert taken, "Amaranth names elements otherwise by now: is there anything to keep apart?"
    text = apart(raw)
    assert not any(ELEMENT.match(name) for names in wires(text) for name in names)
    # As many wires as before, each by a name of its own; slices are still slices.
    assert [len(names) for names in wires(text)] == [len(names) for names in wires(raw)]
    assert max(max(names.values()) for names in wires(text) if names) == 1
    assert text.count(" [") == raw.count(" [")


@pytest.mark.slow
def test_a_network_that_yosys_stopped_at_is_synthesised(tmp_path: Path) -> None:
    """Found by chance: a bit of an array and an element of another width met under one name."""
    layers = (
        AkmLayer(8, downsample=Downsample.STRIDE2),
        AkmLayer(8, downsample=Downsample.MAX2),
        AkmLayer(8),
    )
    shape = AkmShape(1, 28, layers, classes=5, radius=4, max_length=28)
    board = find_board("ulx3s-85f")
    order = Order(board, shape, board.folds(shape, 48), board.clock)
    footprint = measure(write_sources(board, order.clocks(), order.device()), tmp_path)
    assert footprint.dsps == board.dsps(shape, order.folds)
