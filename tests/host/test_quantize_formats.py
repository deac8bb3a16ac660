"""Post-training quantisation: which formats it chooses, what it refuses, that it repeats itself."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from adakern.artifact import quantise_maps, save
from adakern.models import AdaptiveAnisotropicPool, AdaptiveEncoder, EncoderConfig, ScalePredictionNetwork
from adakern.models.encoder import predict
from adakern.quantize import Calibration, float_model, quantise
from adakern.reference.spn import run_spn
from adakern_spec.errors import AdakernError, InputError, ShapeError
from adakern_spec.numbers import GAIN, KERNEL, SCALE, SHIFT_MAX

POOL = AdaptiveAnisotropicPool(3, 7, 1.5, 14.25)


@pytest.fixture
def spn():
    torch.manual_seed(0)
    return ScalePredictionNetwork((3, 4, 2))


def calibration(signed=False, count=8):
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(count, 3, 5, 12, generator=generator)
    lengths = torch.randint(1, 13, (count,), generator=generator)
    return Calibration(maps if signed else maps.relu(), lengths)


def squared_error(values, fraction, low, high):
    rounded = np.clip(np.floor(values * 2.0**fraction + 0.5), low, high) * 2.0**-fraction
    return np.square(values - rounded).sum()


@pytest.mark.parametrize("signed", [False, True])
def test_input_format_follows_the_data(spn, signed):
    data = calibration(signed)
    artifact = quantise(spn, data, pool=POOL)
    assert artifact.input_format.signed == signed
    valid = np.concatenate(
        [values[..., :length].numpy().ravel() for values, length in zip(data.maps, data.lengths, strict=True)]
    ).astype(np.float64)
    errors = {f: squared_error(valid, f, *((-128, 127) if signed else (0, 255))) for f in range(-4, 16)}
    assert artifact.input_format.frac == min(errors, key=errors.__getitem__)


@pytest.mark.parametrize("bits", [8, 4])
def test_weight_formats_have_the_least_squared_error(spn, bits):
    with torch.no_grad():
        spn.convs[0].weight[1] *= 37.0
        spn.convs[0].weight[2] *= 0.01
    artifact = quantise(spn, calibration(), pool=POOL, weight_bits=bits)
    high = (1 << (bits - 1)) - 1
    for stage, conv in enumerate(spn.convs):
        f_w = artifact.parameters.shifts[stage] + artifact.fractions[stage + 1] - artifact.fractions[stage]
        for channel, weights in enumerate(conv.weight.detach().double().numpy()):
            errors = {f: squared_error(weights, f, -high - 1, high) for f in range(-8, 24)}
            assert f_w[channel] == min(errors, key=errors.__getitem__)


def test_the_head_has_all_the_precision_there_is(spn):
    with torch.no_grad():
        spn.gain.copy_(torch.tensor([0.3, -2.5]))
        spn.offset.copy_(torch.tensor([0.9, 1.7]))
    artifact = quantise(spn, calibration(), pool=POOL)
    parameters = artifact.parameters
    # mean · gain / 2^shift is a scale of SCALE.frac bits; the mean has 8 bits more than the activation.
    ratio = spn.gain.detach().double().numpy() * 2.0 ** (SCALE.frac - 8 - artifact.fractions[-1])
    np.testing.assert_allclose(parameters.gain / 2.0**parameters.gain_shift, ratio, rtol=2**-15)
    assert ((np.abs(parameters.gain) * 2 > GAIN.max) | (parameters.gain_shift == SHIFT_MAX)).all()
    np.testing.assert_array_equal(parameters.offset, [round(0.9 * 2**14), round(1.7 * 2**14)])


def test_kernel_sizes_come_from_the_pool(spn):
    parameters = quantise(spn, calibration(), pool=POOL).parameters
    np.testing.assert_array_equal(parameters.base, [3, 7])
    np.testing.assert_array_equal(parameters.k_min, [KERNEL.quantise(1.5)] * 2)
    np.testing.assert_array_equal(parameters.k_max, [KERNEL.quantise(14.25)] * 2)


def test_a_shared_scale_serves_both_directions():
    torch.manual_seed(2)
    artifact = quantise(ScalePredictionNetwork((3, 4, 2), shared_scale=True), calibration(), pool=POOL)
    assert artifact.shape.outputs == 1
    assert artifact.parameters.gain.shape == (1,)


@pytest.mark.parametrize(
    "change",
    [
        lambda spn: spn.convs[0].weight[1].zero_(),
        lambda spn: spn.convs[0].weight.zero_(),
        lambda spn: (spn.convs[1].weight.zero_(), spn.convs[1].bias.zero_()),
        lambda spn: (spn.convs[0].weight[1].mul_(1e-12), spn.convs[0].bias.zero_()),
        lambda spn: spn.convs[0].weight[1].mul_(1e3),
        lambda spn: (spn.convs[1].weight.mul_(1e4), spn.convs[1].bias.fill_(-1e3)),
        lambda spn: (spn.gain.zero_(), spn.offset.zero_()),
    ],
    ids=["dead", "dead-stage", "silent", "tiny", "huge", "cancelling", "no-head"],
)
@pytest.mark.parametrize("bits", [8, 4])
def test_odd_weights_stay_within_the_hardware(spn, change, bits):
    """Shifts of 0 to 31 and accumulators of 32 bit, which `SpnParameters` checks."""
    with torch.no_grad():
        change(spn)
    artifact = quantise(spn, calibration(), pool=POOL, weight_bits=bits)
    for shifts in artifact.parameters.shifts:
        assert shifts.min() >= 0
        assert shifts.max() <= SHIFT_MAX


def test_maps_of_zeros_calibrate():
    spn = ScalePredictionNetwork((3, 4, 2))
    zeros = Calibration(torch.zeros(2, 3, 5, 6), torch.tensor([6, 2]))
    assert not quantise(spn, zeros, pool=POOL).input_format.signed


@pytest.mark.parametrize("padding", [-1e4, 1e4])
def test_padding_does_not_count(spn, tmp_path, padding):
    data = calibration()
    garbage = data.maps.clone()
    for values, length in zip(garbage, data.lengths, strict=True):
        values[..., length:] = padding
    save(tmp_path / "clean.safetensors", quantise(spn, data, pool=POOL))
    save(tmp_path / "garbage.safetensors", quantise(spn, Calibration(garbage, data.lengths), pool=POOL))
    clean, dirty = (tmp_path / f"{name}.safetensors" for name in ("clean", "garbage"))
    assert clean.read_bytes() == dirty.read_bytes()


@pytest.mark.parametrize("method", ["ptq", "qat"])
def test_the_same_seed_gives_the_same_file(spn, tmp_path, method):
    before = copy.deepcopy(spn.state_dict())
    for name in ("one", "two"):
        torch.manual_seed(len(name))
        save(
            tmp_path / name,
            quantise(spn, calibration(count=70), pool=POOL, method=method, weight_bits=4, epochs=2, seed=3),
        )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    for name, values in spn.state_dict().items():
        assert torch.equal(values, before[name])


def encoder(**changes):
    torch.manual_seed(4)
    fields = {"height": 4, "alphabet": "dna", "channels": 3, "spn_channels": (3, 4, 2), "head_width": 8}
    return AdaptiveEncoder(EncoderConfig(**fields | changes)).eval()


def test_an_encoder_comes_back_from_its_artifact():
    model = encoder()
    maps, lengths = torch.rand(5, 1, 4, 11), torch.tensor([11, 1, 5, 7, 2])
    artifact = quantise(model, Calibration(maps, lengths))
    restored = float_model(artifact)
    assert isinstance(restored, AdaptiveEncoder)
    assert torch.equal(predict(restored, maps, lengths)[0], predict(model, maps, lengths)[0])
    np.testing.assert_array_equal(artifact.parameters.base, [model.pool.base_height, model.pool.base_length])
    assert artifact.report["maps"] == 5 * model.config.iterations


def test_an_spn_comes_back_from_its_artifact(spn):
    data = calibration()
    restored = float_model(quantise(spn, data, pool=POOL))
    assert torch.equal(restored(data.maps, data.lengths), spn(data.maps, data.lengths))


def replace_conv(index=0, **changes):
    def change(spn):
        fields = {"kernel_size": 3, "padding": 1, **changes}
        old = spn.convs[index]
        spn.convs[index] = nn.Conv2d(old.in_channels, old.out_channels, **fields)

    return change


def poison(spn):
    with torch.no_grad():
        spn.convs[1].weight[0, 0, 0, 0] = float("nan")


def overflow(spn):
    with torch.no_grad():
        spn.convs[0].bias[3] = -1e13


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (poison, ["spn.convs.1.weight", "non-finite"]),
        (overflow, ["spn.convs.0, channel 3", "accumulator", "32 bit"]),
        (replace_conv(kernel_size=2, padding="same"), ["spn.convs.0", "kernel 2×2", "odd"]),
        (replace_conv(kernel_size=(3, 5), padding=(1, 2)), ["spn.convs.0", "kernel 3×5"]),
        (replace_conv(1, kernel_size=5, padding=2), ["[3, 5]"]),
        (replace_conv(stride=2), ["spn.convs.0", "stride (2, 2)"]),
        (replace_conv(1, dilation=2, padding=2), ["spn.convs.1", "dilation (2, 2)"]),
        (replace_conv(padding=0), ["spn.convs.0", "padding (0, 0)"]),
        (replace_conv(padding_mode="circular"), ["spn.convs.0", "padding mode circular"]),
        (lambda spn: spn.convs.insert(1, nn.Sigmoid()), ["spn.convs.1", "Sigmoid"]),
        (lambda spn: nn.init.constant_(spn.offset, -0.25), ["offset -0.25", "spn output 0"]),
        (lambda spn: nn.init.constant_(spn.gain, 1e9), ["gain 1e+09", "spn output 0"]),
    ],
)
def test_what_the_hardware_cannot_do_is_refused(spn, change, words):
    change(spn)
    with pytest.raises(ShapeError) as error:
        quantise(spn, calibration(), pool=POOL)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_groups_are_refused():
    spn = ScalePredictionNetwork((4, 4, 2))
    spn.convs[0] = nn.Conv2d(4, 4, 3, padding=1, groups=2)
    with pytest.raises(ShapeError, match=r"spn\.convs\.0: groups 2"):
        quantise(spn, Calibration(torch.rand(1, 4, 5, 6), torch.tensor([6])), pool=POOL)


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        (encoder(adaptive=False), {}, "FixedScales"),
        (nn.Conv2d(3, 2, 3), {}, "Conv2d"),
        (ScalePredictionNetwork((3, 4, 2)), {}, "pool="),
        (ScalePredictionNetwork((3, 4, 2)), {"pool": POOL, "weight_bits": 3}, "3 bits"),
        (ScalePredictionNetwork((3, 4, 2)), {"pool": POOL, "method": "magic"}, "magic"),
        (ScalePredictionNetwork((4, 4, 2)), {"pool": POOL}, "(8, 3, 5, 12)"),
    ],
)
def test_what_is_no_such_network_is_refused(network, options, words):
    with pytest.raises(AdakernError) as error:
        quantise(network, calibration(), **options)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("maps", "lengths", "words"),
    [
        (torch.zeros(0, 3, 5, 6), torch.zeros(0, dtype=torch.int64), "at least one map"),
        (torch.zeros(2, 3, 5, 6), torch.tensor([6]), "one length each"),
        (torch.full((1, 3, 5, 6), float("nan")), torch.tensor([6]), "non-finite"),
    ],
)
def test_unusable_calibration_data(maps, lengths, words):
    with pytest.raises(InputError, match=words):
        Calibration(maps, lengths)


def test_bias_correction_brings_the_means_back(monkeypatch, spn):
    """Channel means of the last stage, from the reference, with the correction and without."""
    data = calibration(count=64)
    lengths = data.lengths.numpy()
    mask = (torch.arange(12) < data.lengths[:, None])[:, None, None]
    with torch.no_grad():
        values = data.maps
        for conv in spn.convs:
            values = torch.relu(conv(values * mask)) * mask
    distances = []
    for _ in range(2):
        artifact = quantise(spn, data, pool=POOL, weight_bits=4)
        integers = quantise_maps(data.maps.numpy(), artifact.input_format)
        last = run_spn(artifact.parameters, integers, lengths, trace=True).stages[-1]
        means = last.sum((0, 2, 3)) * 2.0 ** -artifact.fractions[-1]
        distances.append(np.abs(means / values.sum((0, 2, 3)).numpy() - 1).max())
        monkeypatch.setattr("adakern.quantize.correct_biases", lambda *_: None)
    assert distances[0] < 0.01
    assert distances[0] < distances[1] / 3


@pytest.mark.parametrize("peak", [0.3, 0.51, 0.6, 0.8])
def test_a_channel_below_its_formats_unit_stays_weak(spn, peak):
    """The stage's other channels set the format; ``peak`` is the channel's highest value in its units."""
    data, weak = calibration(count=64), 2
    unit = 2.0 ** -quantise(spn, data, pool=POOL).fractions[1]
    mask = (torch.arange(12) < data.lengths[:, None])[:, None, None]
    with torch.no_grad():
        factor = peak * unit / float((spn.convs[0](data.maps * mask) * mask)[:, weak].max())
        spn.convs[0].weight[weak] *= factor
        spn.convs[0].bias[weak] *= factor
    artifact = quantise(spn, data, pool=POOL)
    assert 2.0 ** -artifact.fractions[1] == unit
    integers = quantise_maps(data.maps.numpy(), artifact.input_format)
    first = run_spn(artifact.parameters, integers, data.lengths.numpy(), trace=True).stages[0]
    assert first[:, weak].mean() < 1
