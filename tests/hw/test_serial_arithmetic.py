import random

import pytest
from amaranth import Shape

from adakern_hw.blocks.serial import Divider, SerialMultiplier
from adakern_sim.streams import Bench


@pytest.mark.parametrize(("denominator_bits", "quotient_bits"), [(1, 1), (4, 16), (20, 16), (5, 3)])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_divider_floors(denominator_bits, quotient_bits, stall):
    chance = random.Random(denominator_bits)
    pairs = [(0, 1), ((1 << quotient_bits) - 1, 1)]
    for _ in range(30):
        denominator = chance.randrange(1, 1 << denominator_bits)
        pairs.append((chance.randrange(denominator << quotient_bits), denominator))
        pairs.append(((denominator << quotient_bits) - 1, denominator))
    dut = Divider(denominator_bits, quotient_bits)
    bench = Bench(dut)
    bench.put(dut.operands, [{"numerator": n, "denominator": d} for n, d in pairs], stall)
    quotients = bench.get(dut.quotients, len(pairs), stall)
    accepted, taken = bench.times(dut.operands), bench.times(dut.quotients)
    bench.run()
    assert quotients == [n // d for n, d in pairs]
    if not stall:
        assert {end - start for start, end in zip(accepted, taken, strict=True)} == {dut.latency}


@pytest.mark.parametrize(("a_bits", "a_signed", "b_bits"), [(16, True, 16), (16, False, 8), (1, True, 1)])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_multiplier_is_exact(a_bits, a_signed, b_bits, stall):
    chance = random.Random(a_bits)
    low, high = (-(1 << a_bits - 1), (1 << a_bits - 1) - 1) if a_signed else (0, (1 << a_bits) - 1)
    top = (1 << b_bits) - 1
    pairs = [(a, b) for a in (low, high, 0) for b in (0, 1, top)]
    pairs += [(chance.randint(low, high), chance.randint(0, top)) for _ in range(30)]
    dut = SerialMultiplier(Shape(a_bits, a_signed), b_bits)
    bench = Bench(dut)
    bench.put(dut.operands, [{"a": a, "b": b} for a, b in pairs], stall)
    products = bench.get(dut.products, len(pairs), stall)
    accepted, taken = bench.times(dut.operands), bench.times(dut.products)
    bench.run()
    assert products == [a * b for a, b in pairs]
    if not stall:
        assert {end - start for start, end in zip(accepted, taken, strict=True)} == {dut.latency}
