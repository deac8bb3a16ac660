"""Multiplier rows of device primitives against exact products, at the pins of the synthesised hardware.

Yosys turns each row, with the models of the family's cells, into C++ (CXXRTL).
"""

import itertools
import random
from pathlib import Path

import pytest
from amaranth import signed, unsigned
from amaranth.back import verilog
from cxx_model import CxxModel

from adakern_hw.blocks.dsp import Ecp5MultiplierRow, Ice40MultiplierRow
from adakern_hw.blocks.multiplier import LogicMultiplierRow, MultiplierRow
from adakern_hw.cells import cell_models

LANES = 3


def corners(low: int, high: int) -> list[int]:
    """Extremes, their neighbours, and what is around zero and around half of an unsigned range."""
    half = (high + 1) // 2
    values = {low, low + 1, -1, 0, 1, half - 1, half, high - 1, high}
    return sorted(value for value in values if low <= value <= high)


def model_of(row: MultiplierRow, folder: Path) -> CxxModel:
    """The row with the models of its cells."""
    source = verilog.convert(row, name="row", emit_src=False)
    family = {Ecp5MultiplierRow: "ecp5", Ice40MultiplierRow: "ice40"}.get(type(row))
    return CxxModel(source + (cell_models(family, source) if family else ""), "row", folder)


def packed(values: list[int], bits: int) -> int:
    """Two's complement side by side, the first one in the low bits."""
    return sum((value & (1 << bits) - 1) << bits * index for index, value in enumerate(values))


def differences(model: CxxModel, row: MultiplierRow, operands: list[tuple[list[int], list[int]]]) -> list:
    """Drive a row's values and the channels' weights, one pair of lists per cycle; what is no product."""
    bits, b_bits = row.product.width, row.b.shape().elem_shape.elem_shape.width
    a_bits = row.a[0].shape().elem_shape.width
    places = [(channel, lane) for channel in range(row.channels) for lane in range(row.lanes)]
    idle = [([0] * row.lanes, [0] * len(places))] * (row.latency - 1)
    wrong = []
    for index, (a, b) in enumerate(operands + idle):
        for copy in range(len(row.a)):
            model.set(f"a__{copy}", packed(a, a_bits))
        model.set("b", packed(b, b_bits))
        model.tick()
        if index >= row.latency - 1:
            a, b = operands[index - row.latency + 1]
            for (channel, lane), weight in zip(places, b, strict=True):
                place = f"{channel}__{lane}"
                product = model.get(f"products__{place}") + model.get(f"carries__{place}")
                if (product - a[lane] * weight) % (1 << bits):
                    wrong.append((place, a[lane], weight, product))
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("b_bits", [8, 4])
@pytest.mark.parametrize("a_signed", [False, True])
@pytest.mark.parametrize("row", [MultiplierRow, Ecp5MultiplierRow, Ice40MultiplierRow])
def test_rows_multiply_every_corner_exactly(row, a_signed, b_bits, channels, tmp_path):
    component = row(LANES, channels, signed(8) if a_signed else unsigned(8), signed(b_bits))
    model = model_of(component, tmp_path)
    a_range = (-128, 127) if a_signed else (0, 255)
    b_range = (-(1 << b_bits - 1), (1 << b_bits - 1) - 1)
    rng = random.Random(1)
    operands = []
    # Every value with every corner of two weights in neighbouring channels, the other lanes at random.
    for a, *pair in itertools.product(corners(*a_range), corners(*b_range), corners(*b_range)):
        lane = len(operands) % LANES
        values = [rng.randint(*a_range) for _ in range(LANES)]
        weights = [rng.randint(*b_range) for _ in range(channels * LANES)]
        values[lane] = a
        for channel in range(channels):
            weights[channel * LANES + lane] = pair[channel % 2]
        operands.append((values, weights))
    assert not differences(model, component, operands)


@pytest.mark.slow
@pytest.mark.parametrize("a_bits", [9, 16])
@pytest.mark.parametrize("row", [MultiplierRow, Ecp5MultiplierRow, Ice40MultiplierRow])
def test_rows_multiply_the_smoothers_pairs_with_its_taps_exactly(row, a_bits, tmp_path):
    """Every corner of a pair and a tap in each lane, the other lanes at random."""
    component = row(LANES, 1, signed(a_bits), unsigned(16))
    model = model_of(component, tmp_path)
    a_range, b_range = (-(1 << a_bits - 1), (1 << a_bits - 1) - 1), (0, (1 << 16) - 1)
    rng = random.Random(2)
    operands = []
    for lane, a, b in itertools.product(range(LANES), corners(*a_range), corners(*b_range)):
        values = [rng.randint(*a_range) for _ in range(LANES)]
        taps = [rng.randint(*b_range) for _ in range(LANES)]
        values[lane], taps[lane] = a, b
        operands.append((values, taps))
    assert not differences(model, component, operands)


@pytest.mark.slow
@pytest.mark.parametrize("a_signed", [False, True])
@pytest.mark.parametrize("row", [MultiplierRow, LogicMultiplierRow, Ecp5MultiplierRow])
def test_two_products_of_4_bit_weights_are_exact_for_all_operands(row, a_signed, tmp_path):
    """Two weights times one value: all 65,536 combinations."""
    component = row(1, 2, signed(8) if a_signed else unsigned(8), signed(4))
    model = model_of(component, tmp_path)
    values = range(-128, 128) if a_signed else range(256)
    operands = [([a], list(pair)) for a in values for pair in itertools.product(range(-8, 8), repeat=2)]
    assert not differences(model, component, operands)
