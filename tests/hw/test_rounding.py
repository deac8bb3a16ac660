import random

import pytest
from amaranth import signed

from adakern_hw.blocks.rounding import Requantise, RoundShift, ShiftRequantise
from adakern_sim.streams import Bench
from adakern_spec.cycles import SHIFT_REQUANTISE_INTERVAL
from adakern_spec.numbers import Format, rs


def run_pipeline(dut, ports, rows, result):
    """Feed one row per cycle; the results, aligned with their rows by the published latency."""
    bench = Bench(dut)
    results = []

    async def drive(ctx):
        for index in range(len(rows) + dut.latency):
            if index < len(rows):
                for port, value in zip(ports, rows[index], strict=True):
                    ctx.set(port, value)
            if index >= dut.latency:
                results.append(ctx.get(result))
            await ctx.tick()

    bench.add(drive)
    bench.run()
    return results


EXTREMES = [-(2**31), 2**31 - 1, -1, 0, 1, -(2**30) - 1, 127, -128]


def test_round_shift_rounds_half_up_at_every_shift():
    chance = random.Random(1)
    values = EXTREMES + [chance.randrange(-(2**31), 2**31) for _ in range(20)]
    rows = [(value, shift) for shift in range(32) for value in values]
    rows += [((2 * k + 1) << (shift - 1), shift) for shift in range(1, 20) for k in range(-3, 3)]
    dut = RoundShift(signed(32))
    assert run_pipeline(dut, (dut.value, dut.shift), rows, dut.result) == [rs(v, s) for v, s in rows]


@pytest.mark.parametrize("signed_output", [False, True])
def test_requantise_saturates_the_rounded_accumulator(signed_output):
    chance = random.Random(2)
    fmt = Format(8, signed=signed_output)
    rows = []
    for shift in range(32):
        for _ in range(20):
            total = chance.randrange(-(2**22), 2**22) >> chance.randrange(22)
            bias = chance.randrange(-(2**31) + 2**22, 2**31 - 2**22) >> chance.randrange(31)
            rows.append((total, bias, shift))
    dut = Requantise(signed(23), fmt)
    expected = [fmt.saturate(rs(total + bias, shift)) for total, bias, shift in rows]
    assert run_pipeline(dut, (dut.sum, dut.bias, dut.shift), rows, dut.result) == expected
    assert {fmt.min, fmt.max} <= set(expected)


def test_requantise_by_shifts_equals_the_saturated_rounding_shift():
    chance = random.Random(3)
    fmt = Format(8, signed=False)
    rows = [(value, shift) for shift in range(32) for value in EXTREMES]
    # Around the edges of every value's interval, of saturation above all.
    rows += [
        (((2 * k + 1) << shift >> 1) + near, shift)
        for shift in range(23)
        for k in (-1, 0, 127, 254, 255, 256)
        for near in (-1, 0, 1)
    ]
    rows += [(chance.randrange(-(2**31), 2**31) >> chance.randrange(31), shift) for shift in range(32)]
    chance.shuffle(rows)
    dut = ShiftRequantise(fmt)
    bench = Bench(dut)
    results = {}

    async def drive(ctx):
        for cycle in range(len(rows) * SHIFT_REQUANTISE_INTERVAL + dut.latency):
            place, off = divmod(cycle, SHIFT_REQUANTISE_INTERVAL)
            ctx.set(dut.start, off == 0 and place < len(rows))
            total, shift = rows[min(place, len(rows) - 1)] if off == 0 else (0, 0)
            ctx.set(dut.sum, total)
            ctx.set(dut.shift, shift)
            if ctx.get(dut.done):
                results[cycle - dut.latency] = ctx.get(dut.result)
            await ctx.tick()

    bench.add(drive)
    bench.run()
    starts = range(0, len(rows) * SHIFT_REQUANTISE_INTERVAL, SHIFT_REQUANTISE_INTERVAL)
    expected = [fmt.saturate(rs(total, shift)) for total, shift in rows]
    assert results == dict(zip(starts, expected, strict=True))
