"""Quantised kernel modulation networks: as close to the float network as the report says."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from adakern.artifact import load, quantise_maps, save
from adakern.kernels import ONE, largest_sigma
from adakern.models import AkmNetwork, AkmNetworkConfig
from adakern.models.restore import float_model
from adakern.quantize import Calibration, quantise
from adakern.quantize.akm_layers import float_layers
from adakern.reference.akm import AkmReference
from adakern.report.quantisation import QuantisationReport
from adakern_spec.akm import AkmLayer, AkmShape, Downsample
from adakern_spec.errors import InputError, ShapeError

CONFIG = {"channels": (1, 6, 8, 8), "height": 14, "length": 12, "downsample": ("stride2", "max2", "none")}


def network(seed: int = 0, **changes: object) -> AkmNetwork:
    """Random weights, widths up to the built radius, gates around 0.9."""
    torch.manual_seed(seed)
    made = AkmNetwork(AkmNetworkConfig(**{**CONFIG, "max_radius": 4, **changes}))
    with torch.no_grad():
        for conv in made.convs:
            conv.bias.normal_(0, 0.1)
            if hasattr(conv, "r"):
                conv.r.uniform_(-1.6, 1.6)
                conv.s.normal_(2, 1)
        made.classifier.bias.normal_(0, 0.1)
    return made.eval()


def images(count: int, seed: int = 1, signed: bool = False, channels: int = 1) -> torch.Tensor:
    """Smooth blobs from 0 to 1, or from -1 to 1."""
    noise = torch.rand(count, channels, 16, 14, generator=torch.Generator().manual_seed(seed))
    blobs = functional.avg_pool2d(noise, 3, 1)
    return 4 * (blobs - 0.5) if signed else ((blobs - 0.3) * 2.5).clamp(0, 1)


def calibration(maps: torch.Tensor) -> Calibration:
    return Calibration(maps, torch.full((len(maps),), maps.shape[3]))


def answers(artifact, maps: torch.Tensor) -> np.ndarray:
    integers = quantise_maps(maps.numpy(), artifact.input_format)
    return AkmReference(artifact.parameters).run(list(integers)).logits * 2.0 ** -artifact.fractions[-1]


VARIANTS = [
    {},
    {"per_channel": False},
    {"border": "copy"},
    {"modulated": False},
    {"kernel": 5, "channels": (2, 4, 3, 6)},
]
variants = pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: " ".join(changes) or "default")


@variants
def test_layers_taken_apart_are_the_networks(changes):
    net = network(**changes)
    x = images(3, channels=net.config.channels[0])
    layers, logits = float_layers(net, x)
    assert torch.allclose(logits, net(x), atol=1e-6)
    assert [tuple(layer.output.shape[2:]) for layer in layers] == list(net.config.sizes[1:])


@variants
@pytest.mark.parametrize("signed", [False, True])
def test_integers_follow_the_float_network_on_other_images(changes, signed):
    net = network(**changes)
    channels = net.config.channels[0]
    artifact = quantise(net, calibration(images(40, signed=signed, channels=channels)))
    x = images(60, seed=9, signed=signed, channels=channels)
    exact = net(x).detach().numpy()
    off = np.abs(answers(artifact, x) - exact)
    assert off.mean() < 0.01 * np.abs(exact).max()
    assert off.mean() < 2 * artifact.report["logit_error_mean"]


def test_the_report_tells_the_error_of_the_logits():
    net, maps = network(), images(40)
    artifact = quantise(net, calibration(maps))
    report = QuantisationReport.from_json(artifact.report)
    with torch.no_grad():
        exact = copy.deepcopy(net).double()(maps.double()).numpy()
    off = np.abs(answers(artifact, maps) - exact)
    assert artifact.report["logit_error_max"] == pytest.approx(off.max())
    assert artifact.report["logit_error_mean"] == pytest.approx(off.mean())
    assert [layer.name for layer in report.layers] == ["input", "layer 0", "layer 1", "layer 2", "logit"]
    assert math.isclose(sum(report.shares), 1)
    # Each layer alone was measured: together they cannot be far from what all of them do.
    assert min(report.shares) < 0.5


def test_biases_are_corrected():
    """The mean of every logit, and of every channel that is ever active, comes near the float network's."""
    net, maps = network(3), images(80)
    artifact = quantise(net, calibration(maps))
    off = (answers(artifact, maps) - net(maps).detach().numpy()).mean(axis=0)
    assert np.abs(off).max() <= 2.0 ** -artifact.fractions[-1]
    layers, _ = float_layers(net, maps)
    integers = quantise_maps(maps.numpy(), artifact.input_format)
    traced = AkmReference(artifact.parameters).run(list(integers), trace=True).layers
    for index, layer in enumerate(layers):
        step = 2.0 ** -artifact.fractions[index + 1]
        mine = np.concatenate([layers[index].smoothed for layers in traced]).mean(axis=(0, 2, 3)) * step
        theirs = layer.smoothed.mean(dim=(0, 2, 3)).detach().numpy()
        assert np.abs(mine - theirs).max() < step / 4


