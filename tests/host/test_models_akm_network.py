"""The AKM network against its layers called one by one, and its file."""

import dataclasses

import pytest
import torch
from torch.nn import functional

from adakern.models import AKMConv2d, AkmNetwork, AkmNetworkConfig, convert, load_network, save_network
from adakern.models.akm_network import is_kernel_parameter
from adakern.training.maml import InnerLoop, MetaLearner
from adakern_spec.errors import AdakernError, ArtifactError, InputError, ShapeError

SMALL = AkmNetworkConfig(
    channels=(2, 3, 4, 5), height=9, length=7, downsample=("stride2", "none", "max2"), classes=3, max_radius=3
)


def network(config=SMALL, seed=0):
    torch.manual_seed(seed)
    made = AkmNetwork(config)
    for name, parameter in made.named_parameters():
        if is_kernel_parameter(name):
            parameter.data += 0.3 * torch.randn(parameter.shape)
    return made


@pytest.mark.parametrize("modulated", [True, False])
@pytest.mark.parametrize("border", ["zero", "copy"])
def test_network_is_its_layers_one_by_one(modulated, border):
    made = network(dataclasses.replace(SMALL, modulated=modulated, border=border))
    x = torch.randn(4, 2, 9, 7)
    y = x
    for conv, kind in zip(made.convs, SMALL.downsample, strict=True):
        assert isinstance(conv, AKMConv2d) is modulated
        y = functional.relu(conv(y))
        if kind == "stride2":
            y = y[:, :, ::2, ::2]
        elif kind == "max2":
            y = functional.max_pool2d(y, 2, 2)
        assert y.shape[2:] == SMALL.sizes[list(made.convs).index(conv) + 1]
    mean = y.mean(dim=3).mean(dim=2)
    expected = mean @ made.classifier.weight.T + made.classifier.bias
    torch.testing.assert_close(made(x), expected)


@pytest.mark.parametrize("per_channel", [True, False])
def test_kernel_parameters_are_all_r_and_s(per_channel):
    made = network(dataclasses.replace(SMALL, per_channel=per_channel))
    kernel = [p.numel() for name, p in made.named_parameters() if is_kernel_parameter(name)]
    assert sum(kernel) == (2 * (3 + 4 + 5) if per_channel else 6)
    assert not any(is_kernel_parameter(name) for name, _ in AkmNetwork(plain()).named_parameters())
    assert made.parameter_count() - AkmNetwork(plain()).parameter_count() == sum(kernel)


def plain():
    return dataclasses.replace(SMALL, modulated=False)


def test_reference_network_keeps_its_signal():
    """Start of four layers: neither blurred nor gated away, so that the class scores differ."""
    torch.manual_seed(0)
    features = [
        AkmNetwork(AkmNetworkConfig(modulated=modulated)).features(torch.rand(16, 1, 28, 28))
        for modulated in (True, False)
    ]
    assert features[0].std(dim=0).mean() > 0.1 * features[1].std(dim=0).mean()


def test_file_gives_the_network_back(tmp_path):
    made = network(dataclasses.replace(SMALL, border="copy", per_channel=False))
    save_network(tmp_path / "network.safetensors", made)
    loaded = load_network(tmp_path / "network.safetensors")
    assert loaded.config == made.config
    assert not loaded.training
    x = torch.randn(2, 2, 9, 7)
    assert torch.equal(loaded(x), made(x))


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "network.safetensors"
    with pytest.raises(ArtifactError, match="give a trained AKM network"):
        load_network(path)
    made = network()
    save_network(path, made)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="not readable"):
        load_network(path)
    made.convs[1].r.data[0] = float("nan")
    with pytest.raises(AdakernError, match=r"convs\.1\.r"):
        save_network(path, made)


def test_converted_networks_are_refused_before_they_are_lost(tmp_path):
    """Configured as plain, a file of it could not be read back."""
    made = convert(network(plain()))
    path = tmp_path / "network.safetensors"
    with pytest.raises(ShapeError, match=r"convs\.0: layer AKMConv2d with modulated=False; build AkmNetwork"):
        save_network(path, made)
    assert not path.exists()
    with pytest.raises(ShapeError, match=r"convs\.0"):
        MetaLearner(made, InnerLoop("head"))
    modulated = AkmNetwork(SMALL)
    modulated.load_state_dict(network(plain()).state_dict(), strict=False)
    save_network(path, modulated)
    assert torch.equal(load_network(path).convs[1].weight, made.convs[1].weight)


def test_unfit_weights_are_refused(tmp_path):
    made = network()
    made.config = dataclasses.replace(SMALL, classes=4)
    save_network(tmp_path / "network.safetensors", made)
    with pytest.raises(ArtifactError, match="inconsistent"):
        load_network(tmp_path / "network.safetensors")


@pytest.mark.parametrize(
    "fields",
    [
        {"channels": (2,)},
        {"channels": (2, 0, 4, 5)},
        {"downsample": ("none",)},
        {"downsample": ("none", "none", "average2")},
        {"kernel": 2},
        {"border": "mirror"},
        {"height": 1, "length": 1},
        {"classes": 0},
        {"channels": 5},
        {"channels": (2, 3.5, 4, 5)},
        {"height": 28.5},
        {"kernel": "3"},
        {"max_radius": 2.5},
        {"modulated": "no"},
        {"sigma": "wide"},
    ],
)
def test_bad_configurations_are_refused(fields):
    with pytest.raises(ShapeError):
        dataclasses.replace(SMALL, **fields)


def test_unknown_fields_and_shapes_are_refused():
    with pytest.raises(ShapeError, match="unknown field 'padding'; use channels, height"):
        AkmNetworkConfig.from_json(SMALL.to_json() | {"padding": 1})
    with pytest.raises(ShapeError, match=r"\[B, 2, 9, 7\]"):
        network()(torch.zeros(1, 2, 7, 9))


def test_swapped_arguments_of_save_network_are_told(tmp_path):
    with pytest.raises(InputError, match="save_network: PosixPath for a network; give path, then network"):
        save_network(AkmNetwork(AkmNetworkConfig()), tmp_path / "x")
