import pytest

from adakern_spec import cycles
from adakern_spec.errors import ShapeError
from adakern_spec.network import (
    REFERENCE,
    REFERENCE_LENGTH,
    Fold,
    SpnShape,
    folds_for_budget,
    folds_for_interval,
    in_turns,
)
from adakern_spec.protocol import LINK, Link

FOLDS = folds_for_budget(REFERENCE, 144)


def test_reference_network_with_144_multipliers():
    assert cycles.multipliers(FOLDS) == 144
    assert cycles.interval(REFERENCE, FOLDS, REFERENCE_LENGTH) == 18_432
    assert cycles.latency(REFERENCE, FOLDS, REFERENCE_LENGTH) <= 20_500
    assert cycles.utilisation(REFERENCE, FOLDS, REFERENCE_LENGTH) == 1.0


@pytest.mark.parametrize("length", [1, 2, 9, 128, 65_535])
@pytest.mark.parametrize("pace", [1, 2, 9, 72])
def test_no_map_takes_fewer_cycles_than_its_products(length, pace):
    folds = folds_for_interval(REFERENCE, pace)
    needed = REFERENCE.macs(length) / cycles.multipliers(folds)
    assert needed <= cycles.interval(REFERENCE, folds, length)
    assert cycles.interval(REFERENCE, folds, length) < cycles.latency(REFERENCE, folds, length)


def test_stages_in_turn_need_the_cycles_of_all_products_and_little_more():
    fold = (Fold(1, 8, shared=True),)
    assert cycles.multipliers(fold) == 8
    products = REFERENCE.macs(1) // REFERENCE.pixels(1) // 8
    assert products < cycles.pace(REFERENCE, fold) < 1.15 * products
    # One pixel more for each stage whose input another one has made before.
    assert cycles.padding(REFERENCE, fold) == cycles.padding(REFERENCE, FOLDS) + 2
    assert cycles.flights(REFERENCE, fold) == 1
    for length in (1, REFERENCE_LENGTH):
        assert cycles.latency(REFERENCE, fold, length) < cycles.interval(REFERENCE, fold, length)


def test_folds_are_one_per_stage_or_a_shared_one_that_serves_all():
    assert not in_turns(REFERENCE, FOLDS)
    assert in_turns(REFERENCE, (Fold(1, 4, shared=True),))
    assert in_turns(SpnShape((4, 2)), (Fold(1, 4, shared=True),))
    assert not in_turns(SpnShape((4, 2)), (Fold(1, 4),))
    refused = [FOLDS[:2], (Fold(1, 8),), (Fold(1, 8, shared=True),) * 3]
    refused += [(Fold(pe, simd, shared=True),) for pe, simd in ((2, 8), (1, 9), (1, 16))]
    for folds in refused:
        with pytest.raises(ShapeError, match="folds for 3 stages"):
            in_turns(REFERENCE, folds)


def test_latency_grows_by_one_column_per_position():
    shape = SpnShape((2, 4, 1), height=3)
    folds = folds_for_interval(shape, 6)
    steps = {cycles.latency(shape, folds, n + 1) - cycles.latency(shape, folds, n) for n in range(1, 50)}
    assert steps == {3 * cycles.pace(shape, folds)}


def test_a_map_begins_amid_the_one_before_only_if_the_window_lets_its_pixels_through():
    """The reference needs 51 pixels of 8 bytes behind a map."""
    assert cycles.padding(REFERENCE, FOLDS) == 51
    for link, overlaps in ((LINK, True), (Link(4, 256), True), (Link(4, 128), False), (Link(2, 512), False)):
        assert cycles.overlaps(REFERENCE, FOLDS, link) == overlaps
    single = Link(2, 256)
    interval = cycles.interval(REFERENCE, FOLDS, REFERENCE_LENGTH, single)
    assert interval == (REFERENCE.pixels(REFERENCE_LENGTH) + 51) * cycles.pace(REFERENCE, FOLDS)
    assert cycles.utilisation(REFERENCE, FOLDS, REFERENCE_LENGTH, single) > 0.95


def test_short_maps_wait_for_the_head_and_long_ones_do_not():
    folds = folds_for_interval(REFERENCE, 1)
    separation = cycles.separation(REFERENCE, folds)
    assert separation > 1
    assert cycles.interval(REFERENCE, folds, 1) == cycles.interval(REFERENCE, folds, separation)
    assert cycles.interval(REFERENCE, folds, separation) >= cycles.head_latency(REFERENCE)
    assert cycles.utilisation(REFERENCE, folds, separation) == 1.0
