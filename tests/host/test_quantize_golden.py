"""Three independent computations of the quantised network agree on every bit.

The golden model (PyTorch convolutions), the integer reference (NumPy) and Brevitas' quantised layers.
"""

import numpy as np
import pytest
import torch

from adakern.models import AdaptiveAnisotropicPool, ScalePredictionNetwork
from adakern.parameters import SpnParameters
from adakern.quantize import Calibration, GoldenNetwork, golden, quantise
from adakern.quantize.calibration import calibrate_activations, set_formats
from adakern.quantize.export import to_parameters
from adakern.quantize.layers import QuantisedSpn
from adakern.reference.spn import run_spn
from adakern_spec.network import SpnShape

SHAPES = [
    SpnShape((8, 8, 8, 2), height=6),
    SpnShape((3, 5, 1), height=4, input_signed=True),
    SpnShape((2, 4, 2), height=1, kernel=5, weight_bits=4),
    SpnShape((1, 2), height=3, kernel=1, input_signed=True),
]

POOL = AdaptiveAnisotropicPool(3, 7, 1.0, 15.0)


def maps_for(shape, rng, count=6, positions=17):
    fmt = shape.stages[0].input_format
    size = (count, shape.in_channels, shape.height, positions)
    maps = rng.integers(fmt.min, fmt.max, size, endpoint=True).astype(np.int8 if fmt.signed else np.uint8)
    return maps, np.array([1, positions, *rng.integers(1, positions, count - 2)])


def agree(parameters, maps, lengths):
    expected = run_spn(parameters, maps, lengths, trace=True)
    result = GoldenNetwork(parameters)(torch.from_numpy(maps), torch.from_numpy(lengths))
    for stage, outputs in zip(result.stages, expected.stages, strict=True):
        np.testing.assert_array_equal(stage.outputs.numpy(), outputs)
    np.testing.assert_array_equal(result.scales.numpy(), expected.scales)
    np.testing.assert_array_equal(result.kernels.numpy(), expected.kernels)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("extreme", [False, True])
def test_reference_equals_golden(shape, extreme):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        agree(SpnParameters.random(shape, rng, extreme), *maps_for(shape, rng))


def float_network(shape, seed):
    """A float SPN of that shape whose stages all have something to say."""
    torch.manual_seed(seed)
    spn = ScalePredictionNetwork(shape.channels, shape.kernel, shape.outputs == 1)
    with torch.no_grad():
        for conv in spn.convs:
            conv.bias.uniform_(-0.2, 0.4)
    return spn


def float_maps(shape, seed, count=8, positions=17):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(count, shape.in_channels, shape.height, positions, generator=generator)
    lengths = torch.randint(1, positions + 1, (count,), generator=generator)
    return Calibration(maps if shape.input_signed else maps.relu(), lengths)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reference_equals_golden_on_calibrated_networks(shape):
    data = float_maps(shape, seed=1)
    artifact = quantise(float_network(shape, 2), data, pool=POOL, weight_bits=shape.weight_bits)
    assert artifact.shape == shape
    rng = np.random.default_rng(3)
    agree(artifact.parameters, *maps_for(shape, rng))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_brevitas_layers_equal_golden(shape):
    """In float64, where Brevitas' arithmetic is exact, stage by stage on every bit."""
    data = float_maps(shape, seed=4)
    spn = float_network(shape, 5)
    network = QuantisedSpn(shape)
    network.copy_float(spn)
    formats = [shape.stages[0].input_format, *(stage.output_format for stage in shape.stages)]
    set_formats(network, calibrate_activations(spn, data, formats))
    parameters, fractions = to_parameters(network, POOL)
    with torch.no_grad():
        inputs, *stages = network.double().stages(data.maps.double(), data.lengths)
    result = GoldenNetwork(parameters)(inputs * 2.0 ** fractions[0], data.lengths)
    for stage, values, fraction in zip(result.stages, stages, fractions[1:], strict=True):
        assert torch.equal(stage.outputs.double(), values * 2.0**fraction)
        assert stage.outputs.any()


def test_brevitas_rounds_halves_up():
    """Sums that end in exactly one half, of either parity and sign: where half-even would differ."""
    shape = SpnShape((1, 1), height=1, kernel=1, input_signed=True)
    network = QuantisedSpn(shape).double()
    with torch.no_grad():
        network.stage_convs[0].weight.fill_(1.0)
        network.stage_convs[0].bias.fill_(3.0)
    inputs, outputs = network.activation_exponents()
    inputs.fill_(1)
    outputs.fill_(0)
    halves = torch.arange(-8, 9, dtype=torch.float64) / 2
    _, values = network.stages(halves.view(1, 1, 1, -1), torch.tensor([len(halves)]))
    expected = np.maximum(0, np.floor(halves.numpy() + 3 + 0.5))
    np.testing.assert_array_equal(values.detach().numpy().ravel(), expected)
    quantised, _ = to_parameters(network, POOL)
    result = GoldenNetwork(quantised)((halves * 2).view(1, 1, 1, -1), torch.tensor([len(halves)]))
    np.testing.assert_array_equal(result.stages[0].outputs.numpy().ravel(), expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_padding_changes_nothing(shape):
    rng = np.random.default_rng(6)
    parameters = SpnParameters.random(shape, rng)
    maps, lengths = maps_for(shape, rng)
    network = GoldenNetwork(parameters)
    together = network(torch.from_numpy(maps), torch.from_numpy(lengths))
    for index, length in enumerate(lengths.tolist()):
        alone = network(torch.from_numpy(maps[index : index + 1, ..., :length]), torch.tensor([length]))
        assert torch.equal(alone.scales[0], together.scales[index])
        for one, many in zip(alone.stages, together.stages, strict=True):
            assert torch.equal(one.outputs[0], many.outputs[index, ..., :length])
            assert not many.outputs[index, ..., length:].any()


def test_golden_takes_an_artifact():
    shape = SHAPES[0]
    artifact = quantise(float_network(shape, 7), float_maps(shape, 8), pool=POOL)
    network = golden(artifact)
    assert isinstance(network, torch.nn.Module)
    assert network.integers == artifact.parameters