@pytest.mark.parametrize("peak", [0.3, 0.51, 0.6, 0.8, 1.0])
def test_a_channel_below_its_formats_unit_stays_weak(peak):
    """The layer's other channels set the format; ``peak`` is the channel's highest value in its units."""
    net, maps, weak = network(), images(80), 2
    unit = 2.0 ** -quantise(net, calibration(maps)).fractions[2]
    with torch.no_grad():
        net.convs[1].r[weak], net.convs[1].s[weak] = 0, 9
        factor = peak * unit / float(float_layers(net, maps)[0][1].smoothed[:, weak].max())
        net.convs[1].weight[weak] *= factor
        net.convs[1].bias[weak] *= factor
    artifact = quantise(net, calibration(maps))
    assert artifact.fractions[2] == -math.log2(unit)
    integers = quantise_maps(maps.numpy(), artifact.input_format)
    traced = AkmReference(artifact.parameters).run(list(integers), trace=True).layers
    assert max(layers[1].smoothed[:, weak].mean() for layers in traced) < 1


def test_shape_formats_and_float_parameters(tmp_path):
    net = network(per_channel=False)
    artifact = quantise(net, calibration(images(8)), weight_bits=4, max_length=99)
    layers = (AkmLayer(6, 3, Downsample.STRIDE2), AkmLayer(8, 3, Downsample.MAX2), AkmLayer(8))
    assert artifact.shape == AkmShape(
        1, 14, layers, 5, radius=4, per_channel=False, weight_bits=4, input_signed=False, max_length=99
    )
    assert max(np.abs(weights).max() for weights in artifact.parameters.weights) <= 8
    save(tmp_path / "model.safetensors", artifact)
    again = float_model(load(tmp_path / "model.safetensors"))
    x = images(4, seed=5)
    assert torch.equal(again(x), net(x))


def test_adapted_networks_widen_the_formats():
    net = network(modulated=True)
    with torch.no_grad():
        for conv in net.convs:
            conv.s.fill_(-2)
    wide = copy.deepcopy(net)
    with torch.no_grad():
        for conv in wide.convs:
            conv.s.fill_(6)
    maps = calibration(images(20))
    narrow, widened = quantise(net, maps), quantise(net, maps, adapted=[wide])
    assert widened.fractions[0] == narrow.fractions[0]
    assert widened.fractions[-2] < narrow.fractions[-2]


def test_a_sigma_that_does_not_fit_is_refused_or_clipped():
    net = network()
    with torch.no_grad():
        net.convs[1].r[3] = -1.7
    with pytest.raises(InputError, match=r"layer 1, channel 3: sigma 1\.7000 .* up to 1\.6666"):
        quantise(net, calibration(images(4)))
    clipped = quantise(net, calibration(images(4)), clip_sigma=True)
    with torch.no_grad():
        net.convs[1].r[3] = largest_sigma(4)
    assert clipped.parameters == quantise(net, calibration(images(4))).parameters


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("convs.1.r", InputError, "layer 1, channel 2: r is not finite"),
        ("convs.0.s", InputError, "layer 0, channel 2: s is not finite"),
        ("convs.2.weight", ShapeError, r"convs\.2\.weight: non-finite"),
    ],
)
def test_what_is_not_finite_is_refused(name, error, message):
    net = network()
    with torch.no_grad():
        dict(net.named_parameters())[name][2] = math.nan
    with pytest.raises(error, match=message):
        quantise(net, calibration(images(4)))


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"images of shape \(2, 3, 14, 12\)"):
        quantise(network(), calibration(images(2, channels=3)))
    with pytest.raises(InputError, match="hardware for 11 columns; give 12 or more"):
        quantise(network(), calibration(images(2)), max_length=11)
    with pytest.raises(InputError, match="use ptq"):
        quantise(network(), calibration(images(2)), method="qat")


def test_a_plain_network_has_kernels_that_change_nothing():
    artifact = quantise(network(modulated=False), calibration(images(4)))
    for length, height in zip(artifact.parameters.length_taps, artifact.parameters.height_taps, strict=True):
        assert length[:, 0].tolist() == height[:, 0].tolist() == [ONE]
        assert not length[:, 1:].any()


def test_progress_counts_its_steps():
    told = []
    quantise(network(), calibration(images(4)), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
