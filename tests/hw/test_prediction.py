"""What a build is predicted to take: against samples, against designs that were no samples, and what fits."""

import json
from collections import Counter
from pathlib import Path

import pytest
from amaranth.hdl import Shape
from amaranth.hdl._ir import Fragment

from adakern_hw import prediction
from adakern_hw.bitstream import Order, choose_folds, measure, prepare, write_sources
from adakern_hw.blocks.ram import Ram
from adakern_hw.boards import BOARDS, BoardError, find_board
from adakern_hw.footprint import KINDS
from adakern_hw.prediction import BLOCK_RAMS, QUANTITIES, Words, best_folds, lacking, memories, predict
from adakern_hw.synthesis import synthesise
from adakern_spec import cycles
from adakern_spec.network import REFERENCE, Fold, SpnShape

SAMPLES = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "footprints.json").read_text())
TOLERANCE = 0.15


def sampled(family):
    """Board, shape, folds, clock and measured footprint of each whole build among the samples."""
    entry = SAMPLES["families"][family]
    for sample in (sample for sample in entry["samples"] if sample["whole"]):
        design = sample["design"]
        fields = ("height", "kernel", "weight_bits", "input_signed")
        shape = SpnShape(tuple(design["channels"]), **{field: design[field] for field in fields})
        board, megahertz = find_board(entry["board"]), design["mhz"]
        clock = board.clock if megahertz is None else round(1e6 * megahertz)
        folds = tuple(Fold(*fold) for fold in sample["folds"])
        yield board, shape, folds, clock, sample["footprint"]


def worst(family):
    """Largest relative error over all samples and resources."""
    return max(
        abs(predict(board, shape, folds, clock)[kind] / measured[kind] - 1)
        for board, shape, folds, clock, measured in sampled(family)
        for kind in KINDS
    )


@pytest.mark.parametrize("family", BLOCK_RAMS)
def test_samples_are_predicted(family):
    assert worst(family) <= TOLERANCE


@pytest.mark.parametrize("family", BLOCK_RAMS)
def test_dsp_blocks_are_exact(family):
    for board, shape, folds, _, measured in sampled(family):
        assert predict(board, shape, folds)["dsps"] == measured["dsps"]


@pytest.mark.parametrize("family", BLOCK_RAMS)
def test_error_that_is_claimed_is_that_of_samples_left_out(family):
    for kind, learned in prediction._learned()[family].items():
        errors = SAMPLES["families"][family]["errors"][kind]["left_out"]
        assert learned.error == pytest.approx(max(map(abs, errors)), abs=1e-3)


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
    samples = SAMPLES["families"][board.family.name]["samples"]
    assert all(list(shape.channels) != sample["design"]["channels"] for sample in samples)
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
    made = []
    monkeypatch.setattr(Ram, "elaborate", recording(Ram.elaborate, made))
    others = []
    for shape, multipliers in SHAPES[outputs]:
        folds = board.folds(shape, multipliers)
        made.clear()
        Fragment.get(Order(board, shape, folds, board.clock).device(), None)
        listed = Counter(memories(shape, folds, board.link))
        assert listed <= Counter(made)
        others.append(Counter(made) - listed)
    assert all(remaining == others[0] for remaining in others)


def recording(elaborate, made):
    def record(self, platform):
        made.append(Words(Shape.cast(self.shape).width, self.depth))
        return elaborate(self, platform)

    return record


MEMORIES = {
    "ecp5": [(8, 8), (8, 128), (8, 255), (22, 48), (22, 64), (16, 4), (40, 513)],
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


def test_a_quantity_that_is_dropped_is_missed(monkeypatch):
    """The comparison with the samples sees it."""
    learned = prediction._learned()["ecp5"]["luts"]
    board, shape, folds, clock, _ = max(sampled("ecp5"), key=lambda sample: sample[-1]["luts"])
    counted = prediction.quantities(board, shape, folds, clock)
    heaviest = max(learned.weights, key=lambda name: learned.weights[name] * counted[name])
    dropped = {name: weight for name, weight in learned.weights.items() if name != heaviest}
    kinds = {**prediction._learned()["ecp5"], "luts": learned._replace(weights=dropped)}
    monkeypatch.setattr(prediction, "_learned", lambda: {"ecp5": kinds})
    assert worst("ecp5") > TOLERANCE


def test_every_weight_is_of_a_quantity():
    for kinds in prediction._learned().values():
        for learned in kinds.values():
            assert set(learned.weights) <= set(QUANTITIES)
            assert min(learned.weights.values()) > 0


def test_fastest_folds_that_fit_are_the_largest_budget_that_fits():
    board = find_board("icepi-zero")
    best = best_folds(board, REFERENCE)
    assert best is not None
    assert lacking(board, predict(board, REFERENCE, best)) is None
    for folds in prediction.choices(board, REFERENCE):
        if cycles.multipliers(folds) > cycles.multipliers(best):
            assert lacking(board, predict(board, REFERENCE, folds)) is not None
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
