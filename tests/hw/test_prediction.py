"""What a build is predicted to take: against samples, against designs that were no samples, and what fits."""

import json
from collections import Counter
from pathlib import Path

import pytest
from benchmarks.estimate_designs import order_of, read_design, read_folds
from made_memories import made_memories

from adakern_hw import prediction
from adakern_hw.bitstream import Order, choose_folds, measure, prepare, write_sources
from adakern_hw.blocks.ram import Ram
from adakern_hw.boards import BOARDS, BoardError, find_board
from adakern_hw.footprint import KINDS
from adakern_hw.memories import BLOCK_RAMS, Words
from adakern_hw.prediction import NETWORKS, best_folds, lacking, learned, predict
from adakern_hw.quantities import QUANTITIES
from adakern_hw.spn_quantities import spn_memories
from adakern_hw.synthesis import synthesise
from adakern_spec import cycles
from adakern_spec.network import REFERENCE, Fold, SpnShape

SAMPLES = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "footprints.json").read_text())
KINDS_LEARNED = [
    (family, network) for family, entry in SAMPLES["families"].items() for network in entry["networks"]
]
TOLERANCE = 0.15


def sampled(family, network):
    """Board, shape, folds, clock and measured footprint of each whole build among the samples."""
    for sample in SAMPLES["families"][family]["networks"][network]["samples"]:
        if sample["whole"]:
            order = order_of(family, read_design(sample["design"]))
            yield order.board, order.shape, read_folds(sample["folds"]), order.clock, sample["footprint"]


def worst(family, network):
    """Largest relative error over all samples and resources."""
    return max(
        abs(predict(board, shape, folds, clock)[kind] / measured[kind] - 1)
        for board, shape, folds, clock, measured in sampled(family, network)
        for kind in KINDS
    )


@pytest.mark.parametrize(("family", "network"), KINDS_LEARNED)
def test_samples_are_predicted(family, network):
    assert worst(family, network) <= TOLERANCE


@pytest.mark.parametrize(("family", "network"), KINDS_LEARNED)
def test_dsp_blocks_are_exact(family, network):
    for board, shape, folds, _, measured in sampled(family, network):
        assert predict(board, shape, folds)["dsps"] == measured["dsps"]


@pytest.mark.parametrize("network", NETWORKS)
def test_block_rams_of_ecp5_engines_are_exact(network):
    """Without the link and its store, of which a single byte is no block RAM."""
    for sample in SAMPLES["families"]["ecp5"]["networks"][network]["samples"]:
        if not sample["whole"]:
            order = order_of("ecp5", read_design(sample["design"]))
            counted = prediction.quantities(
                order.board, order.shape, read_folds(sample["folds"]), 0, stored=1
            )
            assert counted["block RAMs"] == sample["footprint"]["block_rams"]


@pytest.mark.parametrize("network", NETWORKS)
def test_block_rams_of_ecp5_are_exact(network):
    for board, shape, folds, clock, measured in sampled("ecp5", network):
        assert predict(board, shape, folds, clock)["block_rams"] == measured["block_rams"]


@pytest.mark.parametrize(("family", "network"), KINDS_LEARNED)
def test_error_that_is_claimed_is_that_of_samples_left_out(family, network):
    entry = SAMPLES["families"][family]
    shape = read_design(entry["networks"][network]["samples"][0]["design"]).shape
    for kind, weights in learned(find_board(entry["board"]), shape).items():
        errors = entry["networks"][network]["errors"][kind]["left_out"]
        assert weights.errors[network] == pytest.approx(max(map(abs, errors)), abs=1e-3)


HELD_OUT = {
    "ulx3s-85f": (SpnShape((5, 7, 2), height=18, max_length=4095), 21),
    "icebreaker": (SpnShape((4, 6, 2), height=10, max_length=4095), 5),
}
"""A design of each family that no weight was learned from."""


@pytest.mark.slow
@pytest.mark.xdist_group("synthesis")
@pytest.mark.parametrize("name", HELD_OUT)
def test_designs_that_were_no_samples_are_predicted(name, tmp_path):
    board, (shape, multipliers) = find_board(name), HELD_OUT[name]
    order = Order(board, shape, board.folds(shape, multipliers), board.clock)
    samples = SAMPLES["families"][board.family.name]["networks"][prediction.network(shape)]["samples"]
    assert all(shape != read_design(sample["design"]).shape for sample in samples)
    measured = measure(write_sources(board, order.clocks(), order.device()), tmp_path).to_json()
    predicted = predict(board, shape, order.folds)
    assert predicted["dsps"] == measured["dsps"]
    for kind in KINDS:
        assert predicted[kind] == pytest.approx(measured[kind], rel=TOLERANCE), kind


