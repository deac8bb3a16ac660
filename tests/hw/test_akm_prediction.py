"""What a build of a kernel modulation network is predicted to take; of samples: test_prediction.py."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.estimate_designs import read_design
from made_memories import made_memories

from adakern_hw.akm_quantities import akm_memories
from adakern_hw.bitstream import Order, choose_folds, measure, prepare, write_sources
from adakern_hw.boards import BOARDS, BoardError, find_board
from adakern_hw.footprint import KINDS, read_footprint
from adakern_hw.prediction import best_folds, check_fit, lacking, learned, predict
from adakern_spec.akm import AkmLayer, AkmShape, Downsample, LayerFold
from adakern_spec.network import Fold

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
BOARD = find_board("ulx3s-85f")
TOLERANCE = 0.1

NONE, STRIDE2, MAX2 = Downsample
SHAPES = [
    (AkmShape(1, 2, (AkmLayer(1, kernel=1),), 2, radius=1, max_length=3), 5),
    (AkmShape(2, 9, (AkmLayer(6, 5, MAX2), AkmLayer(4, 3, STRIDE2)), 3, radius=3, per_channel=False), 40),
    (AkmShape(4, 8, (AkmLayer(8, downsample=STRIDE2), AkmLayer(2)), 12, radius=4, weight_bits=4), 60),
    (AkmShape(3, 30, (AkmLayer(4), AkmLayer(6, downsample=MAX2)), 5, input_signed=True), 150),
]
"""Different in everything, each with a budget of multipliers."""


def slowest(shape):
    return (LayerFold(Fold(1, 1), 1),) * len(shape.layers)


def test_memories_are_those_of_the_gateware(monkeypatch):
    """What remains are the link's, the same for every shape."""
    others = []
    for shape, budget in SHAPES:
        folds = BOARD.folds(shape, budget)
        made = made_memories(monkeypatch, Order(BOARD, shape, folds, BOARD.clock).device())
        listed = Counter(akm_memories(shape, folds))
        assert listed <= made
        others.append(made - listed)
    assert all(remaining == others[0] for remaining in others)
    assert max(fold.lanes for fold in BOARD.folds(*SHAPES[3])) > 1


BUILT = AkmShape(
    1,
    28,
    (AkmLayer(8, downsample=STRIDE2), AkmLayer(16, downsample=MAX2), AkmLayer(16)),
    5,
    max_length=28,
)
"""That of benchmarks/bitstreams.py."""


def test_what_was_built_is_near_what_is_predicted():
    """The recorded build of a network that no weight was learned from."""
    build = json.loads((RESULTS / "bitstreams.json").read_text())["builds"]["ulx3s-85f-akm"]
    samples = json.loads((RESULTS / "footprints.json").read_text())["families"]["ecp5"]["networks"]["akm"]
    assert all(read_design(sample["design"]).shape != BUILT for sample in samples["samples"])
    folds = BOARD.folds(BUILT, build["asked"]["multipliers"])
    assert build["network"]["folds"] == [[fold.conv.pe, fold.conv.simd, fold.lanes] for fold in folds]
    used = read_footprint(BOARD.family, build["utilisation"], build["resources"]["total"]).to_json()
    predicted = predict(BOARD, BUILT, folds, build["network"]["clock_hz"])
    assert (predicted["dsps"], predicted["block_rams"]) == (used["dsps"], used["block_rams"])
    assert predicted == pytest.approx(used, rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.xdist_group("synthesis")
def test_a_design_that_was_no_sample_is_predicted(tmp_path):
    shape = AkmShape(2, 11, (AkmLayer(6, downsample=MAX2),), 3, radius=3, max_length=40)
    order = Order(BOARD, shape, BOARD.folds(shape, 24), BOARD.clock)
    measured = measure(write_sources(BOARD, order.clocks(), order.device()), tmp_path).to_json()
    predicted = predict(BOARD, shape, order.folds)
    assert (predicted["dsps"], predicted["block_rams"]) == (measured["dsps"], measured["block_rams"])
    assert predicted == pytest.approx(measured, rel=TOLERANCE)


SMALL = AkmShape(2, 6, (AkmLayer(4), AkmLayer(4, downsample=STRIDE2)), 3, radius=2, max_length=6)
"""None of its memories grows into a block RAM, which would leave look-up tables and registers."""


@pytest.mark.parametrize(
    "larger",
    [
        replace(SMALL, in_channels=4),
        replace(SMALL, height=8),
        replace(SMALL, layers=(AkmLayer(8), AkmLayer(8))),
        replace(SMALL, layers=(AkmLayer(4), AkmLayer(4), AkmLayer(4))),
        replace(SMALL, layers=(AkmLayer(4), AkmLayer(4, downsample=MAX2))),
        replace(SMALL, classes=9),
        replace(SMALL, radius=5),
        replace(SMALL, max_length=60_000),
    ],
)
def test_a_larger_network_takes_no_less(larger):
    small, large = (predict(BOARD, shape, slowest(shape)) for shape in (SMALL, larger))
    assert all(large[kind] >= small[kind] for kind in KINDS)
    assert large != small


@pytest.mark.parametrize("lanes", [2, 4])
def test_more_lanes_take_more(lanes):
    fold = LayerFold(Fold(1, 1), lanes)
    one, more = (predict(BOARD, SMALL, folds) for folds in (slowest(SMALL), (fold, fold)))
    assert all(more[kind] > one[kind] for kind in ("luts", "registers", "dsps"))


def test_a_clock_above_the_links_takes_more():
    slow, fast = (predict(BOARD, SMALL, slowest(SMALL), clock) for clock in (62_500_000, 125_000_000))
    assert fast["registers"] > slow["registers"]


def test_fastest_folds_that_fit_are_those_of_a_build():
    best = best_folds(BOARD, BUILT)
    assert best is not None
    assert lacking(BOARD, BUILT, predict(BOARD, BUILT, best)) is None
    assert choose_folds(BOARD, BUILT) == best == BOARD.folds(BUILT)


TALL = AkmShape(1, 300, (AkmLayer(32),), 5, max_length=300)
"""Its smoother's lines need more block RAMs than the smaller part has."""


def test_what_does_not_fit_is_refused_before_synthesis_with_the_board_that_does():
    board = find_board("icepi-zero")
    folds = board.folds(TALL, 15)
    assert board.dsps(TALL, folds) <= board.capacity.dsps
    with pytest.raises(
        BoardError,
        match=r"icepi-zero: about \d+ block RAMs needed, the part has 56; no .* fits; use ulx3s-85f",
    ):
        prepare(Order(board, TALL, folds, board.clock))


def test_what_no_board_holds_is_refused():
    huge = replace(TALL, height=2_000, layers=(AkmLayer(64),))
    with pytest.raises(BoardError, match="no multiplier budget and no board fits; use a smaller network"):
        choose_folds(BOARD, huge)


def test_of_a_family_that_was_not_learned_only_dsp_blocks_are_told():
    board = find_board("icebreaker")
    shape = AkmShape(1, 4, (AkmLayer(2),), 2, radius=1, max_length=4)
    folds = board.folds(shape)
    assert not learned(board, shape)
    assert predict(board, shape, folds) == {"dsps": board.dsps(shape, folds)}
    check_fit(board, shape, folds, board.clock, BOARDS.values())
