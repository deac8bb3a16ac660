"""Traces and pictures."""

import json

import numpy as np
import pytest
import torch
from matplotlib import image

from adakern.artifact import quantise_maps
from adakern.models import AdaptiveAnisotropicPool, AdaptiveEncoder, EncoderConfig, ScalePredictionNetwork
from adakern.models.encoder import predict
from adakern.quantize import Calibration, quantise
from adakern.reference.spn import run_spn
from adakern.report.pictures import DrawnRecord, draw_predictions
from adakern.report.trace import trace
from adakern_spec.errors import AdakernError, InputError


@pytest.fixture(scope="module")
def traced():
    torch.manual_seed(0)
    model = AdaptiveEncoder(
        EncoderConfig(height=4, alphabet="dna", channels=4, spn_channels=(4, 6, 2), head_width=8)
    ).eval()
    maps = (torch.rand(20, 1, 4, 24) > 0.7).float()
    lengths = torch.tensor([7, 24, 1, *torch.randint(1, 25, (17,)).tolist()])
    return model, maps, lengths, quantise(model, Calibration(maps, lengths))


def test_tracing_the_calibration_data_repeats_the_report(traced):
    _, maps, lengths, artifact = traced
    report = trace(artifact, maps.numpy(), lengths.numpy())
    assert [layer.to_json() for layer in report.layers] == artifact.report["layers"]
    assert report.maps == artifact.report["maps"]


def test_samples_are_the_first_map_in_float_and_in_integers(traced):
    model, maps, lengths, artifact = traced
    report = trace(artifact, maps.numpy(), lengths.numpy())
    _, seen = predict(model, maps, lengths)
    activation = seen.maps[0].numpy()
    result = run_spn(
        artifact.parameters, quantise_maps(activation, artifact.input_format), lengths, trace=True
    )
    np.testing.assert_allclose(report.samples[0].floats, activation[0, ..., :7], rtol=1e-6)
    for sample, integers, fraction in zip(
        report.samples[1:-1], result.stages, artifact.fractions[1:], strict=True
    ):
        np.testing.assert_array_equal(sample.integers * 2.0**fraction, integers[0, ..., :7])
        assert sample.floats.shape == sample.integers.shape
    assert len(report.samples) == len(report.layers)
    assert report.samples[-1].floats.shape == (2 * report.maps,)
    np.testing.assert_array_equal(report.samples[-1].integers[:40] * 2**14, result.scales.ravel())


def test_an_spn_alone_is_traced_on_activation_maps():
    torch.manual_seed(1)
    pool = AdaptiveAnisotropicPool(3, 7, 1.0, 15.0)
    maps, lengths = torch.rand(3, 2, 5, 9), torch.tensor([9, 4, 1])
    artifact = quantise(ScalePredictionNetwork((2, 3, 2)), Calibration(maps, lengths), pool=pool)
    assert trace(artifact, maps.numpy(), lengths.numpy()).maps == 3
    with pytest.raises(AdakernError, match="give"):
        trace(artifact, maps.numpy()[:, :, :4], lengths.numpy())


def test_json_holds_every_layer(traced):
    _, maps, lengths, artifact = traced
    values = json.loads(json.dumps(trace(artifact, maps.numpy(), lengths.numpy()).to_json()))
    assert [layer["name"] for layer in values["layers"]] == ["input", "conv 0", "conv 1", "scale"]
    assert values["layers"][1]["sqnr_db"] > 20


def test_the_picture_of_a_trace(traced, tmp_path):
    _, maps, lengths, artifact = traced
    trace(artifact, maps.numpy(), lengths.numpy()).draw(tmp_path / "trace.png")
    drawn = image.imread(tmp_path / "trace.png")
    assert drawn.shape[1] > 1000
    assert np.unique(drawn.reshape(-1, drawn.shape[2]), axis=0).shape[0] > 100


def records(count):
    rng = np.random.default_rng(2)
    return [
        DrawnRecord(
            id=f"record {index}",
            scales=rng.uniform(0.5, 2, (3, 2)),
            kernels=rng.uniform(1, 9, (3, 2)),
            activation=rng.uniform(0, 1, (4, 10 + index)),
            rows=tuple("ACGU") if index % 2 else (),
        )
        for index in range(count)
    ]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture_of_predictions(tmp_path, suffix):
    path = tmp_path / f"scales.{suffix}"
    draw_predictions(records(2), path)
    assert path.read_bytes()[:8] in (b"\x89PNG\r\n\x1a\n", b"<?xml ve")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_picture_of_no_known_format_is_refused(tmp_path):
    with pytest.raises(InputError, match="no picture format 'foo'"):
        draw_predictions(records(1), tmp_path / "scales.foo")
    assert not list(tmp_path.iterdir())


def test_a_picture_grows_with_its_records_up_to_a_limit(monkeypatch, tmp_path):
    monkeypatch.setattr("adakern.report.pictures.RECORDS_DRAWN", 2)
    heights = []
    for count in (1, 2, 40):
        draw_predictions(records(count), tmp_path / "scales.png")
        heights.append(image.imread(tmp_path / "scales.png").shape[0])
    assert heights[0] < heights[1] == heights[2]