SHAPES = {
    1: [(SpnShape((1, 1), height=2, kernel=1), 1), (SpnShape((2, 4, 1), height=9, kernel=5), 7)],
    2: [
        (SpnShape((3, 5, 2), height=31), 15),
        (SpnShape((8, 8, 2), height=16, weight_bits=4), 3),
        (SpnShape((8, 8, 8, 2), height=50, max_length=99), 9),
    ],
}
"""Shapes and multipliers by outputs, on which the records of the scale head depend."""


@pytest.mark.parametrize("outputs", SHAPES)
@pytest.mark.parametrize("name", ["ulx3s-85f", "icebreaker"])
def test_memories_are_those_of_the_gateware(monkeypatch, name, outputs):
    """What remains are the link's and the head's, the same for every shape."""
    board = find_board(name)
    others = []
    for shape, multipliers in SHAPES[outputs]:
        folds = board.folds(shape, multipliers)
        made = made_memories(monkeypatch, Order(board, shape, folds, board.clock).device())
        listed = Counter(spn_memories(shape, folds, board.link))
        assert listed <= made
        others.append(made - listed)
    assert all(remaining == others[0] for remaining in others)


MEMORIES = {
    "ecp5": [
        *[(8, 8), (8, 128), (8, 160), (8, 167), (8, 255), (22, 48), (22, 64), (16, 4), (40, 513)],
        *[(80, 47), (96, 47), (180, 31), (96, 895)],
    ],
    # Yosys by itself keeps smaller ones in registers; in a build `Ram` asks for block RAM.
    "ice40": [(8, 128), (8, 255), (22, 48), (22, 64)],
}


@pytest.mark.slow
@pytest.mark.xdist_group("synthesis")
@pytest.mark.parametrize(
    ("family", "memory"), [(family, Words(*size)) for family, sizes in MEMORIES.items() for size in sizes]
)
def test_block_rams_of_a_memory_are_those_of_yosys(family, memory):
    assert BLOCK_RAMS[family](memory) == synthesise(Ram(*memory), family).cells["block_rams"]


@pytest.mark.parametrize(("family", "network"), KINDS_LEARNED)
def test_a_quantity_that_is_dropped_is_missed(monkeypatch, family, network):
    """The comparison with the samples sees it."""
    board, shape, folds, clock, _ = max(sampled(family, network), key=lambda sample: sample[-1]["luts"])
    resources = learned(board, shape)
    luts = resources["luts"]
    counted = prediction.quantities(board, shape, folds, clock)
    heaviest = max(luts.weights, key=lambda name: luts.weights[name] * counted[name])
    dropped = {name: weight for name, weight in luts.weights.items() if name != heaviest}
    changed = {**resources, "luts": luts._replace(weights=dropped)}
    monkeypatch.setattr(prediction, "_weights", lambda: {family: changed})
    assert worst(family, network) > TOLERANCE


def test_every_weight_is_of_a_quantity():
    for resources in prediction._weights().values():
        for weights in resources.values():
            assert set(weights.weights) <= set(QUANTITIES)
            assert min(weights.weights.values()) > 0


def test_fastest_folds_that_fit_are_the_largest_budget_that_fits():
    board = find_board("icepi-zero")
    best = best_folds(board, REFERENCE)
    assert best is not None
    assert lacking(board, REFERENCE, predict(board, REFERENCE, best)) is None
    for folds in prediction.choices(board, REFERENCE):
        if cycles.multipliers(folds) > cycles.multipliers(best):
            assert lacking(board, REFERENCE, predict(board, REFERENCE, folds)) is not None
    assert choose_folds(board, REFERENCE) == best


def test_what_does_not_fit_is_refused_before_synthesis_with_the_budget_that_does():
    board = find_board("icepi-zero")
    folds = (Fold(8, 8), Fold(8, 8), Fold(2, 8))
    best = cycles.multipliers(best_folds(board, REFERENCE))
    with pytest.raises(
        BoardError,
        match=rf"icepi-zero: 144 DSP blocks needed, the part has 28; use at most {best} multipliers",
    ):
        prepare(Order(board, REFERENCE, folds, board.clock))


def test_what_no_budget_makes_fit_is_refused_with_the_board_that_does():
    shape = SpnShape((24, 24, 24, 2), height=16)
    with pytest.raises(
        BoardError, match=r"icebreaker: .* needed, the part has .*; no multiplier budget fits; use \w+"
    ):
        choose_folds(find_board("icebreaker"), shape)


def test_what_no_board_holds_is_refused():
    shape = SpnShape((400, 400, 2), height=16)
    for board in BOARDS.values():
        with pytest.raises(BoardError, match="no multiplier budget and no board fits; use a smaller network"):
            choose_folds(board, shape)
