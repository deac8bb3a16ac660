"""Every block and the top synthesise for both device families; what they take is recorded."""

import json
import math
import os
from pathlib import Path

import pytest
from amaranth import Instance, Module, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from filelock import FileLock

from adakern_hw import top
from adakern_hw.blocks import (
    classifier,
    conv,
    delay,
    downsample,
    macs,
    meter,
    multiplier,
    parameters,
    rounding,
    scale,
    sequencer,
    turns,
)
from adakern_hw.blocks import serial as arithmetic
from adakern_hw.blocks.dsp import Ecp5MultiplierRow, Ice40MultiplierRow
from adakern_hw.blocks.pixels import pixel_layout
from adakern_hw.blocks.smoother import GaussianSmoother
from adakern_hw.blocks.window import MemoryWindow, RegisterWindow
from adakern_hw.engines.spn import SpnEngine, spn_schedule
from adakern_hw.link import counters, dispatcher, framing, replies, results, store, uart, writer
from adakern_hw.link import window as request_window
from adakern_hw.synthesis import COMMANDS, synthesise
from adakern_hw.toolchain import ToolError
from adakern_spec.akm import Downsample
from adakern_spec.network import ConvShape, Fold, SpnShape, folds_for_interval
from adakern_spec.numbers import Format
from adakern_spec.parameters import CHANNEL_FIELDS, block_size
from adakern_spec.protocol import LINK

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("synthesis")]

RECORD = Path(__file__).parents[2] / "build" / "resources.json"

STAGE = ConvShape(4, 4)
FOLD = Fold(2, 4)
HEIGHT = 16
SHAPE = SpnShape((2, 2, 2), HEIGHT, max_length=4095)
FOLDS = folds_for_interval(SHAPE, 9)
MULTIPLIERS = sum(fold.multipliers for fold in FOLDS)
CLOCK = 12_000_000
BAUD = 1_000_000
ROWS = {"ecp5": (Ecp5MultiplierRow, 1), "ice40": (Ice40MultiplierRow, 2)}
"""The multipliers of each family, and the products that share one."""

BLOCKS = {
    "delay line": (lambda: delay.DelayLine(32, HEIGHT), 0, True),
    "window in registers": (lambda: RegisterWindow(STAGE, FOLD, HEIGHT), 0, True),
    "window in memory": (lambda: MemoryWindow(STAGE, FOLD, HEIGHT), 0, True),
    "multiplier row": (lambda: multiplier.MultiplierRow(2, 2, unsigned(8), signed(8)), 4, False),
    "adder tree": (lambda: multiplier.AdderTree(8, signed(16)), 0, False),
    "multiply-accumulate array": (lambda: macs.MacArray(STAGE, FOLD), FOLD.multipliers, True),
    "weight store": (lambda: parameters.WeightStore(STAGE, FOLD), 0, True),
    "record store": (lambda: parameters.RecordStore(CHANNEL_FIELDS, 8), 0, True),
    "parameter router": (lambda: parameters.ParameterRouter([144, 20, 5]), 0, False),
    "round shift": (lambda: rounding.RoundShift(signed(32)), 0, False),
    "requantiser": (lambda: rounding.Requantise(signed(23), Format(8, signed=False)), 0, False),
    "requantiser by shifts": (lambda: rounding.ShiftRequantise(Format(8, signed=False)), 0, False),
    "serial requantiser": (lambda: conv.SerialRequantiser(STAGE, FOLD), 0, False),
    "conv stage": (lambda: conv.ConvStage(STAGE, FOLD, HEIGHT), FOLD.multipliers, True),
    "stages in turn": (lambda: turns.StagesInTurn(SHAPE, Fold(1, 2, shared=True)), 2, True),
    "divider": (lambda: arithmetic.Divider(20, 16), 0, False),
    "serial multiplier": (lambda: arithmetic.SerialMultiplier(signed(16), 16), 0, False),
    "global average": (lambda: scale.GlobalAverage(2, 1, HEIGHT * 4095), 0, False),
    "scale head": (lambda: scale.ScaleHead(2), 0, False),
    "kernel size": (lambda: scale.KernelSize(2), 0, False),
    "sequencer": (lambda: sequencer.Sequencer(spn_schedule(SHAPE, FOLDS)), 0, False),
    "map meter": (lambda: meter.MapMeter(120, 6), 0, True),
    "engine": (lambda: SpnEngine(SHAPE, FOLDS), MULTIPLIERS, True),
    "downsampler": (lambda: downsample.Downsample(Downsample.MAX2, 8, HEIGHT, 4, 2), 0, True),
    "drain": (lambda: downsample.Drain(pixel_layout(Format(8, False), 8, 2), 64, 4), 0, False),
    "classifier": (lambda: classifier.Classifier(16, 5), 0, True),
    "frame receiver": (framing.FrameReceiver, 0, False),
    "frame sender": (framing.FrameSender, 0, False),
    "request window": (request_window.RequestWindow, 0, True),
    "reply store": (replies.ReplyStore, 0, True),
    "dispatcher": (
        lambda: dispatcher.Dispatcher(SHAPE, 1 << 20),
        0,
        False,
    ),
    "result collector": (lambda: results.ResultCollector(1 << 20), 0, False),
    "reply writer": (lambda: writer.ReplyWriter(SHAPE, LINK), 0, False),
    "parameter store": (lambda: store.ParameterStore(block_size(SHAPE)), 0, True),
    "counters": (counters.Counters, 0, False),
    "uart receiver": (lambda: uart.UartReceiver(CLOCK, BAUD), 0, False),
    "uart transmitter": (lambda: uart.UartTransmitter(CLOCK, BAUD), 0, False),
}
"""Component, its multipliers, whether it has memories too large for registers.

The link's pixel feeder is in the top alone: by itself it makes the ABC of Yosys 0.70 end without a word.
"""


