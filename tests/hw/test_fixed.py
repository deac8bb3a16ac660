from amaranth import Module, Signal, unsigned
from amaranth.sim import Simulator

from adakern_hw.fixed import times

FACTORS = [0, 1, 2, 3, 7, 28, 91, 112, 128, 171, 255, 2040]


def test_constant_products_are_exact():
    value = Signal(unsigned(16))
    products = [Signal(unsigned(27), name=f"product_{factor}") for factor in FACTORS]
    m = Module()
    for product, factor in zip(products, FACTORS, strict=True):
        m.d.comb += product.eq(times(value, factor))

    async def drive(ctx):
        for number in (0, 1, 2, 255, 4095, 32768, 43690, 65535):
            ctx.set(value, number)
            assert [ctx.get(product) for product in products] == [number * factor for factor in FACTORS]

    simulator = Simulator(m)
    simulator.add_testbench(drive)
    simulator.run()
