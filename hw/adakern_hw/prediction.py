"""What a build will take of a part, from the network's shape and folds alone.

Every resource is a weighted sum of quantities that follow from shape and folds. The weights are one set
per family, learned from synthesised designs by benchmarks/fit_estimate.py, which writes them to
prediction.json. DSP blocks are counted, not learned. What is predicted are the figures of a
`Footprint`: nextpnr's after packing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

from adakern_spec import networks
from adakern_spec.akm import AkmShape, LayerFold
from adakern_spec.errors import AdakernError
from adakern_spec.network import Fold
from adakern_spec.networks import Folds, Shape

from .akm_quantities import akm_quantities
from .boards.board import Board, BoardError
from .footprint import KINDS
from .spn_quantities import spn_quantities

WEIGHTS = Path(__file__).with_name("prediction.json")


def quantities(
    board: Board, shape: Shape, folds: Folds, clock: int, stored: int | None = None
) -> Mapping[str, float]:
    """What a design is made of, in bits and pieces, before any family's prices.

    ``clock`` of the engine in Hz. The device keeps ``stored`` bytes, by default the parameter block.
    """
    if isinstance(shape, AkmShape):
        return akm_quantities(board, shape, cast(tuple[LayerFold, ...], folds), clock, stored)
    return spn_quantities(board, shape, cast(tuple[Fold, ...], folds), clock, stored)


NETWORKS = ("spn", "akm")
"""Kinds of network: scale prediction, kernel modulation."""


def network(shape: Shape) -> str:
    """Kind of network."""
    return "akm" if isinstance(shape, AkmShape) else "spn"


class Weights(NamedTuple):
    """How to predict one resource of a family: what each quantity weighs, and for each kind of network that
    was learned the worst relative error where its designs are predicted without having been learned from."""

    weights: Mapping[str, float]
    errors: Mapping[str, float]


@cache
def _weights() -> Mapping[str, Mapping[str, Weights]]:
    """By family and resource."""
    families = json.loads(WEIGHTS.read_text())["families"]
    return {
        family: {kind: Weights(**entry) for kind, entry in kinds.items()}
        for family, kinds in families.items()
    }


def learned(board: Board, shape: Shape) -> Mapping[str, Weights]:
    """By resource; none of a kind of network that was not learned for the board's family."""
    kinds = _weights()[board.family.name]
    return {kind: found for kind, found in kinds.items() if network(shape) in found.errors}


def predict(board: Board, shape: Shape, folds: Folds, clock: int | None = None) -> dict[str, int]:
    """Footprint of a build for ``board`` at ``clock`` Hz, the board's unless given, as far as it is known.

    DSP blocks are exact; they are all that is known of what was not `learned`.
    """
    counts = {"dsps": board.dsps(shape, folds)}
    counted = quantities(board, shape, folds, board.clock if clock is None else clock)
    for kind, found in learned(board, shape).items():
        counts[kind] = round(sum(weight * counted[name] for name, weight in found.weights.items()))
    return {kind: counts[kind] for kind in KINDS if kind in counts}


UNITS = {"luts": "look-up tables", "registers": "registers", "dsps": "DSP blocks", "block_rams": "block RAMs"}


def lacking(board: Board, shape: Shape, needs: Mapping[str, int], *, surely: bool = False) -> str | None:
    """Resource of which the part has too few for what ``shape`` needs, None if there is none.

    ``surely``: too few even if the prediction is too high by its worst error.
    """
    for kind, needed in needs.items():
        found = learned(board, shape).get(kind) if surely else None
        if needed > board.has(kind) * (1 + (found.errors[network(shape)] if found else 0)):
            return kind
    return None


def choices(board: Board, shape: Shape, multipliers: int | None = None) -> Iterator[Folds]:
    """Folds within a budget and the part's DSP blocks, the fastest first."""
    while True:
        try:
            folds = board.folds(shape, multipliers)
        except AdakernError:
            return
        yield folds
        multipliers = networks.multipliers(shape, folds) - 1


def best_folds(board: Board, shape: Shape, multipliers: int | None = None) -> Folds | None:
    """The fastest folds within a budget that are predicted to fit, None if none are."""
    found = choices(board, shape, multipliers)
    return next((folds for folds in found if not lacking(board, shape, predict(board, shape, folds))), None)


def check_fit(board: Board, shape: Shape, folds: Folds, clock: int, boards: Iterable[Board]) -> None:
    """BoardError for what surely does not fit, naming the largest budget or the smallest board that does."""
    needs = predict(board, shape, folds, clock)
    kind = lacking(board, shape, needs, surely=True)
    if kind is None:
        return
    about = "" if kind == "dsps" else "about "
    raise BoardError(
        f"{about}{needs[kind]:,} {UNITS[kind]} needed, the part has {board.has(kind):,}",
        board.name,
        _mend(board, shape, boards),
    )


def _mend(board: Board, shape: Shape, boards: Iterable[Board]) -> str:
    folds = best_folds(board, shape)
    if folds is not None:
        return f"use at most {networks.multipliers(shape, folds)} multipliers"
    for other in sorted(boards, key=lambda other: other.capacity.luts):
        if best_folds(other, shape) is not None:
            return f"no multiplier budget fits; use {other.name} or a smaller network"
    return "no multiplier budget and no board fits; use a smaller network"
