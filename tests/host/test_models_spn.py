"""The scale prediction network: its formula, its padding, its clamp, its start."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from adakern.models.clamping import restoring_clamp
from adakern.models.spn import ScalePredictionNetwork
from adakern_spec.errors import ShapeError


def network(seed=0, **options):
    torch.manual_seed(seed)
    return ScalePredictionNetwork(**options)


def test_scales_follow_the_formula():
    spn = network(channels=(3, 4, 2))
    x = torch.rand(2, 3, 5, 7)
    y = x
    for conv in spn.convs:
        y = functional.conv2d(y, conv.weight, conv.bias, padding=1).relu()
    with torch.no_grad():
        spn.gain.copy_(torch.tensor([2.0, -3.0]))
    expected = (y.mean(dim=(2, 3)) * torch.tensor([2.0, -3.0]) + 1).clamp(0.5, 2)
    torch.testing.assert_close(spn(x, torch.tensor([7, 7])), expected)


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 9), padding=st.integers(0, 9), rubbish=st.booleans())
def test_a_map_gives_the_same_scales_at_every_padding(length, padding, rubbish):
    spn = network()
    x = torch.rand(1, 8, 6, length)
    tail = torch.rand(1, 8, 6, padding) if rubbish else torch.zeros(1, 8, 6, padding)
    alone = spn(x, torch.tensor([length]))
    padded = spn(torch.cat([x, tail], dim=3), torch.tensor([length]))
    torch.testing.assert_close(padded, alone)


def test_a_shared_scale_serves_both_directions():
    spn = network(shared_scale=True)
    scales = spn(torch.rand(3, 8, 4, 6), torch.tensor([6, 5, 1]))
    assert spn.channels == (8, 8, 8, 1)
    assert scales.shape == (3, 2)
    assert torch.equal(scales[:, 0], scales[:, 1])


def test_scales_stay_in_range():
    spn = network()
    with torch.no_grad():
        spn.gain.copy_(torch.tensor([1e3, -1e3]))
    scales = spn(torch.rand(2, 8, 4, 6), torch.tensor([6, 6]))
    assert scales.tolist() == [[2.0, 0.5], [2.0, 0.5]]


def test_the_clamp_blocks_only_the_gradient_that_leads_outwards():
    value = torch.tensor([0.2, 0.2, 1.0, 1.0, 3.0, 3.0], requires_grad=True)
    clamped = restoring_clamp(value, 0.5, 2.0)
    clamped.backward(torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]))
    assert clamped.tolist() == [0.5, 0.5, 1.0, 1.0, 2.0, 2.0]
    assert value.grad.tolist() == [0, -1, 1, -1, 1, 0]


@pytest.mark.parametrize("start", [-4.0, 6.0])
def test_a_saturated_scale_returns_by_descent(start):
    spn = network()
    with torch.no_grad():
        spn.offset.fill_(start)
    x, lengths = torch.rand(4, 8, 4, 6), torch.full((4,), 6)
    optimiser = torch.optim.SGD(spn.parameters(), lr=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        (spn(x, lengths) - 1.2).square().sum().backward()
        optimiser.step()
    torch.testing.assert_close(spn(x, lengths), torch.full((4, 2), 1.2), atol=0.02, rtol=0)


def test_centring_starts_scales_around_one_that_differ_between_maps():
    spn = network()
    x = torch.rand(64, 8, 6, 20) * torch.linspace(0.2, 1, 64)[:, None, None, None]
    lengths = torch.randint(5, 21, (64,))
    spn.centre(x, lengths, spread=0.1)
    scales = spn(x, lengths)
    torch.testing.assert_close(scales.mean(dim=0), torch.ones(2))
    torch.testing.assert_close(scales.std(dim=0), torch.full((2,), 0.1))
    assert (spn.offset >= 0).all()


def test_centring_never_asks_for_a_negative_offset():
    spn = network()
    x = torch.rand(16, 8, 6, 20)
    spn.centre(x, torch.full((16,), 20), spread=100.0)
    assert (spn.offset >= 0).all()
    torch.testing.assert_close(spn(x, torch.full((16,), 20)).mean(dim=0), torch.ones(2), atol=0.05, rtol=0)


@pytest.mark.parametrize("count", [1, 3])
def test_centring_on_maps_that_do_not_differ_stays_finite(count):
    spn = network()
    x, lengths = torch.rand(1, 8, 6, 20).expand(count, -1, -1, -1), torch.full((count,), 20)
    spn.centre(x, lengths)
    assert all(values.isfinite().all() for values in spn.parameters())
    torch.testing.assert_close(spn(x, lengths), torch.ones(count, 2))


def test_regularisation_sums_the_conv_weights():
    spn = network(channels=(2, 3, 2))
    weights = torch.cat([conv.weight.detach().flatten() for conv in spn.convs]).double()
    assert spn.regularisation("l1").item() == pytest.approx(float(weights.abs().sum()), rel=1e-5)
    assert spn.regularisation("l2").item() == pytest.approx(float((weights**2).sum()), rel=1e-5)


@pytest.mark.parametrize(
    "options", [{"kernel": 2}, {"channels": (8,)}, {"channels": (0, 2)}, {"channels": (8, 5)}]
)
def test_shapes_that_no_hardware_has_are_refused(options):
    with pytest.raises(ShapeError):
        ScalePredictionNetwork(**options)


@pytest.mark.parametrize(
    ("shape", "lengths"),
    [((1, 7, 4, 6), [6]), ((8, 4, 6), [6]), ((1, 8, 4, 6), [0]), ((1, 8, 4, 6), [7]), ((1, 8, 4, 6), [])],
)
def test_unfit_maps_and_lengths_are_refused(shape, lengths):
    with pytest.raises(ShapeError):
        network()(torch.zeros(shape), torch.tensor(lengths, dtype=torch.int64))
