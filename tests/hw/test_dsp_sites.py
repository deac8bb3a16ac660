"""Places of DSP blocks: each once, rows side by side, stages compact."""

import re

import pytest

from adakern_hw.boards import BOARDS, find_board
from adakern_hw.boards.dsp_sites import place_rows
from adakern_spec.errors import ShapeError
from adakern_spec.network import REFERENCE, Fold, SpnShape

PLACED = {name: board for name, board in BOARDS.items() if board.dsp_sites}


def column(site):
    return int(re.match(r"X(\d+)/Y\d+/MULT18_[0145]$", site)[1])


@pytest.mark.parametrize("board", PLACED.values(), ids=PLACED)
def test_sites_are_as_many_as_the_part_has_and_ordered(board):
    sites = [site for line in board.dsp_sites for site in line]
    assert len(sites) == len(set(sites)) == board.capacity.dsps
    for line in board.dsp_sites:
        assert list(line) == sorted(line, key=column)
        assert len({site.split("/")[1] for site in line}) == 1


@pytest.mark.parametrize("board", PLACED.values(), ids=PLACED)
def test_every_block_of_a_design_has_a_site_of_its_own(board):
    for shape in (REFERENCE, SpnShape((4, 2)), SpnShape(weight_bits=4)):
        folds = board.folds(shape)
        sites = [site for row in board.placed_rows(shape, folds) for site in getattr(row, "SITES", ())]
        assert len(sites) == len(set(sites)) == board.dsps(shape, folds)


def test_rows_of_a_stage_lie_together():
    """The lanes of a channel within one line; a stage of 64 blocks within half the width of the part."""
    board = find_board("ulx3s-85f")
    rows = board.placed_rows(REFERENCE, (Fold(8, 8), Fold(8, 8), Fold(2, 8)))
    for row in rows:
        for start in range(0, len(row.SITES), 8):
            lanes = row.SITES[start : start + 8]
            assert len({site.split("/")[1] for site in lanes}) == 1
            assert column(lanes[-1]) - column(lanes[0]) <= 20
        width = max(map(column, row.SITES)) - min(map(column, row.SITES))
        assert width <= 75


def test_a_row_that_fits_no_line_takes_what_is_left():
    assert place_rows([("a", "b", "c"), ("d", "e")], [2, 3]) == [("a", "b"), ("d", "e", "c")]
    with pytest.raises(ShapeError, match="6 DSP blocks; use at most 5"):
        place_rows([("a", "b", "c"), ("d", "e")], [6])
