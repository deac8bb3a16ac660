"""Network shapes, and folds against brute force."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adakern_spec.errors import ShapeError
from adakern_spec.network import (
    REFERENCE,
    REFERENCE_LENGTH,
    ConvShape,
    Fold,
    SpnShape,
    fold_for_interval,
    folds_for_budget,
    folds_for_interval,
)


def all_folds(stage: ConvShape) -> list[Fold]:
    """Every fold that divides the stage, by trying all of them."""
    folds = []
    for pe, simd in itertools.product(range(1, stage.out_channels + 1), range(1, stage.elements + 1)):
        try:
            Fold(pe, simd).check(stage)
        except ShapeError:
            continue
        folds.append(Fold(pe, simd))
    return folds


def slowest(shape: SpnShape, folds: tuple[Fold, ...]) -> int:
    return max(fold.interval(stage) for fold, stage in zip(folds, shape.stages, strict=True))


def multipliers(folds: tuple[Fold, ...]) -> int:
    return sum(fold.multipliers for fold in folds)


def test_reference_network_is_the_published_one():
    assert [stage.macs for stage in REFERENCE.stages] == [576, 576, 144]
    assert REFERENCE.macs(REFERENCE_LENGTH) == 2_654_208
    assert REFERENCE.map_bytes(REFERENCE_LENGTH) == 16_384


def test_144_multipliers_make_nine_cycles_per_pixel():
    folds = folds_for_budget(REFERENCE, 144)
    assert [fold.multipliers for fold in folds] == [64, 64, 16]
    assert [fold.interval(stage) for fold, stage in zip(folds, REFERENCE.stages, strict=True)] == [9, 9, 9]


SMALL = [
    SpnShape((1, 2), kernel=3),
    SpnShape((2, 3, 1), kernel=1),
    SpnShape((1, 4, 2), kernel=3),
    SpnShape((2, 2, 2), kernel=3),
]


@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_budget_gives_the_fewest_cycles_that_any_folds_reach(shape):
    every = list(itertools.product(*(all_folds(stage) for stage in shape.stages)))
    most = sum(stage.macs for stage in shape.stages)
    for budget in range(len(shape.stages), most + 1):
        best = min(slowest(shape, folds) for folds in every if multipliers(folds) <= budget)
        given_folds = folds_for_budget(shape, budget)
        assert slowest(shape, given_folds) == best
        assert multipliers(given_folds) <= budget


@given(
    st.builds(
        ConvShape, st.integers(1, 6), st.integers(1, 8), st.sampled_from([1, 3]), st.sampled_from([4, 8])
    ),
    st.integers(1, 500),
)
def test_interval_gives_the_fewest_multipliers_that_any_fold_needs(stage, interval):
    fold = fold_for_interval(stage, interval)
    fold.check(stage)
    assert fold.interval(stage) <= interval
    enough = [other.multipliers for other in all_folds(stage) if other.interval(stage) <= interval]
    assert fold.multipliers == min(enough)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 16), min_size=1, max_size=3),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 3, 5]),
    st.integers(0, 600),
)
def test_budget_is_never_exceeded_and_every_fold_fits(channels, outputs, kernel, spare):
    shape = SpnShape((*channels, outputs), kernel=kernel)
    budget = len(shape.stages) + spare
    folds = folds_for_budget(shape, budget)
    assert multipliers(folds) <= budget
    for fold, stage in zip(folds, shape.stages, strict=True):
        fold.check(stage)
        # Every product is made exactly once.
        assert fold.interval(stage) * fold.multipliers == stage.macs


def test_one_interval_for_all_stages():
    for interval in (1, 9, 100):
        folds = folds_for_interval(REFERENCE, interval)
        assert slowest(REFERENCE, folds) <= interval


def test_formats_of_the_stages():
    signed = SpnShape((3, 4, 2), input_signed=True, weight_bits=4)
    first, second = signed.stages
    assert (first.input_format.min, first.input_format.max) == (-128, 127)
    assert (second.input_format.min, second.input_format.max) == (0, 255)
    assert (first.output_format.min, first.output_format.max) == (0, 255)
    assert (first.weight_format.min, first.weight_format.max) == (-8, 7)
    assert ConvShape(1, 1, relu=False).output_format.min == -128


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ConvShape(1, 1, kernel=2), "kernel 2"),
        (lambda: ConvShape(1, 1, kernel=-1), "kernel -1"),
        (lambda: ConvShape(0, 1), "0 -> 1 channels"),
        (lambda: ConvShape(1, 1, weight_bits=5), "5 bits"),
        (lambda: SpnShape((8,)), "no conv stage"),
        (lambda: SpnShape((8, 3)), "3 outputs"),
        (lambda: SpnShape((8, 0, 2)), "channels"),
        (lambda: SpnShape(height=0), "height 0"),
        (lambda: SpnShape(max_length=0), "length 0"),
        (lambda: SpnShape(max_length=1 << 16), "length 65536"),
        (lambda: SpnShape(kernel=4), "kernel 4"),
        (lambda: Fold(3, 1).check(ConvShape(8, 8)), "fold of 3"),
        (lambda: Fold(1, 5).check(ConvShape(8, 8)), "5 elements"),
        (lambda: Fold(0, 1).check(ConvShape(8, 8)), "fold of 0"),
        (lambda: fold_for_interval(ConvShape(8, 8), 0), "0 cycles"),
        (lambda: folds_for_budget(REFERENCE, 2), "2 multipliers"),
    ],
)
def test_refuses_what_cannot_be_built(build, message):
    with pytest.raises(ShapeError) as caught:
        build()
    assert message in str(caught.value)
    assert caught.value.mend
