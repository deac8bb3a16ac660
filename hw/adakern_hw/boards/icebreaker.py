"""iCEBreaker with an iCE40 UP5K: FT2232H USB serial, 12 MHz oscillator."""

from amaranth_boards.icebreaker import ICEBreakerPlatform

from adakern_spec.protocol import Link

from .board import ICE40, Board, Capacity

ICEBREAKER = Board(
    name="icebreaker",
    about="1BitSquared iCEBreaker, iCE40 UP5K",
    family=ICE40,
    platform=ICEBreakerPlatform,
    device=("--up5k", "--package", "sg48"),
    capacity=Capacity(luts=5_280, dsps=8, block_rams=30),
    oscillator=12_000_000,
    clock=20_250_000,
    baud=1_000_000,
    link=Link(window=2, payload=256),
    loader="ice40_generic",
)
