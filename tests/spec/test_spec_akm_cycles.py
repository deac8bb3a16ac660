"""Properties of the kernel modulation engine's formulas; the simulation holds their values."""

import itertools

import pytest

from adakern_spec import akm_cycles, networks
from adakern_spec.akm import AkmLayer, AkmShape, Downsample, layer_folds_for_interval

SHAPE = AkmShape(
    in_channels=1,
    height=28,
    layers=(
        AkmLayer(8, downsample=Downsample.STRIDE2),
        AkmLayer(16, downsample=Downsample.MAX2),
        AkmLayer(16),
    ),
    classes=5,
)


@pytest.mark.parametrize("way", Downsample)
def test_the_pixels_left_out_are_those_behind_the_last_that_is_kept(way: Downsample) -> None:
    for height, length in itertools.product(range(2, 7), repeat=2):
        places = list(itertools.product(range(length), range(height)))
        odd = way is Downsample.MAX2
        kept = [
            place
            for place, (column, row) in enumerate(places)
            if way is Downsample.NONE or (column % 2 == odd and row % 2 == odd)
        ]
        assert len(kept) == way.size(height) * way.size(length)
        assert akm_cycles._left_out(way, height, length) == len(places) - 1 - kept[-1]


@pytest.mark.parametrize("interval", [1, 9, 72, 1152])
def test_no_map_takes_fewer_cycles_than_its_products(interval: int) -> None:
    folds = layer_folds_for_interval(SHAPE, interval)
    assert akm_cycles.pace(SHAPE, folds) <= interval
    for length in (SHAPE.min_length, 7, 28, 100):
        assert 0 < networks.utilisation(SHAPE, folds, length) <= 1
        between = akm_cycles.separation(SHAPE, folds) * akm_cycles.pace(SHAPE, folds)
        assert networks.interval(SHAPE, folds, length) - between == SHAPE.pixels(length) * networks.pace(
            SHAPE, folds
        )
        shorter = networks.latency(SHAPE, folds, max(SHAPE.min_length, length - 8))
        assert shorter <= networks.latency(SHAPE, folds, length)


def test_utilisation_counts_what_convs_and_smoothers_multiply() -> None:
    shape = AkmShape(2, 4, (AkmLayer(3, downsample=Downsample.STRIDE2), AkmLayer(2)), classes=2, radius=1)
    length = 6
    folds = layer_folds_for_interval(shape, 18)
    products = 0
    for inputs, outputs, step in ((2, 3, 1), (3, 2, 2)):
        for _ in itertools.product(range(0, shape.height, step), range(0, length, step), range(outputs)):
            # A 3×3 conv; in each direction the pixel itself and a pair of neighbours.
            products += 9 * inputs + 2 * 2
    useful = products / networks.interval(shape, folds, length)
    assert networks.utilisation(shape, folds, length) == pytest.approx(
        useful / networks.multipliers(shape, folds)
    )


def test_as_many_maps_may_be_under_way_as_overlap_at_any_length() -> None:
    folds = layer_folds_for_interval(SHAPE, 9)
    for length in range(SHAPE.min_length, 40):
        overlap = -(-networks.latency(SHAPE, folds, length) // networks.interval(SHAPE, folds, length))
        assert overlap + 2 <= akm_cycles.flights(SHAPE, folds)


def test_tags_reach_as_far_as_every_later_window() -> None:
    assert SHAPE.reaches == (24, 12, 6, 1)
    narrow = AkmShape(1, 8, (AkmLayer(2, downsample=Downsample.MAX2), AkmLayer(2, kernel=5)), 2, radius=1)
    assert narrow.reaches == (4, 2, 1)
