"""Taps of the smoother: against scipy's, their exact sums, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from adakern.kernels import ONE, Border, Kernels, gates_of, gaussian, largest_sigma, sigmas_of
from adakern_spec.errors import InputError

RADIUS = 6


def both_sides(taps: np.ndarray) -> np.ndarray:
    return np.concatenate([taps[:0:-1], taps])


@given(st.floats(1 / 3, largest_sigma(RADIUS)))
def test_taps_are_those_of_scipy(sigma: float) -> None:
    impulse = np.zeros(2 * RADIUS + 1)
    impulse[RADIUS] = 1
    wanted = gaussian_filter1d(impulse, sigma, radius=int(3 * sigma), mode="constant")
    assert np.allclose(both_sides(gaussian(sigma, RADIUS)), wanted, rtol=0, atol=1e-15)


@given(st.floats(0, largest_sigma(RADIUS)), st.floats(0, 1), st.sampled_from(Border))
def test_integer_taps_sum_to_exactly_one_and_to_the_gate(sigma: float, gate: float, border: Border) -> None:
    kernels = Kernels.of(sigma, gate, RADIUS, border)
    (length,), (height,) = kernels.length, kernels.height
    total = math.floor(gate * ONE + 0.5)
    assert both_sides(length).sum() == ONE
    assert both_sides(height).sum() == total
    assert length.min() >= 0
    assert height.min() >= 0
    exact = gaussian(sigma, RADIUS)
    assert np.abs(length - exact * ONE)[1:].max() < 1
    assert abs(length[0] - exact[0] * ONE) < 2
    reach = int(3 * sigma)
    if border is Border.COPY:
        assert height.tolist() == [total] + [0] * RADIUS
        # At radius 0 the smoother is the identity: one column tells the mode and changes nothing.
        assert kernels.border.tolist() == [max(1, reach)]
    else:
        assert np.abs(height - exact * total)[1:].max() < 1
        assert kernels.border.tolist() == [0]
    assert not length[reach + 1 :].any()


@pytest.mark.parametrize("sigma", [0, 0.1, 0.3333])
def test_below_a_third_the_smoother_is_the_identity(sigma: float) -> None:
    kernels = Kernels.of(sigma, 1, RADIUS)
    assert kernels.length.tolist() == kernels.height.tolist() == [[ONE] + [0] * RADIUS]


@pytest.mark.parametrize("radius", range(1, 12))
def test_the_largest_sigma_fits_and_the_next_does_not(radius: int) -> None:
    sigma = largest_sigma(radius)
    assert int(3 * sigma) == radius
    assert int(3 * math.nextafter(sigma, math.inf)) == radius + 1
    assert Kernels.of(sigma, 1, radius).length[0, -1] > 0
    assert sigmas_of([-100, 0.5], radius, clip=True).tolist() == [sigma, 0.5]


@pytest.mark.parametrize(("radius", "fitting"), [(6, "2.3333"), (5, "1.9999"), (2, "0.9999")])
def test_a_sigma_above_the_radius_names_the_largest_that_fits(radius: int, fitting: str) -> None:
    with pytest.raises(InputError, match=rf"layer 2, channel 1: sigma 2\.5000 .* use \|r\| up to {fitting} "):
        Kernels.of([0.5, 2.5], [1, 1], radius, where="layer 2")
    assert int(3 * float(fitting)) == radius


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="layer 1, channel 2: r is not finite"):
        sigmas_of([0, 1, value], RADIUS, clip=True, where="layer 1")
    with pytest.raises(InputError, match="layer 1, channel 0: s is not finite"):
        gates_of([value, 1], where="layer 1")
    with pytest.raises(InputError, match="sigma"):
        Kernels.of(value, 1, RADIUS)


def test_gates_are_sigmoids() -> None:
    assert np.allclose(
        gates_of([-800, -2, 0, 2, 800]), [0, 1 / (1 + math.e**2), 0.5, 1 / (1 + math.e**-2), 1]
    )
    with pytest.raises(InputError, match=r"gate \[1.5\]"):
        Kernels.of(1, 1.5, RADIUS)
