"""Shapes, folds and the parameter block of adaptive kernel modulation networks."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adakern_spec.akm import (
    CLASSES_MAX,
    AkmLayer,
    AkmShape,
    Downsample,
    akm_block_size,
    akm_result_fields,
    kernel_offset,
    kernel_sizes,
    layer_folds_for_budget,
    layer_folds_for_interval,
    tap_fields,
)
from adakern_spec.digest import spec_digest
from adakern_spec.errors import ShapeError
from adakern_spec.parameters import record_size
from adakern_spec.protocol import REPLY_PAYLOAD_MAX, fields_size

NETWORK = AkmShape(
    in_channels=1,
    height=28,
    layers=(
        AkmLayer(8, downsample=Downsample.STRIDE2),
        AkmLayer(16, downsample=Downsample.MAX2),
        AkmLayer(16),
    ),
    classes=5,
)


@given(st.integers(2, 70), st.integers(2, 70))
def test_sizes_are_those_of_torch(height: int, length: int) -> None:
    x = torch.zeros(1, 1, height, length)
    pooled = torch.nn.functional.max_pool2d(x, 2)
    strided = x[:, :, ::2, ::2]
    for way, y in ((Downsample.MAX2, pooled), (Downsample.STRIDE2, strided), (Downsample.NONE, x)):
        assert (way.size(height), way.size(length)) == tuple(y.shape[2:])


@given(st.lists(st.sampled_from(Downsample), min_size=1, max_size=4))
def test_the_shortest_length_is_the_shortest_that_leaves_a_column(ways: list[Downsample]) -> None:
    shape = AkmShape(1, 64, tuple(AkmLayer(2, downsample=way) for way in ways), 2)
    assert min(shape.lengths(shape.min_length)) == 1
    assert min(shape.lengths(shape.min_length - 1)) == 0


def test_macs_count_every_product() -> None:
    sizes = [(28 * 28, 9 * 1 * 8), (14 * 14, 9 * 8 * 16), (7 * 7, 9 * 16 * 16)]
    assert NETWORK.macs(28) == sum(pixels * products for pixels, products in sizes) + 5 * 16


def test_kernel_records_end_the_block() -> None:
    record = record_size(tap_fields(6))
    assert record == 2 * 2 * 7 + 1
    assert kernel_sizes(NETWORK) == (8 * record, 16 * record, 16 * record)
    weights = 9 * (8 + 8 * 16 + 16 * 16) + 5 * (8 + 16 + 16)
    assert kernel_offset(NETWORK) == weights + 5 * 16 + 5 * 4
    assert akm_block_size(NETWORK) == kernel_offset(NETWORK) + 40 * record


def test_a_result_fits_into_a_reply() -> None:
    most = AkmShape(1, 8, (AkmLayer(4),), CLASSES_MAX)
    assert fields_size(akm_result_fields(most)) <= REPLY_PAYLOAD_MAX
    with pytest.raises(ShapeError, match="classes"):
        AkmShape(1, 8, (AkmLayer(4),), CLASSES_MAX + 1)


@pytest.mark.parametrize("interval", [1, 3, 8, 72, 500])
def test_folds_keep_the_pace_behind_each_downsampling(interval: int) -> None:
    folds = layer_folds_for_interval(NETWORK, interval)
    for fold, stage, pace in zip(folds, NETWORK.stages, (interval, 2 * interval, 4 * interval), strict=True):
        fold.check(stage)
        assert fold.interval(stage) <= pace


@pytest.mark.parametrize("budget", [45, 60, 100, 156, 400])
def test_folds_use_the_budget(budget: int) -> None:
    folds = layer_folds_for_budget(NETWORK, budget)
    assert sum(fold.multipliers(NETWORK.radius) for fold in folds) <= budget
    faster = layer_folds_for_interval(NETWORK, max(1, folds[0].interval(NETWORK.stages[0]) - 1))
    if faster != folds:
        assert sum(fold.multipliers(NETWORK.radius) for fold in faster) > budget


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": ()}, "no layer"),
        ({"height": 0}, "height"),
        ({"radius": 0}, "radius"),
        ({"max_length": 0}, "length"),
        ({"height": 3, "layers": (AkmLayer(2, downsample=Downsample.MAX2),) * 2}, "nothing is left"),
        ({"layers": (AkmLayer(4, kernel=2),)}, "kernel 2"),
    ],
)
def test_impossible_shapes_are_refused(change: dict, message: str) -> None:
    given = {"in_channels": 1, "height": 28, "layers": NETWORK.layers, "classes": 5} | change
    with pytest.raises(ShapeError, match=message):
        AkmShape(**given)


def test_too_few_multipliers_are_refused() -> None:
    with pytest.raises(ShapeError, match="at least 45"):
        layer_folds_for_budget(NETWORK, 44)


def test_whatever_the_gateware_is_built_for_is_in_the_digest() -> None:
    changes: list[dict] = [{}, {"height": 27}, {"radius": 5}, {"classes": 6}, {"per_channel": False}]
    changes += [{"layers": NETWORK.layers[:2]}, {"layers": (*NETWORK.layers[:2], AkmLayer(16, kernel=5))}]
    assert len({spec_digest(dataclasses.replace(NETWORK, **change)) for change in changes}) == len(changes)
