"""The quantisation report: every figure recomputed from its definition, with other means."""

import json

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.nn import functional

from adakern.artifact import load, quantise_maps, save
from adakern.models import AdaptiveAnisotropicPool, ScalePredictionNetwork
from adakern.quantize import Calibration, quantise
from adakern.reference.spn import run_spn
from adakern.report.comparison import LayerMeter
from adakern.report.quantisation import QuantisationReport
from adakern_spec.numbers import SCALE, Format

POOL = AdaptiveAnisotropicPool(3, 7, 1.0, 15.0)


@pytest.fixture(scope="module")
def measured():
    """SPN, data, artifact, report; a far outlier makes the input saturate."""
    torch.manual_seed(0)
    spn = ScalePredictionNetwork((3, 6, 6, 2))
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(70, 3, 5, 20, generator=generator).relu()
    maps[0, 0, 0, 0] = 8.2
    data = Calibration(maps, torch.randint(1, 21, (70,), generator=generator))
    spn.centre(data.maps, data.lengths)
    artifact = quantise(spn, data, pool=POOL)
    return spn.double(), data, artifact, QuantisationReport.from_json(artifact.report)


def valid(values, lengths):
    """Values at valid positions, one flat array."""
    cut = [row[..., :length].ravel() for row, length in zip(values, lengths, strict=True)]
    return np.concatenate(cut).astype(np.float64)


def layer_pairs(spn, data, artifact):
    """Name: float values and dequantised integers at valid positions, the integers from the reference."""
    lengths = data.lengths.numpy()
    integers = quantise_maps(data.maps.numpy(), artifact.input_format)
    result = run_spn(artifact.parameters, integers, lengths, trace=True)
    pairs = {"input": (valid(data.maps.numpy(), lengths), valid(integers, lengths))}
    mask = (torch.arange(20) < data.lengths[:, None]).double()[:, None, None]
    values = data.maps.double() * mask
    with torch.no_grad():
        for index, conv in enumerate(spn.convs):
            values = functional.relu(conv(values)) * mask
            pairs[f"conv {index}"] = (valid(values.numpy(), lengths), valid(result.stages[index], lengths))
        pairs["scale"] = (spn(data.maps.double(), data.lengths).numpy(), result.scales)
    steps = [2.0**-fraction for fraction in artifact.fractions] + [2.0**-SCALE.frac]
    return {
        name: (exact, values * step)
        for (name, (exact, values)), step in zip(pairs.items(), steps, strict=True)
    }


def test_every_layer_is_as_reported(measured):
    spn, data, artifact, report = measured
    pairs = layer_pairs(spn, data, artifact)
    assert [layer.name for layer in report.layers] == list(pairs)
    for layer in report.layers:
        exact, rounded = pairs[layer.name]
        error = exact - rounded
        assert layer.values == exact.size
        np.testing.assert_allclose([layer.low, layer.high], [exact.min(), exact.max()], rtol=1e-6)
        np.testing.assert_allclose(layer.error_max, np.abs(error).max(), rtol=1e-6)
        np.testing.assert_allclose(layer.error_mean, np.abs(error).mean(), rtol=1e-6)
        sqnr = 20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(error))
        assert layer.sqnr_db == pytest.approx(sqnr, abs=1e-4)


def test_the_float_model_lies_within_the_reported_error(measured):
    spn, data, artifact, report = measured
    exact, rounded = layer_pairs(spn, data, artifact)["scale"]
    assert np.abs(exact - rounded).max() <= report.error_max * (1 + 1e-9)
    assert 0 < report.error_mean < report.error_max < 0.02


def test_saturation_is_counted(measured):
    _, data, artifact, report = measured
    fmt = artifact.input_format
    exact = valid(data.maps.numpy(), data.lengths.numpy())
    expected = np.count_nonzero(np.floor(exact * 2.0**fmt.frac + 0.5) > fmt.max)
    assert report.layers[0].saturated == expected > 0
    scales = run_spn(artifact.parameters, quantise_maps(data.maps.numpy(), fmt), data.lengths.numpy()).scales
    clamped = np.count_nonzero((scales == SCALE.quantise(0.5)) | (scales == SCALE.quantise(2.0)))
    assert report.layers[-1].saturated == clamped


