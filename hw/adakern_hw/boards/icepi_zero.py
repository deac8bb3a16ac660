"""Icepi Zero with an LFE5U-25F: FT231X USB serial, 50 MHz oscillator."""

from amaranth_boards.icepi_zero import IcepiZero1_3Platform

from .board import ECP5, ECP5_VERIFY_ID, Board, Capacity
from .dsp_sites import LFE5U_25

ICEPI_ZERO = Board(
    name="icepi-zero",
    about="Icepi Zero 1.3, ECP5 LFE5U-25F-6",
    family=ECP5,
    platform=IcepiZero1_3Platform,
    device=("--25k", "--package", "CABGA256", "--speed", "6"),
    capacity=Capacity(luts=24_288, dsps=28, block_rams=56),
    oscillator=50_000_000,
    clock=62_500_000,
    baud=3_000_000,
    loader="icepi-zero",
    identity=ECP5_VERIFY_ID + bytes.fromhex("41111043"),
    dsp_sites=LFE5U_25,
)
