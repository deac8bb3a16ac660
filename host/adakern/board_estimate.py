"""What a network does on a board and takes of its part, before any gateware is made."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adakern_spec import networks
from adakern_spec.network import SpnShape
from adakern_spec.networks import Shape

from .estimate import Estimate, estimate_folds

if TYPE_CHECKING:
    from adakern_hw.boards.board import Board

WIDEST = 255
"""Most channels that `what_fits` tries."""


@dataclass(frozen=True)
class BoardEstimate:
    """What a build for a board will take and do, from the shape alone, at the board's clock or ``clock`` Hz.

    ``footprint`` is predicted (`adakern_hw.prediction`), but for the DSP blocks, which are counted; they are
    all that is there where the kind of network was not learned for the board's family.
    """

    board: str
    part: str
    clock: int
    footprint: Mapping[str, int]
    capacity: Mapping[str, int]
    network: Estimate

    @property
    def maps_per_second(self) -> float:
        return self.clock / self.network.interval

    @property
    def latency_us(self) -> float:
        return 1e6 * self.network.latency / self.clock

    def to_json(self) -> dict[str, Any]:
        return {
            "board": self.board,
            "part": self.part,
            "clock_mhz": self.clock / 1e6,
            "maps_per_second": self.maps_per_second,
            "latency_us": self.latency_us,
            "footprint": dict(self.footprint),
            "capacity": dict(self.capacity),
            **self.network.to_json(),
        }


def estimate_for_board(
    shape: Shape, board: "Board", multipliers: int | None, length: int, clock: int | None = None
) -> BoardEstimate:
    """Figures of a build of ``shape`` for ``board`` with the folds that `adakern build` would choose.

    Raises BoardError, naming what would fit, for what does not; InputError as `estimate`; ClockError.
    """
    from adakern_hw.bitstream import Order, choose_folds
    from adakern_hw.footprint import KINDS
    from adakern_hw.prediction import predict

    folds = choose_folds(board, shape, multipliers)
    order = Order(board, shape, folds, board.clock if clock is None else clock)
    return BoardEstimate(
        board=board.name,
        part=board.about,
        clock=order.clock_hz,
        footprint=predict(board, shape, folds, order.clock),
        capacity={kind: board.has(kind) for kind in KINDS},
        network=estimate_folds(shape, folds, length, board.link),
    )


def what_fits(board: "Board", shape: Shape) -> dict[str, Any]:
    """A board's part, and what ``shape`` does there with the largest budget that is predicted to fit.

    ``fits`` is None where that is not known: there are enough DSP blocks, and nothing else was learned for
    the board's family. ``widest_channels``: most channels c of a network c→c→c→2 as tall as ``shape`` that
    still fits with one multiplier for each stage.
    """
    from adakern_hw.prediction import best_folds, learned, predict

    folds = best_folds(board, shape)
    known = bool(learned(board, shape))
    length = networks.usual_length(shape)
    return {
        "board": board.name,
        "part": board.about,
        **vars(board.capacity),
        "clock_mhz": board.clock / 1e6,
        "fits": False if folds is None else (known or None),
        "multipliers": folds and networks.multipliers(shape, folds),
        "predicted_luts": folds and predict(board, shape, folds).get("luts"),
        "maps_per_second": folds and board.clock / networks.interval(shape, folds, length, board.link),
        "widest_channels": _widest(board, shape) if isinstance(shape, SpnShape) else None,
    }


def _widest(board: "Board", shape: SpnShape) -> int:
    """By halving: what fits with more channels fits with fewer."""
    from adakern_hw.prediction import lacking, predict

    fits, too_many = 0, WIDEST + 1
    while too_many - fits > 1:
        channels = (fits + too_many) // 2
        wide = replace(shape, channels=(channels, channels, channels, 2))
        folds = board.folds(wide, len(wide.stages))
        if lacking(board, wide, predict(board, wide, folds)) is None:
            fits = channels
        else:
            too_many = channels
    return fits
