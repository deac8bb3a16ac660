"""The AKM layer against scipy, torch's convolutions and finite differences."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.nn.utils import prune, spectral_norm

from adakern.models import AKMConv2d, convert
from adakern.models.smoothing import gaussian_smooth, gaussian_taps
from adakern_spec.errors import ShapeError

OUTER = math.exp(-4.5)
"""The tap at distance 3σ against the middle one, whatever σ is."""


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0.0, 0.2, 0.34, 0.5, -0.5, 0.7, 1.1, 1.7, 2.32])
@pytest.mark.parametrize(("height", "length"), [(1, 5), (9, 13), (3, 3)])
def test_smoother_is_scipys_gaussian_filter(sigma, height, length):
    x = maps(2, 3, height, length)
    smoothed = gaussian_smooth(x, scalar(sigma), max_radius=6)
    radius = int(3 * abs(sigma))
    expected = x.numpy()
    if radius:
        sizes = (0, 0, abs(sigma), abs(sigma))
        expected = ndimage.gaussian_filter(expected, sizes, mode="constant", radius=(0, 0, radius, radius))
    np.testing.assert_allclose(smoothed.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.2, 0.5, 0.9, 1.7])
def test_copied_border_is_the_papers_loop(sigma):
    """The listing: along the length, columns radius..L-radius-1 smoothed, the others copied."""
    x = maps(2, 2, 3, 11)
    radius = int(3 * sigma)
    weights = np.array([math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)])
    weights /= weights.sum()
    expected = x.numpy().copy()
    for column in range(radius, 11 - radius):
        window = x.numpy()[..., column - radius : column + radius + 1]
        expected[..., column] = window @ weights
    smoothed = gaussian_smooth(x, scalar(sigma), max_radius=6, border="copy")
    np.testing.assert_allclose(smoothed.numpy(), expected, atol=1e-12)


def test_each_channel_has_its_own_width():
    x, widths = maps(2, 4, 8, 9), torch.tensor([0.0, 0.5, -1.2, 2.0], dtype=torch.float64)
    together = gaussian_smooth(x, widths, max_radius=6)
    for channel, width in enumerate(widths):
        alone = gaussian_smooth(x[:, channel : channel + 1], width, max_radius=6)
        torch.testing.assert_close(together[:, channel : channel + 1], alone)


@pytest.mark.parametrize("border", ["zero", "copy"])
@pytest.mark.parametrize("size", [(8, 9), (7, 7)])
def test_kept_rows_and_columns_are_those_of_the_whole(border, size):
    x, widths = maps(2, 2, *size), torch.tensor([0.7, 1.3], dtype=torch.float64)
    options = {"gate": scalar(0.6), "max_radius": 6, "border": border}
    whole = gaussian_smooth(x, widths, **options)
    torch.testing.assert_close(gaussian_smooth(x, widths, keep_every=2, **options), whole[:, :, ::2, ::2])


@pytest.mark.parametrize("sigma", [0.34, 0.5, 0.9, 2.3, -0.8])
@pytest.mark.parametrize("border", ["zero", "copy"])
@pytest.mark.parametrize("channels", [None, 3])
def test_gradient_is_that_of_finite_differences(sigma, border, channels):
    """Away from a radius change, in r and s and the map, once and twice."""
    layer = AKMConv2d(
        2, 3, 3, padding=1, per_channel=channels is not None, border=border, dtype=torch.float64
    )
    shape = () if channels is None else (channels,)
    r = torch.full(shape, sigma, dtype=torch.float64, requires_grad=True)
    s = torch.full(shape, 0.3, dtype=torch.float64, requires_grad=True)
    x = maps(1, 2, 2, 15).requires_grad_()

    def outputs(r, s, x):
        return functional_call(layer, {"r": r, "s": s}, (x,)).square().sum()

    assert torch.autograd.gradcheck(outputs, (r, s, x), eps=1e-6)
    assert torch.autograd.gradgradcheck(outputs, (r, s, x), eps=1e-6)


@pytest.mark.parametrize("radius", [1, 2, 3, 4, 5, 6])
def test_jump_at_a_radius_change_is_bounded(radius):
    """The two outer taps e/S' that appear are what the others lose: 4e/S' per direction, S' ≥ 1 + 2e."""
    below, above = radius / 3 - 1e-9, radius / 3 + 1e-9
    bound = 4 * OUTER / (1 + 2 * OUTER)
    taps = [gaussian_taps(scalar(sigma), 6) for sigma in (below, above)]
    change = (taps[1] - taps[0]).abs()
    jump = float(2 * change.sum() - change[0])
    assert 0.1 * bound < jump <= bound + 1e-6
    worst = torch.sign(taps[1] - taps[0])
    # The map that suffers most: the sign of the change around one pixel.
    line = torch.cat([worst[1:].flip(0), worst])
    x = (line[:, None] * line).expand(1, 1, -1, -1)
    smoothed = [gaussian_smooth(x, scalar(sigma), max_radius=6) for sigma in (below, above)]
    assert float((smoothed[1] - smoothed[0]).abs().max()) <= 2 * bound + 1e-6


