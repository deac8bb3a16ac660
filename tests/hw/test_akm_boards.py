"""Kernel modulation networks on boards: folds, DSP blocks, refusals."""

import pytest

from adakern_hw.boards import find_board
from adakern_hw.boards.board import BoardError
from adakern_hw.engines.akm import LayerMultipliers
from adakern_spec import networks
from adakern_spec.akm import AkmLayer, AkmShape, Downsample, layer_folds_for_interval

SHAPE = AkmShape(
    1,
    28,
    (AkmLayer(8, downsample=Downsample.STRIDE2), AkmLayer(16, downsample=Downsample.MAX2), AkmLayer(16)),
    5,
)


@pytest.mark.parametrize("budget", [None, 60, 100])
def test_folds_are_the_fastest_that_the_part_and_the_budget_allow(budget):
    board = find_board("ulx3s-85f")
    folds = board.folds(SHAPE, budget)
    assert board.dsps(SHAPE, folds) <= board.capacity.dsps
    assert networks.multipliers(SHAPE, folds) <= (budget or board.capacity.dsps)
    faster = layer_folds_for_interval(SHAPE, networks.pace(SHAPE, folds) - 1)
    assert networks.multipliers(SHAPE, faster) > (budget or board.capacity.dsps)
    assert board.rows(SHAPE, folds) == (LayerMultipliers(*[board.family.multiplier] * 2),) * 3
    assert board.placed_rows(SHAPE, folds) == board.rows(SHAPE, folds)


def test_packed_products_of_4_bit_weights_leave_room_for_more():
    board = find_board("ulx3s-85f")
    narrow = AkmShape(1, 28, (AkmLayer(8), AkmLayer(16)), 5, weight_bits=4)
    folds = board.folds(narrow)
    assert board.dsps(narrow, folds) <= board.capacity.dsps < networks.multipliers(narrow, folds)


@pytest.mark.parametrize("name", ["icepi-zero", "icebreaker"])
def test_a_part_with_too_few_dsp_blocks_is_refused(name):
    with pytest.raises(BoardError, match="3 layers that smooth over a radius of 6 need 45 DSP blocks"):
        find_board(name).folds(SHAPE)


def test_a_smaller_radius_fits_a_smaller_part():
    board = find_board("icepi-zero")
    small = AkmShape(1, 28, SHAPE.layers[:2], 5, radius=3)
    assert board.dsps(small, board.folds(small)) <= board.capacity.dsps
