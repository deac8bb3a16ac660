"""Multiplier rows of device primitives against exact products, at the pins of the synthesised hardware.

Yosys turns each row, with the models of the family's cells, into C++ (CXXRTL).
"""

import ctypes
import itertools
import random
import subprocess
from pathlib import Path

import pytest
from amaranth import signed, unsigned
from amaranth.back import rtlil

from adakern_hw.blocks.dsp import Ecp5MultiplierRow, Ice40MultiplierRow
from adakern_hw.blocks.multiplier import LogicMultiplierRow, MultiplierRow
from adakern_hw.cells import cell_models, share_folder
from adakern_hw.toolchain import Workshop

LANES = 3
WORD = 32
"""Bits of a chunk of a CXXRTL value."""


class CxxModel:
    """A row as compiled C++: values in and out, clock edges."""

    def __init__(self, row: MultiplierRow, folder: Path) -> None:
        source = rtlil.convert(row, name="row", emit_src=False)
        family = {Ecp5MultiplierRow: "ecp5", Ice40MultiplierRow: "ice40"}.get(type(row))
        models = cell_models(family, source) if family else ""
        (folder / "row.il").write_text(source)
        (folder / "models.v").write_text(models)
        script = "read_verilog models.v; " if models else ""
        script += "read_rtlil row.il; hierarchy -top row; proc; flatten; clean; write_cxxrtl row.cc"
        with Workshop(folder) as workshop:
            workshop.run("yosys", ["-q", "-p", script], "yosys.log")
        share = share_folder() / "include/backends/cxxrtl/runtime"
        runtime = share / "cxxrtl/capi/cxxrtl_capi.cc"
        command = ["g++", "-std=c++14", "-O1", "-fPIC", "-shared", "-I", str(share), "-o", "row.so"]
        subprocess.run([*command, "row.cc", str(runtime)], cwd=folder, check=True, capture_output=True)
        self._library = ctypes.CDLL(str(folder / "row.so"))
        create = self._library.cxxrtl_design_create
        create.restype = ctypes.c_void_p
        self._library.cxxrtl_create.restype = ctypes.c_void_p
        self._library.cxxrtl_create.argtypes = [ctypes.c_void_p]
        self._library.cxxrtl_step.argtypes = [ctypes.c_void_p]
        self._library.cxxrtl_get_parts.restype = ctypes.POINTER(Object)
        self._library.cxxrtl_get_parts.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        self._handle = self._library.cxxrtl_create(create())
        self._objects: dict[str, Object] = {}

    def _object(self, name: str) -> "Object":
        if name not in self._objects:
            parts = ctypes.byref(ctypes.c_size_t())
            found = self._library.cxxrtl_get_parts(self._handle, name.encode(), parts)
            assert found, name
            self._objects[name] = found.contents
        return self._objects[name]

    def set(self, name: str, value: int) -> None:
        port = self._object(name)
        for chunk in range(-(-port.width // WORD)):
            port.next[chunk] = value >> WORD * chunk & (1 << WORD) - 1

    def get(self, name: str) -> int:
        return self._object(name).curr[0]

    def tick(self) -> None:
        # The falling edge lets what lies behind the registers settle.
        for level in (0, 1, 0):
            self.set("clk", level)
            self._library.cxxrtl_step(self._handle)


class Object(ctypes.Structure):
    """cxxrtl_object of cxxrtl_capi.h, up to what is used here."""

    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("type", "flags")),
        *((name, ctypes.c_size_t) for name in ("width", "lsb_at", "depth", "zero_at")),
        *((name, ctypes.POINTER(ctypes.c_uint32)) for name in ("curr", "next")),
    ]


def corners(low: int, high: int) -> list[int]:
    """Extremes, their neighbours, and what is around zero and around half of an unsigned range."""
    half = (high + 1) // 2
    values = {low, low + 1, -1, 0, 1, half - 1, half, high - 1, high}
    return sorted(value for value in values if low <= value <= high)


def packed(values: list[int], bits: int) -> int:
    """Two's complement side by side, the first one in the low bits."""
    return sum((value & (1 << bits) - 1) << bits * index for index, value in enumerate(values))


def differences(model: CxxModel, row: MultiplierRow, operands: list[tuple[list[int], list[int]]]) -> list:
    """Drive a row's values and the channels' weights, one pair of lists per cycle; what is no product."""
    bits, b_bits = row.product.width, row.b.shape().elem_shape.elem_shape.width
    places = [(channel, lane) for channel in range(row.channels) for lane in range(row.lanes)]
    idle = [([0] * row.lanes, [0] * len(places))] * (row.latency - 1)
    wrong = []
    for index, (a, b) in enumerate(operands + idle):
        model.set("a", packed(a, 8))
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
    model = CxxModel(component, tmp_path)
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
@pytest.mark.parametrize("a_signed", [False, True])
@pytest.mark.parametrize("row", [MultiplierRow, LogicMultiplierRow, Ecp5MultiplierRow])
def test_two_products_of_4_bit_weights_are_exact_for_all_operands(row, a_signed, tmp_path):
    """Two weights times one value: all 65,536 combinations."""
    component = row(1, 2, signed(8) if a_signed else unsigned(8), signed(4))
    model = CxxModel(component, tmp_path)
    values = range(-128, 128) if a_signed else range(256)
    operands = [([a], list(pair)) for a in values for pair in itertools.product(range(-8, 8), repeat=2)]
    assert not differences(model, component, operands)