@pytest.mark.parametrize("sigma", [0.0, 1e-30, 0.1, 0.33])
def test_narrow_kernel_is_the_identity_with_a_finite_gradient(sigma):
    layer = AKMConv2d(1, 2, 3, padding=1, sigma=sigma, gate=1.0)
    x = maps(1, 1, 5, 5).float()
    outputs = layer(x)
    plain = functional.conv2d(x, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(outputs, plain * torch.sigmoid(torch.tensor(1.0)))
    outputs.square().sum().backward()
    assert torch.equal(layer.r.grad, torch.zeros(2))
    assert (layer.s.grad > 0).all()


def test_taps_beyond_the_built_radius_are_cut():
    taps = gaussian_taps(scalar(3.0), 4)
    assert taps.shape == (5,)
    assert float(2 * taps.sum() - taps[0]) == pytest.approx(1)
    assert float(taps[4] / taps[0]) == pytest.approx(math.exp(-8 / 9))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"stride": (2, 1), "padding": (2, 0)},
        {"padding": "same", "dilation": 2},
        {"groups": 2, "bias": False, "padding": 1},
        {"padding": 1, "padding_mode": "circular"},
        {"padding": 1, "padding_mode": "reflect"},
    ],
)
def test_convolution_is_torchs_for_every_argument(options):
    torch.manual_seed(1)
    plain = nn.Conv2d(4, 6, 3, **options)
    layer = AKMConv2d(4, 6, 3, sigma=0.8, gate=-0.5, **options)
    layer.load_state_dict(plain.state_dict(), strict=False)
    x = maps(2, 4, 9, 10).float()
    expected = gaussian_smooth(plain(x), torch.tensor(0.8), max_radius=6) * torch.sigmoid(torch.tensor(-0.5))
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x[0]), expected[0])


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("border", ["zero", "copy"])
def test_vmap_over_tasks_is_the_loop_over_tasks(per_channel, border):
    """Radii that differ from task to task and channel to channel in one call."""
    torch.manual_seed(2)
    layer = AKMConv2d(2, 3, 3, padding=1, per_channel=per_channel, border=border).double()
    tasks = 4
    batched = {
        name: value.detach() + 0.4 * maps(tasks, *value.shape, seed=index)
        for index, (name, value) in enumerate(layer.named_parameters())
    }
    x = maps(tasks, 5, 2, 6, 7)

    def loss(parameters, x):
        return functional_call(layer, parameters, (x,)).square().mean()

    together = vmap(grad(loss))(batched, x)
    for task in range(tasks):
        alone = {name: value[task].clone().requires_grad_() for name, value in batched.items()}
        loss(alone, x[task]).backward()
        for name, value in alone.items():
            torch.testing.assert_close(together[name][task], value.grad)


