"""The fractional pool against PyTorch at odd sizes, the design's sum elsewhere, finite differences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from adakern.models.pooling import AdaptiveAnisotropicPool, fractional_box_pool
from adakern_spec.errors import ShapeError

ODD = st.integers(0, 5).map(lambda n: 2 * n + 1)
SIZES = st.floats(1, 12)


def maps(batch, height, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 2, height, length, generator=generator, dtype=torch.float64)


def sizes(*values):
    return torch.tensor(values, dtype=torch.float64)


def summed_by_definition(x, kernel_height, kernel_length):
    """Design part 1, "Fractional box pool", as written: one weighted sum per output."""

    def weights(kernel):
        radius = (kernel - 1) / 2
        whole = math.floor(radius)
        offsets = range(-whole - 1, whole + 2)
        return {d: 1.0 if abs(d) <= whole else radius - whole for d in offsets}

    pooled = np.zeros_like(x)
    height, length = x.shape[-2:]
    for i in range(height):
        for j in range(length):
            for di, wi in weights(kernel_height).items():
                for dj, wj in weights(kernel_length).items():
                    if 0 <= i + di < height and 0 <= j + dj < length:
                        pooled[..., i, j] += wi * wj * x[..., i + di, j + dj]
    return pooled / (kernel_height * kernel_length)


@settings(max_examples=40, deadline=None)
@given(kernel_height=ODD, kernel_length=ODD, height=st.integers(1, 16), length=st.integers(1, 150))
def test_odd_sizes_are_avg_pool2d(kernel_height, kernel_length, height, length):
    x = maps(1, height, length)
    expected = functional.avg_pool2d(
        x,
        (kernel_height, kernel_length),
        stride=1,
        padding=(kernel_height // 2, kernel_length // 2),
        count_include_pad=True,
    )
    pooled = fractional_box_pool(x, sizes(kernel_height), sizes(kernel_length))
    torch.testing.assert_close(pooled, expected)


@settings(max_examples=25, deadline=None)
@given(kernel_height=SIZES, kernel_length=SIZES, height=st.integers(1, 6), length=st.integers(1, 9))
def test_any_size_is_the_weighted_sum_of_the_design(kernel_height, kernel_length, height, length):
    x = maps(1, height, length)
    pooled = fractional_box_pool(x, sizes(kernel_height), sizes(kernel_length))
    np.testing.assert_allclose(
        pooled.numpy(), summed_by_definition(x.numpy(), kernel_height, kernel_length), atol=1e-12
    )


def test_every_map_of_a_batch_has_its_own_kernel():
    x = maps(3, 5, 70)
    heights, lengths = sizes(1.0, 2.7, 4.2), sizes(9.5, 1.0, 3.3)
    together = fractional_box_pool(x, heights, lengths)
    for index in range(3):
        alone = fractional_box_pool(
            x[index : index + 1], heights[index : index + 1], lengths[index : index + 1]
        )
        torch.testing.assert_close(together[index : index + 1], alone)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_gradients_match_finite_differences(mode):
    x = maps(2, 4, 6).requires_grad_()
    # Scales whose sizes (base · scale) lie clear of the odd integers, where the derivative jumps.
    scales = torch.tensor([[1.3, 0.8], [0.9, 1.6]], dtype=torch.float64, requires_grad=True)
    pool = AdaptiveAnisotropicPool(3, 3, 1, 9, mode)
    lengths = torch.tensor([6, 4])
    assert torch.autograd.gradcheck(lambda x, scales: pool(x, scales, lengths), (x, scales))


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_max_at_odd_sizes_is_max_pool2d(kernel):
    x = maps(1, 6, 8).relu()
    pool = AdaptiveAnisotropicPool(kernel, kernel, 1, 9, "max")
    pooled = pool(x, torch.ones(1, 2, dtype=torch.float64), torch.tensor([8]))
    torch.testing.assert_close(pooled, functional.max_pool2d(x, kernel, stride=1, padding=kernel // 2))


def test_max_interpolates_between_the_neighbouring_windows():
    x = maps(1, 1, 9).relu()
    narrow = functional.max_pool1d(x[:, :, 0], 3, stride=1, padding=1)
    wide = functional.max_pool1d(x[:, :, 0], 5, stride=1, padding=2)
    # k = 4 · 0.9 = 3.6: r = 1.3, so n = 1 and f = 0.3.
    pool = AdaptiveAnisotropicPool(1, 4, 1, 9, "max")
    pooled = pool(x, torch.tensor([[1.0, 0.9]], dtype=torch.float64), torch.tensor([9]))
    torch.testing.assert_close(pooled[:, :, 0], 0.7 * narrow + 0.3 * wide)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_padding_neither_changes_nor_receives_anything(mode):
    pool = AdaptiveAnisotropicPool(3, 5, 1, 15, mode)
    scales = torch.tensor([[1.1, 1.7]], dtype=torch.float64)
    x = maps(1, 4, 100)
    length = torch.tensor([11])
    short = pool(x[..., :11], scales, length)
    padded = pool(x, scales, length)
    torch.testing.assert_close(padded[..., :11], short)
    assert not padded[..., 11:].any()


def test_sizes_are_clamped_and_still_receive_a_restoring_gradient():
    pool = AdaptiveAnisotropicPool(4, 4, 3, 6)
    scales = torch.tensor([[0.5, 2.0]], requires_grad=True)
    kernels = pool.kernel_sizes(scales)
    assert kernels.tolist() == [[3, 6]]
    (kernels[0, 0] + kernels[0, 1]).backward()
    # Descent lowers both sizes: out of reach for the height, a way back inside for the length.
    assert scales.grad.tolist() == [[0, 4]]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((0, 3, 1, 5), "base_height 0"),
        ((3, 2.5, 1, 5), "base_length 2.5"),
        ((3, 256, 1, 5), "base_length 256"),
        ((3, 3, 0.5, 5), "k_min 0.5"),
        ((3, 3, 5, 4), "k_max 4"),
        ((3, 3, 1, 256), "k_max 256"),
        ((3, 3, 1, 5, "median"), "median"),
    ],
)
def test_impossible_sizes_are_refused(arguments, named):
    with pytest.raises(ShapeError, match=named):
        AdaptiveAnisotropicPool(*arguments)


def test_a_kernel_below_one_is_refused():
    with pytest.raises(ShapeError, match="smaller than 1"):
        fractional_box_pool(maps(1, 3, 3), sizes(1.0), sizes(0.9))


def test_memory_grows_linearly_with_the_length():
    # One matrix over all positions would take 160 GB.
    x = torch.ones(1, 1, 1, 200_000)
    pooled = fractional_box_pool(x, torch.tensor([1.0]), torch.tensor([2.5]))
    torch.testing.assert_close(pooled[0, 0, 0, 1:-1], torch.ones(199_998))
