"""The fractional box pool against exact rationals and torch."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adakern.reference.pool import fractional_box_pool
from adakern_spec.errors import InputError


def weight(kernel: Fraction, distance: int) -> Fraction:
    """1 inside the radius r = (k − 1)/2, falling to 0 over the next pixel."""
    return min(Fraction(1), max(Fraction(0), (kernel - 1) / 2 + 1 - abs(distance)))


def rational_pool(x: np.ndarray, kernel_height: int, kernel_length: int, length: int) -> np.ndarray:
    """One sample [C, H, L], pixel by pixel."""
    kh, kl = Fraction(kernel_height, 256), Fraction(kernel_length, 256)
    channels, height, _ = x.shape
    y = np.zeros(x.shape, np.int64)
    for h in range(height):
        for p in range(length):
            rows = [weight(kh, h - i) for i in range(height)]
            columns = [weight(kl, p - j) for j in range(length)]
            for c in range(channels):
                total = sum(
                    rows[i] * columns[j] * int(x[c, i, j]) for i in range(height) for j in range(length)
                )
                y[c, h, p] = math.floor(total / (kh * kl) + Fraction(1, 2))
    return y


sizes = st.one_of(
    st.sampled_from([256, 257, 511, 512, 767, 768, 769, 1280, 65535]),
    st.integers(256, 2600),
    st.integers(256, 65535),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(sizes, sizes), min_size=1, max_size=3),
    st.integers(1, 5),
    st.integers(1, 6),
    st.sampled_from([np.uint8, np.int8, np.int64]),
    st.integers(0, 2**32),
)
def test_equals_the_rational_average_rounded_half_up(kernels, height, positions, dtype, seed):
    rng = np.random.default_rng(seed)
    low, high = (-128, 128) if dtype != np.uint8 else (0, 256)
    x = rng.integers(low, high, (len(kernels), 2, height, positions)).astype(dtype)
    lengths = rng.integers(1, positions + 1, len(kernels))
    kh, kl = np.array(kernels).T
    y = fractional_box_pool(x, kh, kl, lengths)
    for sample, (k_height, k_length), length, answer in zip(x, kernels, lengths, y, strict=True):
        assert np.array_equal(answer, rational_pool(sample, k_height, k_length, int(length)))


@pytest.mark.parametrize("kernel_height", [1, 3, 5, 15])
@pytest.mark.parametrize("kernel_length", [1, 3, 7, 255])
def test_equals_avg_pool2d_at_odd_integers(kernel_height, kernel_length):
    """No average over an odd count lies at a half, so rounding the float is exact."""
    rng = np.random.default_rng(kernel_length)
    x = rng.integers(0, 256, (2, 3, 16, 40), dtype=np.uint8)
    padding = (kernel_height // 2, kernel_length // 2)
    average = torch.nn.functional.avg_pool2d(
        torch.from_numpy(x).double(), (kernel_height, kernel_length), stride=1, padding=padding
    )
    kernels = np.full((2, 2), [kernel_height << 8, kernel_length << 8])
    y = fractional_box_pool(x, kernels[:, 0], kernels[:, 1])
    assert np.array_equal(y, torch.floor(average + 0.5).numpy())


def test_halves_round_up():
    """A kernel of 2 weighs 1/2, 1, 1/2: beside a lone value v the average is v/4."""
    x = np.array([[[[0, 2, 0]]], [[[0, 6, 0]]], [[[0, -2, 0]]], [[[0, -6, 0]]]])
    y = fractional_box_pool(x, np.full(4, 256), np.full(4, 512))
    assert y[:, 0, 0].tolist() == [[1, 1, 1], [2, 3, 2], [0, -1, 0], [-1, -3, -1]]


def test_every_sample_has_a_kernel_of_its_own():
    rng = np.random.default_rng(4)
    x = rng.integers(0, 256, (5, 2, 6, 9), dtype=np.uint8)
    kh, kl = rng.integers(256, 2000, (2, 5))
    together = fractional_box_pool(x, kh, kl)
    for index in range(5):
        alone = fractional_box_pool(x[index : index + 1], kh[index : index + 1], kl[index : index + 1])
        assert np.array_equal(together[index], alone[0])


def test_padding_and_what_it_holds_change_nothing():
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (3, 2, 6, 9), dtype=np.uint8)
    lengths, kh, kl = np.array([9, 4, 1]), np.array([300, 700, 999]), np.array([2000, 1100, 600])
    y = fractional_box_pool(x, kh, kl, lengths)
    longer = rng.integers(0, 256, (3, 2, 6, 20), dtype=np.uint8)
    for index, length in enumerate(lengths):
        longer[index, :, :, :length] = x[index, :, :, :length]
    padded = fractional_box_pool(longer, kh, kl, lengths)
    assert np.array_equal(padded[..., :9], y)
    assert not padded[..., 9:].any()


def test_largest_kernel_and_values_do_not_overflow():
    """U = 255·D at its largest: a map that fills the kernel of 255.996."""
    x = np.full((1, 1, 300, 300), 255, np.uint8)
    y = fractional_box_pool(x, np.array([65535]), np.array([65535]))
    assert y.max() == y[0, 0, 150, 150] == 255
    assert y[0, 0, 0, 0] == math.floor(255 * (Fraction(65535 + 256, 2 * 65535)) ** 2 + Fraction(1, 2))


X = np.zeros((2, 1, 3, 3), np.uint8)
K = np.array([300, 300])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X.astype(float), K, K), "float64 of shape"),
        ((X[0], K, K), "uint8 of shape (1, 3, 3)"),
        ((X, K[:1], K), "kernel sizes [300]; give 2"),
        ((X, K, np.array([300, 255])), "kernel sizes [300, 255]"),
        ((X, np.array([65536, 300]), K), "kernel sizes [65536, 300]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses_what_does_not_fit(arguments, message):
    with pytest.raises(InputError) as caught:
        fractional_box_pool(*arguments)
    assert message in str(caught.value)
