"""Rows of device primitives that a simulator without vendor models can run."""

from amaranth import Module, Signal

from adakern_hw.blocks.dsp import Ecp5MultiplierRow


class SimulatedEcp5Row(Ecp5MultiplierRow):
    """The ECP5 row with a product behind three ranks of registers for each of its DSP blocks."""

    def block(
        self, m: Module, name: str, a: Signal, b: Signal, product: Signal, site: str | None = None
    ) -> None:
        value = a * b
        for rank in range(self.latency):
            register = Signal.like(product, name=f"{name}_{rank}")
            m.d.sync += register.eq(value)
            value = register
        m.d.comb += product.eq(value)