def test_start_trains_where_the_listings_does_not():
    """A sharp target through four layers: r, s and weights all learn, and the error falls."""
    torch.manual_seed(3)
    network = nn.Sequential(
        *(nn.Sequential(AKMConv2d(c, 8, 3, padding=1), nn.ReLU()) for c in (1, 8, 8)),
        AKMConv2d(8, 1, 3, padding=1),
    )
    x = maps(8, 1, 12, 12).float()
    target = x - functional.avg_pool2d(x, 3, stride=1, padding=1)
    first = functional.mse_loss(network(x), target)
    first.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0, name
        assert (network.get_parameter(name).grad.abs() > 0).float().mean() > 0.5, name
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    start = [
        parameter.detach().clone() for name, parameter in network.named_parameters() if name[-2:] == ".r"
    ]
    for _ in range(150):
        optimiser.zero_grad()
        loss = functional.mse_loss(network(x), target)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.2 * float(first.detach())
    widths = [parameter for name, parameter in network.named_parameters() if name[-2:] == ".r"]
    assert all((before - after).abs().max() > 0.02 for before, after in zip(start, widths, strict=True))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1, dilation=1, groups=1, padding_mode="circular")
        self.again = self.first
        self.blocks = nn.ModuleDict({"deep": nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, groups=2))})
        self.plain = nn.Linear(4, 2)


def test_convert_keeps_weights_and_all_else():
    module = Shared().eval()
    weights = dict(module.named_parameters())
    x = maps(2, 3, 8, 8).float()
    expected = module.blocks["deep"](module.first(x))
    converted = convert(module, sigma=0.0, gate=50.0, per_channel=False)
    assert converted is module
    assert isinstance(module.first, AKMConv2d)
    assert module.again is module.first
    assert isinstance(module.blocks["deep"][1], AKMConv2d)
    assert not module.first.training
    for name, parameter in weights.items():
        assert module.get_parameter(name) is parameter
    assert {name for name, _ in module.named_parameters()} - weights.keys() == {
        f"{layer}.{kind}" for layer in ("first", "blocks.deep.1") for kind in "rs"
    }
    torch.testing.assert_close(module.blocks["deep"](module.first(x)), expected)
    assert convert(module).first.per_channel is False  # converted once


def test_convert_keeps_hooks_masks_and_parametrised_weights():
    """What hangs on a convolution goes on working, and what refers to it refers to the AKM layer."""
    pruned = prune.l1_unstructured(nn.Conv2d(2, 4, 3), "weight", 0.5)
    normed = spectral_norm(nn.Conv2d(4, 3, 3))
    module = nn.Sequential(pruned, normed).eval()
    calls = []
    pruned.register_forward_hook(lambda *_: calls.append("hook"))
    x = maps(2, 2, 8, 8).float()
    expected = module(x)
    convert(module, sigma=0.0, gate=50.0)
    assert module[0] is pruned
    assert isinstance(pruned, AKMConv2d)
    calls.clear()
    torch.testing.assert_close(module(x), expected)
    assert calls == ["hook"]
    module(x).sum().backward()
    assert not pruned.weight_orig.grad[pruned.weight_mask == 0].any()
    assert pruned.s.grad.shape == (4,)


def test_convert_with_bad_options_changes_nothing():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3))
    for options in ({"border": "mirror"}, {"padding": 1}):
        with pytest.raises(ShapeError):
            convert(module, **options)
    assert [type(layer) for layer in module] == [nn.Conv2d, nn.Conv2d]


def test_convert_returns_a_bare_convolution_converted():
    layer = convert(nn.Conv2d(2, 3, 3, dtype=torch.float64), border="copy")
    assert isinstance(layer, AKMConv2d)
    assert layer.border == "copy"
    assert layer.r.dtype == torch.float64


@pytest.mark.parametrize(
    "options", [{"border": "mirror"}, {"max_radius": -1}, {"sigma": math.nan}, {"gate": math.inf}]
)
def test_bad_arguments_are_refused(options):
    with pytest.raises(ShapeError):
        AKMConv2d(1, 1, 3, **options)


def test_flat_maps_are_refused():
    with pytest.raises(ShapeError, match=r"\[B, C, H, L\]"):
        gaussian_smooth(maps(3, 4), scalar(0.5), max_radius=1)
