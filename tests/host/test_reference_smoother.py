"""The smoother in integers: within one LSB of float64 everywhere, and exact against torch's sums."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate1d

from adakern.akm_parameters import AkmParameters
from adakern.kernels import Border, Kernels, gaussian, largest_sigma
from adakern.reference.smoother import smooth
from adakern_spec.akm import AkmLayer, AkmShape
from adakern_spec.errors import InputError

RADIUS = 6
GATES = (1.0, 0.88, 0.5, 0.03)
SIGMAS = np.linspace(0, largest_sigma(RADIUS), 141)


def cases(height: int, length: int) -> np.ndarray:
    """Random maps and the worst ones: one sign throughout, checkerboard, stripes, single pixels."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((height, length))
    patterns = [(rows + columns) % 2, columns % 2, rows % 2, columns % 5 == 0, rows % 3 == 0]
    maps = [np.where(pattern, 127, -128) for pattern in patterns]
    maps += [np.full((height, length), value) for value in (-128, 127, 1)]
    maps += [np.where((rows == height // 2) & (columns == at), 127, 0) for at in (0, length // 2)]
    maps += list(rng.integers(-128, 128, (4, height, length)))
    maps += list(rng.choice([-128, 127], (4, height, length)))
    return np.array(maps, np.int8)


def in_float64(x: np.ndarray, sigma: float, gate: float, border: Border) -> np.ndarray:
    taps = gaussian(sigma, RADIUS)
    weights = np.concatenate([taps[:0:-1], taps])
    values = x.astype(np.float64)
    smoothed = correlate1d(values, weights, axis=2, mode="constant")
    if border is Border.ZERO:
        return gate * correlate1d(smoothed, weights, axis=1, mode="constant")
    if edge := int(3 * sigma):
        smoothed[:, :, :edge], smoothed[:, :, -edge:] = values[:, :, :edge], values[:, :, -edge:]
    return gate * smoothed


@pytest.mark.parametrize("border", Border)
def test_never_more_than_one_lsb_from_float64(border: Border) -> None:
    """Every sigma of a grid up to the radius, several gates, random and extreme maps."""
    x = cases(13, 21)
    worst = 0.0
    for sigma in SIGMAS:
        for gate in GATES:
            y = smooth(x[:, None], Kernels.of(sigma, gate, RADIUS, border))[:, 0]
            exact = np.clip(in_float64(x, sigma, gate, border), 0, 255)
            worst = max(worst, np.abs(y - exact).max())
    assert 0.5 <= worst < 1


def test_rounding_between_the_passes_adds_at_most_a_256th_of_an_lsb() -> None:
    """With the taps as they are: half an LSB at the end, half a 2^-7 in front of taps that sum to one.

    In integers of 2^-30: nothing but the two roundings is left, which float64's own taps would hide.
    """
    x = cases(13, 21)
    for sigma in SIGMAS:
        kernels = Kernels.of(sigma, 1, RADIUS)
        length, height = (np.concatenate([t[0, :0:-1], t[0]]) for t in (kernels.length, kernels.height))
        across = correlate1d(x.astype(np.int64), length, axis=2, mode="constant")
        exact = correlate1d(across, height, axis=1, mode="constant")
        y = smooth(x[:, None], kernels)[:, 0].astype(np.int64)
        assert np.abs((y << 30) - np.maximum(exact, 0)).max() <= (1 << 29) + (1 << 22)


@st.composite
def smoothings(draw):
    """Maps of any size, kernels at the limits or not, one for all channels or one each."""
    radius, channels = draw(st.integers(1, 7)), draw(st.integers(1, 3))
    shape = AkmShape(1, 8, (AkmLayer(channels),), 2, radius=radius, per_channel=draw(st.booleans()))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = (draw(st.integers(1, 3)), channels, draw(st.integers(1, 9)), draw(st.integers(1, 20)))
    x = rng.choice([-128, 127], size) if draw(st.booleans()) else rng.integers(-128, 128, size)
    parameters = AkmParameters.random(shape, rng, extreme=draw(st.booleans()))
    return x.astype(np.int8), parameters.kernels(0)


@settings(max_examples=200, deadline=None)
@given(smoothings())
def test_equals_torch_on_every_bit(case) -> None:
    """Depthwise convolutions in float64, whose sums stay far below 2^53; floor((2v + 2^s) / 2^(s+1))."""
    x, kernels = case
    channels = x.shape[1]
    radius = kernels.length.shape[1] - 1

    def sums(values: np.ndarray, taps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        both = np.broadcast_to(np.concatenate([taps[:, :0:-1], taps], axis=1), (channels, 2 * radius + 1))
        weights = torch.tensor(np.array(both, np.float64)).reshape(channels, 1, *size)
        padding = (size[0] // 2, size[1] // 2)
        wide = torch.tensor(values.astype(np.float64))
        result = torch.nn.functional.conv2d(wide, weights, padding=padding, groups=channels)
        return result.numpy().astype(np.int64)

    u = (2 * sums(x, kernels.length, (1, 2 * radius + 1)) + (1 << 8)) // (2 << 8)
    for channel in range(channels):
        border = int(np.broadcast_to(kernels.border, channels)[channel])
        for column in range(x.shape[3]):
            if column < border or column >= x.shape[3] - border:
                u[:, channel, :, column] = x[:, channel, :, column].astype(np.int64) * 128
    v = sums(u, kernels.height, (2 * radius + 1, 1))
    assert np.array_equal(smooth(x, kernels), np.clip((2 * v + (1 << 22)) // (2 << 22), 0, 255))


def test_refuses_what_is_no_signed_map() -> None:
    kernels = Kernels.of([1, 1], 1, RADIUS)
    with pytest.raises(InputError, match="smoother: uint8 of shape"):
        smooth(np.zeros((1, 2, 3, 4), np.uint8), kernels)
    with pytest.raises(InputError, match=r"kernels of 2 channels; give 1 or 3"):
        smooth(np.zeros((1, 3, 3, 4), np.int8), kernels)
