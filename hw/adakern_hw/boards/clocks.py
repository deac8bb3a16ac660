"""Clock and reset of a board: the oscillator through the PLL, reset until it has locked."""

from fractions import Fraction

from amaranth import ClockDomain, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer

from ..engines.crossing import ENGINE
from .pll import Ecp5Pll, Ice40Pll, Pll

RESET_SECONDS = 20e-6
"""iCE40 block RAMs read as zeros for about 3 µs after configuration: stay in reset well beyond."""


def sync_frequency(pll: Pll, second_div: int | None) -> Fraction:
    """Clock of ``sync`` in Hz: the PLL's output, or that of its VCO behind the second divider."""
    return pll.output if second_div is None else pll.vco / second_div


class ClockGenerator(wiring.Component):
    """Drives the clock domains of its parent from the platform's default clock.

    The domains' registers have their initial values from the configuration, so the reset only has to
    cover the time in which the clock is not yet good: until the PLL has locked, and RESET_SECONDS more.

    Parameters
    ----------
    pll : Pll
        Its output is the clock of ``sync``, or of ENGINE if there is a ``second_div``.
    second_div : int or None
        Divider of the VCO for a second output (ECP5 alone), then the clock of ``sync``.
    """

    def __init__(self, pll: Pll, second_div: int | None = None) -> None:
        self.pll = pll
        self.second_div = second_div
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.domains.start = ClockDomain("start", reset_less=True, local=True)
        locked, settled = Signal(), Signal()
        pin = platform.request(platform.default_clk, dir="-")
        if isinstance(self.pll, Ecp5Pll):
            self._ecp5(m, self.pll, pin, locked)
        else:
            self._ice40(m, self.pll, pin, locked)
        wait = int(RESET_SECONDS * sync_frequency(self.pll, self.second_div))
        timer = Signal(range(wait + 1))
        m.submodules.lock = FFSynchronizer(locked, settled, o_domain="start")
        m.d.comb += [ClockSignal("start").eq(ClockSignal("sync"))]
        reset = Signal(init=1)
        with m.If(~settled):
            m.d.start += timer.eq(0)
        with m.Elif(timer != wait):
            m.d.start += timer.eq(timer + 1)
        m.d.start += reset.eq(timer != wait)
        m.d.comb += ResetSignal("sync").eq(reset)
        return m

    def _ecp5(self, m: Module, pll: Ecp5Pll, pin, locked: Signal) -> None:
        m.submodules.buffer = buffer = io.Buffer("i", pin)
        output = ClockSignal("sync" if self.second_div is None else ENGINE)
        second: dict[str, object] = {}
        if self.second_div is not None:
            second = {
                "p_CLKOS_DIV": self.second_div,
                "p_CLKOS_ENABLE": "ENABLED",
                "p_CLKOS_CPHASE": self.second_div - 1,
                "p_CLKOS_FPHASE": 0,
                "i_ENCLKOS": Const(0),
                "o_CLKOS": ClockSignal("sync"),
            }
        m.submodules.pll = Instance(
            "EHXPLLL",
            # Loop filter and reference as prjtrellis' ecppll sets them.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_CLKI_DIV=pll.input_div,
            p_CLKFB_DIV=pll.feedback_div,
            p_CLKOP_DIV=pll.output_div,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=pll.output_div // 2,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=buffer.i,
            i_CLKFB=output,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=output,
            o_LOCK=locked,
            **second,
        )

    def _ice40(self, m: Module, pll: Ice40Pll, pin, locked: Signal) -> None:
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(pll.divr, 4),
            p_DIVF=Const(pll.divf, 7),
            p_DIVQ=Const(pll.divq, 3),
            p_FILTER_RANGE=Const(pll.filter_range, 3),
            i_PACKAGEPIN=pin.io,
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=ClockSignal("sync"),
            o_LOCK=locked,
        )