def record(name, family, cells):
    """Add to the record; several test workers may do so at once."""
    RECORD.parent.mkdir(exist_ok=True)
    with FileLock(f"{RECORD}.lock"):
        known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        known.setdefault(name, {})[family] = cells
        draft = RECORD.with_suffix(".draft")
        draft.write_text(json.dumps(known, indent=1, sort_keys=True))
        os.replace(draft, RECORD)


@pytest.mark.parametrize("family", COMMANDS)
@pytest.mark.parametrize("name", BLOCKS)
def test_block(name, family):
    factory, multipliers, memory = BLOCKS[name]
    result = synthesise(factory(), family)
    record(name, family, result.cells)
    assert not result.unmapped
    assert result.cells["dsps"] == multipliers
    assert result.cells["block_rams"] + result.cells["lut_rams"] > 0 or not memory
    assert result.cells["luts"] + result.cells["registers"] > 0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_two_products_with_4_bit_weights_share_a_multiplier(channels):
    array = macs.MacArray(ConvShape(2, channels, weight_bits=4), Fold(channels, 6), Ecp5MultiplierRow)
    result = synthesise(array, "ecp5")
    assert not result.unmapped
    assert result.cells["dsps"] == 6 * math.ceil(channels / 2)


@pytest.mark.parametrize("signed_values", [False, True])
def test_products_from_logic_take_no_multiplier_and_what_they_say(signed_values):
    row = multiplier.LogicMultiplierRow(3, 2, signed(8) if signed_values else unsigned(8), signed(4))
    cells = synthesise(row, "ecp5").cells
    assert cells["dsps"] == 0
    # A carry cell takes two look-up tables.
    assert cells["luts"] + 2 * cells["carries"] <= 6 * multiplier.LogicMultiplierRow.LUTS


@pytest.mark.parametrize("family", COMMANDS)
@pytest.mark.parametrize("lanes", [1, 2])
def test_smoother_takes_a_multiplier_for_each_pair_of_taps_and_memory_for_its_lines(lanes, family):
    radius = 2
    smoother = GaussianSmoother(4, HEIGHT, radius, lanes, multiplier=ROWS[family][0])
    result = synthesise(smoother, family)
    record(f"smoother, {lanes} of 4 channels", family, result.cells)
    assert not result.unmapped
    assert result.cells["dsps"] == 2 * (radius + 1) * lanes
    lines = [counts for module, counts in result.modules.items() if module.startswith("columns")]
    assert sum(counts["block_rams"] + counts["lut_rams"] for counts in lines) > 0


@pytest.mark.parametrize("family", COMMANDS)
def test_size_of_a_map_takes_no_multiplier(family):
    shape = SpnShape((7, 2, 2), 13, max_length=4095)
    result = synthesise(dispatcher.Dispatcher(shape, 1 << 20), family)
    assert result.cells["dsps"] == 0


@pytest.mark.parametrize("family", COMMANDS)
def test_top_with_the_multipliers_of_the_family(family):
    row, shared = ROWS[family]
    device = top.UartTop(SHAPE, FOLDS, CLOCK, BAUD, engine=SpnEngine(SHAPE, FOLDS, (row,) * len(FOLDS)))
    result = synthesise(device, family)
    record("uart top", family, result.cells)
    assert not result.unmapped
    assert result.cells["dsps"] == sum(-(-fold.multipliers // shared) for fold in FOLDS)
    assert result.cells["block_rams"] > 0


def test_a_latch_is_refused():
    class Latch(wiring.Component):
        enable: In(1)
        data: In(1)
        output: Out(1)

        def elaborate(self, platform):
            m = Module()
            m.submodules.latch = Instance(
                "$dlatch",
                p_WIDTH=1,
                p_EN_POLARITY=1,
                i_EN=self.enable,
                i_D=self.data,
                o_Q=self.output,
            )
            return m

    with pytest.raises(ToolError, match="select"):
        synthesise(Latch(), "ice40")
