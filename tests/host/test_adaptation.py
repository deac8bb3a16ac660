"""An adaptation in integers against the adapted float network."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from adakern.adaptation import adapt, round_classifier
from adakern.artifact import quantise_maps
from adakern.kernel_update import KernelUpdate
from adakern.kernels import largest_sigma
from adakern.models import AkmNetwork, AkmNetworkConfig
from adakern.models.restore import float_model
from adakern.quantize import Calibration, quantise
from adakern.reference.akm import AkmReference
from adakern_spec.akm import kernel_offset
from adakern_spec.errors import InputError

CONFIG = AkmNetworkConfig(
    channels=(1, 6, 8, 8), height=14, length=12, downsample=("stride2", "max2", "none"), max_radius=3
)


def images(count: int, seed: int) -> torch.Tensor:
    noise = torch.rand(count, 1, 16, 14, generator=torch.Generator().manual_seed(seed))
    return ((torch.nn.functional.avg_pool2d(noise, 3, 1) - 0.3) * 2.5).clamp(0, 1)


@pytest.fixture(scope="module")
def network() -> AkmNetwork:
    torch.manual_seed(0)
    return AkmNetwork(CONFIG).eval()


@pytest.fixture(scope="module")
def artifact(network):
    maps = images(40, 1)
    return quantise(network, Calibration(maps, torch.full((len(maps),), 12)))


def changed(network: AkmNetwork, head: bool, seed: int = 3) -> tuple[AkmNetwork, KernelUpdate]:
    """The network with other r and s, and another classifier if wanted, and the update to it."""
    other = copy.deepcopy(network)
    torch.manual_seed(seed)
    with torch.no_grad():
        for conv in other.convs:
            conv.r.uniform_(-1.3, 1.3)
            conv.s.normal_(2, 1)
        if head:
            other.classifier.weight.normal_(0, 5)
            other.classifier.bias.normal_(0, 3)
    update = dataclasses.replace(KernelUpdate.of(other, head), network="")
    return other, update


def logits(artifact, maps: torch.Tensor) -> np.ndarray:
    integers = quantise_maps(maps.numpy(), artifact.input_format)
    return AkmReference(artifact.parameters).run(list(integers)).logits * 2.0 ** -artifact.fractions[-1]


@pytest.mark.parametrize("head", [False, True])
def test_integers_follow_the_adapted_network(network, artifact, head):
    other, update = changed(network, head)
    adapted = adapt(artifact, update)
    maps = images(50, 7)
    exact = other(maps).detach().numpy()
    before = np.abs(logits(artifact, maps) - exact).mean()
    off = np.abs(logits(adapted, maps) - exact).mean()
    assert off < 0.02 * np.abs(exact).max()
    assert off < before / 5
    block, offset = artifact.parameters.to_block(), kernel_offset(artifact.shape)
    if not head:
        assert adapted.parameters.to_block()[:offset] == block[:offset]
    again = float_model(adapted)
    assert torch.equal(again(maps), other(maps))


def test_one_value_may_stand_for_all_channels(artifact):
    update = KernelUpdate(r=(np.array(0.5),) * 3, s=(np.array(1.0),) * 3)
    adapted = adapt(artifact, update)
    assert len({tuple(taps) for taps in adapted.parameters.length_taps[1]}) == 1
    assert adapted.float_parameters["convs.1.r"].shape == (8,)


def test_what_does_not_fit_is_refused(network, artifact):
    _, update = changed(network, True)
    wide = KernelUpdate(r=(update.r[0], np.full(8, 1.4, np.float32), update.r[2]), s=update.s)
    with pytest.raises(InputError, match=r"layer 1, channel 0: sigma 1\.4000 .* up to 1\.3333"):
        adapt(artifact, wide)
    clipped = adapt(artifact, wide, clip_sigma=True)
    fitting = KernelUpdate(r=(update.r[0], np.full(8, largest_sigma(3)), update.r[2]), s=update.s)
    assert clipped.parameters == adapt(artifact, fitting).parameters
    with pytest.raises(InputError, match=r"classifier of 4 classes on 8 channels; adapt to 5 classes"):
        adapt(artifact, KernelUpdate(update.r, update.s, update.class_weights[:4], update.class_biases[:4]))
    with pytest.raises(InputError, match="names of 4 classes; adapt to 5 classes"):
        adapt(artifact, KernelUpdate(update.r, update.s, classes=tuple("abcd")))
    with pytest.raises(
        InputError, match=r"another network: its layers have 6, 8 values of r, .* 6, 8, 8; adapt"
    ):
        adapt(artifact, KernelUpdate(update.r[:2], update.s[:2]))


@pytest.mark.parametrize("head", [False, True])
def test_an_update_belongs_to_the_weights_that_it_was_made_for(network, artifact, head, tmp_path):
    other, _ = changed(network, head)
    path = tmp_path / "update.safetensors"
    KernelUpdate.of(other, head, tuple("abcde")).save(path)
    assert adapt(artifact, KernelUpdate.load(path)).parameters != artifact.parameters
    # A classifier counts where it is not sent.
    strangers = ["convs.1.weight", "convs.2.bias", *([] if head else ["classifier.bias"])]
    for name in strangers:
        stranger = copy.deepcopy(other)
        with torch.no_grad():
            stranger.get_parameter(name).view(-1)[1] += 1e-3
        KernelUpdate.of(stranger, head, tuple("abcde")).save(path)
        with pytest.raises(InputError, match=f"^{path}: made for another network, .*; adapt the learner"):
            adapt(artifact, KernelUpdate.load(path), where=str(path))


def test_a_network_without_kernels_does_not_adapt():
    plain = AkmNetwork(AkmNetworkConfig(**{**CONFIG.to_json(), "modulated": False}))
    maps = images(4, 1)
    artifact = quantise(plain, Calibration(maps, torch.full((4,), 12)))
    with pytest.raises(InputError, match="a network without r and s"):
        adapt(artifact, KernelUpdate((np.zeros(1),) * 3, (np.zeros(1),) * 3))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_a_classifier_is_rounded_to_its_own_scale(scale):
    rng = np.random.default_rng(0)
    weights, biases = rng.normal(0, scale, (5, 16)), rng.normal(0, scale, 5)
    integers, offsets, fraction = round_classifier(weights, biases, 6)
    step = 2.0 ** -(fraction - 6 - 8)
    assert 64 <= np.abs(integers).max() <= 128
    assert np.abs(weights - integers * step).max() <= step * 2
    assert np.allclose(offsets * 2.0**-fraction, biases, atol=2.0**-fraction)


def test_a_large_bias_takes_bits_from_the_weights():
    weights, biases = np.full((2, 4), 0.5), np.array([3e5, -3e5])
    integers, offsets, fraction = round_classifier(weights, biases, 6)
    worst = 65535 * np.abs(integers).sum(axis=1) + np.abs(offsets)
    assert worst.max() <= 2**31 - 1
    assert math.isclose(offsets[0] * 2.0**-fraction, 3e5, rel_tol=1e-6)
    assert round_classifier(weights * 0, biases * 0, 6)[0].tolist() == [[0] * 4] * 2
