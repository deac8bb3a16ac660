"""PLL settings: what an oscillator can be turned into, within the legal ranges of the device."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from adakern_spec.errors import AdakernError

TOLERANCE = Fraction(1, 200)
"""A wanted clock counts as made within 0.5 %."""


class ClockError(AdakernError):
    """A clock that the board cannot make."""


@dataclass(frozen=True)
class Range:
    """Inclusive, in Hz."""

    low: int
    high: int

    def __contains__(self, frequency: Fraction | int) -> bool:
        return self.low <= frequency <= self.high


@dataclass(frozen=True)
class Ecp5Pll:
    """EHXPLLL with its feedback from the output (Lattice DS1044, "sysCLOCK PLL Timing").

    output = oscillator · feedback_div / input_div, VCO = output · output_div.
    """

    oscillator: int
    input_div: int
    feedback_div: int
    output_div: int

    PHASE_DETECTOR = Range(3_125_000, 400_000_000)
    VCO = Range(400_000_000, 800_000_000)
    OUTPUT = Range(3_125_000, 400_000_000)
    INPUT_DIVS = range(1, 129)
    FEEDBACK_DIVS = range(1, 81)
    OUTPUT_DIVS = range(1, 129)

    @property
    def phase_detector(self) -> Fraction:
        return Fraction(self.oscillator, self.input_div)

    @property
    def output(self) -> Fraction:
        return self.phase_detector * self.feedback_div

    @property
    def vco(self) -> Fraction:
        return self.output * self.output_div

    def second_div(self, limit: int) -> int:
        """Divider of a second output: the fastest clock that is not above ``limit`` Hz."""
        return max(1, ceil(self.vco / limit))

    @classmethod
    def all(cls, oscillator: int) -> Iterator["Ecp5Pll"]:
        """Legal settings, one for each input and feedback divider: its VCO is closest to the middle."""
        for input_div in cls.INPUT_DIVS:
            if Fraction(oscillator, input_div) not in cls.PHASE_DETECTOR:
                continue
            for feedback_div in cls.FEEDBACK_DIVS:
                output = Fraction(oscillator, input_div) * feedback_div
                if output not in cls.OUTPUT:
                    continue
                middle = Fraction(cls.VCO.low + cls.VCO.high, 2)
                low, high = cls.OUTPUT_DIVS[0], cls.OUTPUT_DIVS[-1]
                nearby = {min(max(low, int(middle // output) + step), high) for step in (0, 1)}
                settings = [cls(oscillator, input_div, feedback_div, div) for div in sorted(nearby)]
                legal = [setting for setting in settings if setting.vco in cls.VCO]
                if legal:
                    yield min(legal, key=lambda setting: abs(setting.vco - middle))


@dataclass(frozen=True)
class Ice40Pll:
    """SB_PLL40_PAD with simple feedback (Lattice FPGA-TN-02052, "iCE40 sysCLOCK PLL").

    VCO = oscillator · (divf + 1) / (divr + 1), output = VCO / 2^divq.
    """

    oscillator: int
    divr: int
    divf: int
    divq: int

    PHASE_DETECTOR = Range(10_000_000, 133_000_000)
    VCO = Range(533_000_000, 1_066_000_000)
    OUTPUT = Range(16_000_000, 275_000_000)
    DIVRS = range(16)
    DIVFS = range(128)
    DIVQS = range(1, 7)
    FILTER_LIMITS = (17_000_000, 26_000_000, 44_000_000, 66_000_000, 101_000_000)

    @property
    def phase_detector(self) -> Fraction:
        return Fraction(self.oscillator, self.divr + 1)

    @property
    def vco(self) -> Fraction:
        return self.phase_detector * (self.divf + 1)

    @property
    def output(self) -> Fraction:
        return self.vco / (1 << self.divq)

    @property
    def filter_range(self) -> int:
        """Loop filter for the phase detector's frequency."""
        return 1 + sum(self.phase_detector >= limit for limit in self.FILTER_LIMITS)

    @classmethod
    def all(cls, oscillator: int) -> Iterator["Ice40Pll"]:
        """Legal settings."""
        for divr in cls.DIVRS:
            for divf in cls.DIVFS:
                for divq in cls.DIVQS:
                    setting = cls(oscillator, divr, divf, divq)
                    if (
                        setting.phase_detector in cls.PHASE_DETECTOR
                        and setting.vco in cls.VCO
                        and setting.output in cls.OUTPUT
                    ):
                        yield setting


Pll = Ecp5Pll | Ice40Pll


def find_pll(kind: type[Ecp5Pll] | type[Ice40Pll], oscillator: int, wanted: int) -> Pll:
    """The setting closest to ``wanted`` Hz; among equals that with the fastest phase detector.

    Raises ClockError, naming the nearest, if that is further away than TOLERANCE.
    """
    settings: list[Pll] = list(kind.all(oscillator))
    if not settings:
        raise ClockError(f"no PLL setting takes {_mhz(oscillator)}", kind.__name__, "use another oscillator")
    best = min(settings, key=lambda setting: (abs(setting.output - wanted), -setting.phase_detector))
    if abs(best.output - wanted) > TOLERANCE * wanted:
        raise ClockError(
            f"the PLL cannot make {_mhz(wanted)} from {_mhz(oscillator)}",
            "clock",
            f"the nearest is {_mhz(best.output)}",
        )
    return best


def _mhz(frequency: Fraction | int) -> str:
    return f"{float(frequency) / 1e6:.6g} MHz"