def test_a_stage_counts_what_it_cut():
    """A bias calibrated on small maps, then one map that drives the output past 255."""
    torch.manual_seed(2)
    spn = ScalePredictionNetwork((1, 1), kernel=1, shared_scale=True)
    with torch.no_grad():
        spn.convs[0].weight.fill_(1.0)
        spn.convs[0].bias.fill_(0.0)
    maps = torch.full((1, 1, 1, 1000), 0.5)
    maps[..., 0] = 0.75
    wide = quantise(spn, Calibration(maps, torch.tensor([1000])), pool=POOL)
    report = QuantisationReport.from_json(wide.report)
    assert [layer.saturated for layer in report.layers[:2]] == [0, 0]
    with torch.no_grad():
        spn.convs[0].weight.fill_(0.75)
        spn.convs[0].bias.fill_(0.2461)
    maps[..., 0] = 1.1
    narrow = QuantisationReport.from_json(
        quantise(spn, Calibration(maps, torch.tensor([1000])), pool=POOL).report
    )
    # Half of everything is best served by u8·2^-8, which holds less than one.
    assert narrow.layers[1].frac == 8
    assert narrow.layers[1].saturated == 1


def test_shares_are_errors_one_layer_at_a_time(measured):
    spn, data, artifact, report = measured
    parameters, fractions = artifact.parameters, artifact.fractions
    mask = (torch.arange(20) < data.lengths[:, None]).double()[:, None, None]

    def rounded(values, fraction):
        return (values * 2.0**fraction + 0.5).floor().clamp(0, 255) * 2.0**-fraction

    def scales(layer):
        values = data.maps.double() * mask
        if layer == 0:
            values = rounded(values, fractions[0])
        for index, conv in enumerate(spn.convs):
            if layer == index + 1:
                f_w = torch.tensor(parameters.shifts[index]) + fractions[index + 1] - fractions[index]
                weight = torch.tensor(parameters.weights[index]).double() / 2.0 ** f_w.view(-1, 1, 1, 1)
                bias = torch.tensor(parameters.biases[index]).double() / 2.0 ** (f_w + fractions[index])
                values = rounded(functional.conv2d(values, weight, bias, padding=1), fractions[index + 1])
            else:
                values = functional.relu(conv(values))
            values = values * mask
        mean = values.sum((2, 3)) / (5 * data.lengths)[:, None]
        gain, offset = spn.gain, spn.offset
        if layer == len(spn.convs) + 1:
            ratio = parameters.gain / 2.0**parameters.gain_shift
            gain = torch.tensor(ratio * 2.0 ** (8 + fractions[-1] - SCALE.frac))
            offset = torch.tensor(parameters.offset / 2.0**SCALE.frac)
        return (mean * gain + offset).clamp(0.5, 2.0)

    with torch.no_grad():
        exact = scales(None)
        errors = np.array([float((scales(layer) - exact).square().mean()) for layer in range(5)])
    # The head's own roundings, of mean and scale, are left out here: half a last bit of 2^-14 each.
    np.testing.assert_allclose(report.shares, errors / errors.sum(), atol=2e-3)
    assert sum(report.shares) == pytest.approx(1.0)


def test_the_report_travels_in_the_artifact(measured, tmp_path):
    _, _, artifact, report = measured
    save(tmp_path / "model.safetensors", artifact)
    loaded = QuantisationReport.from_json(load(tmp_path / "model.safetensors").report)
    assert loaded == report
    assert json.loads(json.dumps(report.to_json())) == report.to_json()


def test_the_table_names_every_layer(measured):
    report = measured[-1]
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.table())
    text = console.export_text()
    for layer in report.layers:
        assert layer.name in text
    assert f"{report.layers[2].sqnr_db:.1f}" in text
    assert f"{report.shares[1]:.1%}" in text
    assert f"{report.error_max:.5f}" in text


def test_an_exact_layer_has_no_sqnr():
    meter = LayerMeter("exact", Format(8, signed=False, frac=1))
    meter.add(np.array([0.5, 1.0]), np.array([1, 2]), 0)
    assert meter.result().sqnr_db is None
    silent = LayerMeter("silent", Format(8, signed=False, frac=1))
    silent.add(np.zeros(2), np.array([0, 1]), 0)
    assert silent.result().sqnr_db is None
    assert silent.result().error_max == 0.5
