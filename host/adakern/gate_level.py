"""The netlist of a build against the reference, before the build is handed over."""

from collections.abc import Callable
from typing import Any

from adakern_hw.boards.board import Board
from adakern_spec.errors import AdakernError
from adakern_spec.network import Fold

from .device.verilator import open_netlist
from .parameters import SpnParameters
from .verification import verify

VECTORS = 10
"""Random maps, beside the adversarial ones."""

LONGEST = 16
"""Positions of the longest map: the netlist of a large network simulates slowly."""

SEED = 0


def check_gate_level(
    board: Board,
    folds: tuple[Fold, ...],
    clock_hz: int,
    parameters: SpnParameters,
    status: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """What a build's report says of its netlist; AdakernError with the first map that it gets wrong.

    The netlist is that of the accelerator with the board's multipliers, at its byte interface: synthesised
    as in the build, without the PLL, a second clock and the pins.
    """
    family = board.family.name
    with open_netlist(family, parameters.shape, folds, clock_hz, status, board.name) as device:
        outcome = verify(device, parameters, VECTORS, SEED, LONGEST)
        url = device.url
    if outcome.mismatch is not None:
        raise AdakernError(
            f"the netlist differs from the reference: {outcome.mismatch}",
            board.name,
            "do not use this build; try another version of Yosys",
        )
    return {"device": url, "vectors": outcome.maps, "equal": True}
