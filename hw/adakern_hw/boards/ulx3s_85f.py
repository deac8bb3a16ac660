"""ULX3S with an LFE5U-85F: FT231X USB serial, 25 MHz oscillator."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from .board import ECP5, ECP5_VERIFY_ID, Board, Capacity
from .dsp_sites import LFE5U_85

ULX3S_85F = Board(
    name="ulx3s-85f",
    about="Radiona ULX3S, ECP5 LFE5U-85F-6",
    family=ECP5,
    platform=ULX3S_85F_Platform,
    device=("--85k", "--package", "CABGA381", "--speed", "6"),
    capacity=Capacity(luts=83_640, dsps=156, block_rams=208),
    oscillator=25_000_000,
    clock=125_000_000,
    baud=3_000_000,
    loader="ulx3s",
    identity=ECP5_VERIFY_ID + bytes.fromhex("41113043"),
    dsp_sites=LFE5U_85,
)
