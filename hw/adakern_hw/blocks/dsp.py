"""Multiplier rows made of the devices' own DSP blocks, all register ranks in use."""

from amaranth import Cat, ClockSignal, Const, Instance, Module, Signal, Value, signed
from amaranth.hdl import Shape

from .multiplier import MultiplierRow


class Ecp5MultiplierRow(MultiplierRow):
    """MULT18X18D (ECP5 and ECP5-5G, Lattice FPGA-TN-02205), one or two products in each.

    Operands are extended to 18 bits and multiplied as signed, so an unsigned one is exact too. Input,
    pipeline and output register make the latency of the plain form.

    Two channels share a block where their operands fit side by side: with n the bits of a product,
    a·(b1·2^n + b0) = a·b1·2^n + a·b0. The low n bits are a·b0; the high ones are a·b1, less 1 if a·b0 is
    negative, which is the carry. An odd channel, the last one, has blocks of its own.
    """

    WIDTH = 18
    SITES: tuple[str, ...] = ()
    """Places of the blocks on the die, channel by channel, lane by lane; by default the placer's choice."""

    @classmethod
    def at(cls, sites: tuple[str, ...]) -> type["Ecp5MultiplierRow"]:
        """The row with its blocks at ``sites``."""
        return type(cls.__name__, (cls,), {"SITES": sites})

    @classmethod
    def packs(cls, a: Shape, b: Shape) -> bool:
        """Whether two signed operands ``b`` fit into a port of the block, n bits apart and with a borrow."""
        return b.signed and a.width + 2 * b.width + 1 <= cls.WIDTH

    @classmethod
    def blocks(cls, lanes: int, channels: int, a: Shape, b: Shape) -> int:
        return lanes * (-(-channels // 2) if cls.packs(a, b) else channels)

    @classmethod
    def copies(cls, channels: int, a: Shape, b: Shape) -> int:
        """One for each block of a lane, which is beside it."""
        return cls.blocks(1, channels, a, b)

    @property
    def carried(self) -> bool:
        return self.channels > 1 and self.packs(self.a[0].shape().elem_shape, self._b)

    @property
    def _b(self) -> Shape:
        return self.b.shape().elem_shape.elem_shape

    def multiply(self, m: Module) -> None:
        together = 2 if self.carried else 1
        for index, copy in enumerate(self.a):
            channels = range(index * together, min((index + 1) * together, self.channels))
            for lane in range(self.lanes):
                site = self.SITES[index * self.lanes + lane] if self.SITES else None
                self._products(m, copy[lane], channels, lane, site)

    def _products(self, m: Module, value: Value, channels: range, lane: int, site: str | None) -> None:
        """Products of one value with a channel or two, in one block."""
        bits = self.product.width
        low, *high = (self.b[channel][lane] for channel in channels)
        name = f"{channels[0]}_{lane}"
        a, b = (Signal(signed(self.WIDTH), name=f"{port}_{name}") for port in "ab")
        product = Signal(2 * self.WIDTH, name=f"product_{name}")
        m.d.comb += a.eq(value)
        for index, channel in enumerate(channels):
            m.d.comb += self.products[channel][lane].eq(product[index * bits :][:bits])
        if high:
            m.d.comb += [
                b.eq(Cat(_resized(low, bits), _less(high[0], low[-1])).as_signed()),
                self.carries[channels[1]][lane].eq(product[bits - 1]),
            ]
        else:
            m.d.comb += b.eq(low)
        self.block(m, f"dsp_{name}", a, b, product, site)

    def block(
        self, m: Module, name: str, a: Signal, b: Signal, product: Signal, site: str | None = None
    ) -> None:
        """One MULT18X18D: ``product`` of what ``a`` and ``b`` were three cycles ago."""
        ports = {f"i_A{bit}": a[bit] for bit in range(self.WIDTH)}
        ports |= {f"i_B{bit}": b[bit] for bit in range(self.WIDTH)}
        ports |= {f"o_P{bit}": product[bit] for bit in range(2 * self.WIDTH)}
        for rank in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT"):
            ports |= {f"p_REG_{rank}_CLK": "CLK0", f"p_REG_{rank}_CE": "CE0", f"p_REG_{rank}_RST": "RST0"}
        if site is not None:
            ports["a_BEL"] = site
        m.submodules[name] = Instance(
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
    """SB_MAC16 (iCE40 UltraPlus, Lattice FPGA-TN-02007): two products of 8 bits in each, or one of 16.

    The third rank of two products is the accumulator's register, with the adder before it adding the
    constant C or D, which is 0. That of one product is its own.
    """

    WIDTH = 16

    @classmethod
    def together(cls, a: Shape, b: Shape) -> int:
        """Products in a block."""
        return 2 if max(a.width, b.width) <= cls.WIDTH // 2 else 1

    @classmethod
    def blocks(cls, lanes: int, channels: int, a: Shape, b: Shape) -> int:
        return -(-lanes * channels // cls.together(a, b))

    def multiply(self, m: Module) -> None:
        places = [(channel, lane) for channel in range(self.channels) for lane in range(self.lanes)]
        together = self.together(self.a[0].shape().elem_shape, self.b.shape().elem_shape.elem_shape)
        width = self.WIDTH // together
        for pair in range(0, len(places), together):
            a, b = Signal(self.WIDTH), Signal(self.WIDTH)
            output = Signal(2 * self.WIDTH, name=f"products_{pair}")
            for slot, (channel, lane) in enumerate(places[pair : pair + together]):
                low = slot * width
                m.d.comb += [
                    a[low : low + width].eq(_resized(self.a[0][lane], width)),
                    b[low : low + width].eq(_resized(self.b[channel][lane], width)),
                    self.products[channel][lane].eq(output[2 * low :][: self.product.width]),
                ]
            m.submodules[f"dsp_{pair}"] = Instance(
                "SB_MAC16",
                **_MODES[together],
                p_A_REG=1,
                p_B_REG=1,
                p_TOP_8x8_MULT_REG=1,
                p_BOT_8x8_MULT_REG=1,
                p_A_SIGNED=int(self.a[0].shape().elem_shape.signed),
                p_B_SIGNED=int(self.b.shape().elem_shape.elem_shape.signed),
                i_CLK=ClockSignal(),
                i_CE=Const(1),
                i_A=a,
                i_B=b,
                i_C=Const(0, 16),
                i_D=Const(0, 16),
                o_O=output,
                **{f"i_{port}": Const(0) for port in _IDLE},
            )


def _resized(value: Value, width: int) -> Value:
    """``value`` in ``width`` bits, with its sign."""
    sign = value[-1] if value.shape().signed else Const(0, 1)
    return Cat(value, sign.replicate(width - len(value)))


def _less(value: Value, borrow: Value) -> Value:
    """``value - borrow`` with its sign in a bit of its own, each bit by itself: no carry chain."""
    extended = Cat(value, value[-1])
    return Cat(extended[bit] ^ (borrow & ~extended[:bit].any()) for bit in range(len(extended)))


_MODES: dict[int, dict[str, int]] = {
    2: {
        "p_MODE_8x8": 1,
        "p_TOPOUTPUT_SELECT": 1,
        "p_BOTOUTPUT_SELECT": 1,
        "p_TOPADDSUB_LOWERINPUT": 1,
        "p_BOTADDSUB_LOWERINPUT": 1,
        "p_TOPADDSUB_UPPERINPUT": 1,
        "p_BOTADDSUB_UPPERINPUT": 1,
    },
    1: {
        "p_PIPELINE_16x16_MULT_REG1": 1,
        "p_PIPELINE_16x16_MULT_REG2": 1,
        "p_TOPOUTPUT_SELECT": 3,
        "p_BOTOUTPUT_SELECT": 3,
    },
}
"""Parameters of SB_MAC16 for two products and for one."""

_IDLE = (
    *("AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT", "OLOADTOP", "OLOADBOT"),
    *("ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN"),
)
"""Control inputs of SB_MAC16 that a plain product leaves at 0."""
