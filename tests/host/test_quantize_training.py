"""Quantisation-aware training: better than rounding alone, and it touches nothing but the SPN."""

import copy

import numpy as np
import pytest
import torch

from adakern.models import AdaptiveAnisotropicPool, AdaptiveEncoder, EncoderConfig, ScalePredictionNetwork
from adakern.quantize import Calibration, quantise
from adakern.report.quantisation import QuantisationReport

POOL = AdaptiveAnisotropicPool(3, 7, 1.0, 15.0)


def toy(seed=0):
    torch.manual_seed(seed)
    spn = ScalePredictionNetwork((3, 6, 2))
    data = Calibration(torch.randn(192, 3, 5, 16).relu(), torch.randint(5, 17, (192,)))
    spn.centre(data.maps, data.lengths)
    return spn, data


def sqnr(artifact):
    """Of the scales, in dB, against the float network that was given."""
    return QuantisationReport.from_json(artifact.report).layers[-1].sqnr_db


def test_training_beats_rounding_at_four_bits():
    for seed in range(3):
        spn, data = toy(seed)
        plain = quantise(spn, data, pool=POOL, weight_bits=4)
        trained = quantise(spn, data, pool=POOL, weight_bits=4, method="qat", epochs=20)
        assert sqnr(trained) > sqnr(plain) + 1


def test_a_run_that_goes_wrong_keeps_the_start():
    spn, data = toy()
    plain = quantise(spn, data, pool=POOL, weight_bits=4)
    wrecked = quantise(spn, data, pool=POOL, weight_bits=4, method="qat", epochs=2, learning_rate=50.0)
    assert wrecked.parameters == plain.parameters


def test_the_seed_matters():
    spn, data = toy()
    options = {"pool": POOL, "weight_bits": 4, "method": "qat", "epochs": 3}
    one, two = (quantise(spn, data, seed=seed, **options) for seed in (1, 2))
    assert one.parameters != two.parameters


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(5)
    config = EncoderConfig(height=4, alphabet="dna", channels=4, spn_channels=(4, 6, 2), head_width=8)
    model = AdaptiveEncoder(config).eval()
    maps, lengths = (torch.rand(48, 1, 4, 24) > 0.7).float(), torch.randint(4, 25, (48,))
    data = Calibration(maps, lengths)
    seen = data.activation_maps(model)
    model.spn.centre(seen.maps, seen.lengths)
    return model, data


def test_inside_an_encoder_only_the_spn_learns(encoder):
    model, data = encoder
    before = copy.deepcopy(model.state_dict())
    done = []
    plain = quantise(model, data, weight_bits=4)
    trained = quantise(
        model,
        data,
        weight_bits=4,
        method="qat",
        epochs=10,
        learning_rate=3e-3,
        progress=lambda *n: done.append(n),
    )
    assert done == [(epoch, 10) for epoch in range(1, 11)]
    assert sqnr(trained) > sqnr(plain)
    for name, values in model.state_dict().items():
        assert torch.equal(values, before[name])
        np.testing.assert_array_equal(trained.float_parameters[name], before[name].numpy())


def test_dropout_does_not_disturb_training(encoder):
    model, data = encoder
    plain = quantise(model, data, weight_bits=4).parameters
    results = []
    for training in (True, False):
        noisy = AdaptiveEncoder(EncoderConfig.from_json(model.config.to_json() | {"dropout": 0.5}))
        noisy.load_state_dict(model.state_dict())
        noisy.train(training)
        results.append(quantise(noisy, data, weight_bits=4, method="qat", epochs=4).parameters)
        assert noisy.training == training
    assert results[0] == results[1] != plain
