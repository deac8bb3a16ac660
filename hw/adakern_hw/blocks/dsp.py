"""Multiplier rows made of the devices' own DSP blocks, all register ranks in use."""

from amaranth import Cat, ClockSignal, Const, Instance, Module, Signal, signed

from .multiplier import MultiplierRow


class Ecp5MultiplierRow(MultiplierRow):
    """One MULT18X18D per lane (ECP5 and ECP5-5G, Lattice FPGA-TN-02205).

    Operands are extended to 18 bits and multiplied as signed, so an unsigned one is exact too. Input,
    pipeline and output register make the latency of the plain form.
    """

    PRODUCTS = 1
    WIDTH = 18

    def multiply(self, m: Module) -> None:
        for lane in range(self.lanes):
            a, b = Signal(signed(self.WIDTH)), Signal(signed(self.WIDTH))
            product = Signal(2 * self.WIDTH, name=f"product_{lane}")
            m.d.comb += [
                a.eq(self.a[lane]),
                b.eq(self.b[lane]),
                self.products[lane].eq(product[: self.product.width]),
            ]
            ports = {f"i_A{bit}": a[bit] for bit in range(self.WIDTH)}
            ports |= {f"i_B{bit}": b[bit] for bit in range(self.WIDTH)}
            ports |= {f"o_P{bit}": product[bit] for bit in range(2 * self.WIDTH)}
            for rank in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT"):
                ports |= {f"p_REG_{rank}_CLK": "CLK0", f"p_REG_{rank}_CE": "CE0", f"p_REG_{rank}_RST": "RST0"}
            m.submodules[f"dsp_{lane}"] = Instance(
                "MULT18X18D",
                p_GSR="DISABLED",
                i_CLK0=ClockSignal(),
                i_CE0=Const(1),
                i_RST0=Const(0),
                i_SIGNEDA=Const(1),
                i_SIGNEDB=Const(1),
                i_SOURCEA=Const(0),
                i_SOURCEB=Const(0),
                **ports,
            )


class Ice40MultiplierRow(MultiplierRow):
    """Two lanes per SB_MAC16 in dual 8 × 8 mode (iCE40 UltraPlus, Lattice FPGA-TN-02007).

    The third rank is the accumulator's register, with the adder before it adding the constant C or D,
    which is 0.
    """

    PRODUCTS = 2
    WIDTH = 8

    def multiply(self, m: Module) -> None:
        for pair in range(0, self.lanes, self.PRODUCTS):
            lanes = range(pair, min(pair + self.PRODUCTS, self.lanes))
            a, b = Signal(self.PRODUCTS * self.WIDTH), Signal(self.PRODUCTS * self.WIDTH)
            output = Signal(2 * self.PRODUCTS * self.WIDTH, name=f"products_{pair}")
            for slot, lane in enumerate(lanes):
                low = slot * self.WIDTH
                m.d.comb += [
                    self._extended(self.a[lane], a[low : low + self.WIDTH]),
                    self._extended(self.b[lane], b[low : low + self.WIDTH]),
                    self.products[lane].eq(output[2 * low :][: self.product.width]),
                ]
            m.submodules[f"dsp_{pair}"] = Instance(
                "SB_MAC16",
                p_MODE_8x8=1,
                p_A_REG=1,
                p_B_REG=1,
                p_TOP_8x8_MULT_REG=1,
                p_BOT_8x8_MULT_REG=1,
                p_TOPOUTPUT_SELECT=1,
                p_BOTOUTPUT_SELECT=1,
                p_TOPADDSUB_LOWERINPUT=1,
                p_BOTADDSUB_LOWERINPUT=1,
                p_TOPADDSUB_UPPERINPUT=1,
                p_BOTADDSUB_UPPERINPUT=1,
                p_A_SIGNED=int(self.a.shape().elem_shape.signed),
                p_B_SIGNED=int(self.b.shape().elem_shape.signed),
                i_CLK=ClockSignal(),
                i_CE=Const(1),
                i_A=a,
                i_B=b,
                i_C=Const(0, 16),
                i_D=Const(0, 16),
                o_O=output,
                **{f"i_{port}": Const(0) for port in _IDLE},
            )

    @staticmethod
    def _extended(value, target):
        """A narrower operand in its byte, with its sign."""
        return target.eq(
            Cat(value, value[-1].replicate(len(target) - len(value))) if value.shape().signed else value
        )


_IDLE = (
    *("AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT", "OLOADTOP", "OLOADBOT"),
    *("ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN"),
)
"""Control inputs of SB_MAC16 that a plain product leaves at 0."""
