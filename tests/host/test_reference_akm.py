"""The whole kernel modulation network against torch and exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from adakern.akm_parameters import AkmParameters
from adakern.reference import akm
from adakern.reference.akm import AkmReference, run_akm
from adakern_spec.akm import AkmLayer, AkmShape, Downsample
from adakern_spec.errors import InputError

SHAPES = [
    AkmShape(
        1,
        14,
        (
            AkmLayer(4, downsample=Downsample.STRIDE2),
            AkmLayer(6, 5, Downsample.MAX2),
            AkmLayer(5, 1, Downsample.STRIDE2),
            AkmLayer(3),
        ),
        5,
    ),
    AkmShape(3, 7, (AkmLayer(2, 3, Downsample.MAX2),), 2, radius=2, per_channel=False, input_signed=True),
    AkmShape(2, 1, (AkmLayer(3, 1), AkmLayer(2)), 3, radius=3, weight_bits=4),
]

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["four-layers", "per-layer", "one-row"])


def draw_map(shape: AkmShape, length: int, rng: np.random.Generator, extreme: bool) -> np.ndarray:
    limits = np.iinfo(np.int8 if shape.input_signed else np.uint8)
    size = (shape.in_channels, shape.height, length)
    if extreme:
        return rng.choice([limits.min, limits.max], size).astype(limits.dtype)
    return rng.integers(limits.min, limits.max, size, limits.dtype, endpoint=True)


def half_up(sums: torch.Tensor, shift: int | torch.Tensor) -> torch.Tensor:
    """floor(v / 2^s + 1/2) of whole numbers below 2^52 in float64, exact."""
    return torch.floor(sums * torch.exp2(-torch.as_tensor(shift).double()) + 0.5)


def golden(p: AkmParameters, values: np.ndarray) -> tuple[list[list[torch.Tensor]], list[int]]:
    """Layers and logits of one map [C, H, length]: torch in float64, where every sum is exact."""
    x = torch.tensor(values.astype(np.float64))[None]
    traced = []
    for index, layer in enumerate(p.shape.layers):
        wide = (torch.tensor(v[index].astype(np.float64)) for v in (p.weights, p.biases))
        sums = torch.nn.functional.conv2d(x, *wide, padding="same")
        conv = half_up(sums, torch.tensor(p.shifts[index])[:, None, None]).clamp(-128, 127)
        channels, columns = conv.shape[1], conv.shape[3]
        kernels = p.kernels(index)
        length, height, border = (
            np.repeat(values, channels // len(values), axis=0)
            for values in (kernels.length, kernels.height, kernels.border)
        )
        reach = length.shape[1] - 1

        def passed(x: torch.Tensor, taps: np.ndarray, size: list[int]) -> torch.Tensor:
            both = torch.tensor(np.concatenate([taps[:, :0:-1], taps], axis=1).astype(np.float64))
            weights = both.reshape(-1, 1, *size)
            return torch.nn.functional.conv2d(x, weights, padding="same", groups=x.shape[1])

        u = half_up(passed(conv, length, [1, 2 * reach + 1]), 8)
        for channel in range(channels):
            for column in range(columns):
                if min(column, columns - 1 - column) < border[channel]:
                    u[:, channel, :, column] = conv[:, channel, :, column] * 128
        smoothed = half_up(passed(u, height, [2 * reach + 1, 1]), 22).clamp(0, 255)
        x = smoothed
        if layer.downsample is Downsample.STRIDE2:
            # A pool of one pixel, two apart.
            x = torch.nn.functional.max_pool2d(smoothed, 1, stride=2)
        elif layer.downsample is Downsample.MAX2:
            x = torch.nn.functional.max_pool2d(smoothed, 2)
        traced.append([conv, smoothed, x])
    means = [math.floor(Fraction(int(plane.sum()) * 256, plane.numel()) + Fraction(1, 2)) for plane in x[0]]
    logits = [
        int(bias) + sum(int(w) * mean for w, mean in zip(weights, means, strict=True))
        for weights, bias in zip(p.class_weights, p.class_biases, strict=True)
    ]
    return traced, logits


@every_shape
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_golden_model_on_every_bit(shape, extreme, seed):
    rng = np.random.default_rng(seed)
    parameters = AkmParameters.random(shape, rng, extreme)
    shortest = shape.min_length
    maps = [draw_map(shape, length, rng, extreme) for length in (shortest, 20, shortest + 1, 33, 20, 20)]
    result = AkmReference(parameters).run(maps, trace=True)
    for index, values in enumerate(maps):
        traced, logits = golden(parameters, values)
        assert result.logits[index].tolist() == logits
        for mine, theirs in zip(result.layers[index], traced, strict=True):
            for name, wanted in zip(("conv", "smoothed", "output"), theirs, strict=True):
                assert np.array_equal(getattr(mine, name), wanted.numpy()), name


def test_random_parameters_spread_the_activations():
    """Else an equal answer would say little."""
    shape = AkmShape(2, 12, (AkmLayer(6), AkmLayer(6), AkmLayer(6)), 4)
    alive, answers = [], set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        parameters = AkmParameters.random(shape, rng)
        result = AkmReference(parameters).run([draw_map(shape, 16, rng, False)], trace=True)
        alive += [layer.smoothed.any(axis=(0, 2, 3)).mean() for layer in result.layers[0]]
        answers.add(int(result.logits.argmax()))
    assert np.mean(alive) > 0.7
    assert len(answers) > 1


def test_companions_and_batches_change_nothing(monkeypatch):
    shape = SHAPES[0]
    rng = np.random.default_rng(1)
    parameters = AkmParameters.random(shape, rng)
    maps = [draw_map(shape, length, rng, False) for length in (20, 14, 20, 15, 20, 14)]
    monkeypatch.setattr(akm, "COLUMNS", 41)
    together = AkmReference(parameters).run(maps)
    for index, values in enumerate(maps):
        assert AkmReference(parameters).run([values]).logits[0].tolist() == together.logits[index].tolist()


def test_a_batch_is_cut_to_its_lengths():
    shape = SHAPES[1]
    rng = np.random.default_rng(2)
    parameters = AkmParameters.random(shape, rng)
    maps = np.stack([draw_map(shape, 12, rng, False) for _ in range(3)])
    result = run_akm(parameters, maps, np.array([12, 5, 2]))
    for index, length in enumerate((12, 5, 2)):
        assert result.logits[index].tolist() == golden(parameters, maps[index, :, :, :length])[1]


def test_a_map_of_which_nothing_is_left_is_refused():
    shape = SHAPES[1]
    parameters = AkmParameters.random(shape, np.random.default_rng(0))
    maps = np.zeros((1, 3, 7, 9), np.int8)
    with pytest.raises(InputError, match="map 0: length 1; give 2 to"):
        run_akm(parameters, maps, np.array([1]))
