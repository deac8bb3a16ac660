"""``adakern train``, ``quantize`` and ``trace``: from a file of sequences to an artifact that predicts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from adakern.artifact import load
from adakern_spec.network import SpnShape

Cli = Callable[..., Any]

SMALL = {
    "channels": 2,
    "spn_channels": [2, 2],
    "iterations": 2,
    "head_width": 3,
    "head_dilations": [1],
    "base_height": 2,
    "base_length": 3,
}
"""Fields of an encoder that trains in a second."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(SMALL))
    return path


def sequences(count: int) -> list[str]:
    rng = np.random.default_rng(4)
    return ["".join(rng.choice(list("ACGT"), rng.integers(5, 20))) for _ in range(count)]


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Whether a sequence has more G than C, in words."""
    path = tmp_path / "labelled.csv"
    rows = [f"{text},{'more' if text.count('G') > text.count('C') else 'less'}" for text in sequences(24)]
    path.write_text("\n".join(["sequence,balance", *rows]) + "\n")
    return path


def train(cli: Cli, data: Path, config: Path, out: Path, *more: object) -> Any:
    arguments = ("--config", config, "--alphabet", "dna", "--threads", 1, *more)
    return cli("train", data, "--out", out, *arguments)


def test_classification_from_csv_to_predictions(
    cli: Cli, labelled: Path, config: Path, tmp_path: Path
) -> None:
    run, artifact = tmp_path / "run", tmp_path / "model.safetensors"
    more = ("--task", "classification", "--target", "balance", "--epochs", 2, "--json")
    outcome = train(cli, labelled, config, run, *more)
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["encoder"] == str(run / "encoder.safetensors")
    assert [entry["epoch"] for entry in report["curve"]] == [1, 2]
    assert (run / "curve.png").exists()

    arguments = ("--data", labelled, "--out", artifact, "--longest", 30)
    outcome = cli("quantize", run, *arguments, "--json")
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert [layer["name"] for layer in report["layers"]] == ["input", "conv 0", "scale"]
    for layer, share in zip(report["layers"], report["shares"], strict=True):
        assert {"low", "high", "sqnr_db", "saturated"} <= set(layer)
        assert 0 <= share <= 1
    made = load(artifact)
    assert made.shape == SpnShape(channels=(2, 2), height=4, max_length=30)
    assert made.digest.hex() == report["digest"]
    assert made.encoder is not None
    assert made.encoder["output_names"] == ["less", "more"]

    found = cli("predict", artifact, labelled, "-d", "emulator:", "--json").out.splitlines()
    assert len(found) == 24
    assert all(json.loads(line)["difference"] < 0.1 for line in found)


def test_same_seed_same_weights_and_a_rerun_resumes(
    cli: Cli, labelled: Path, config: Path, tmp_path: Path
) -> None:
    options = ("--task", "classification", "--target", "balance", "--epochs", 2, "--seed", 3, "--json")
    for name in ("first", "second"):
        assert train(cli, labelled, config, tmp_path / name, *options).status == 0
    first, second = (load_file(tmp_path / name / "encoder.safetensors") for name in ("first", "second"))
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
    checkpoint = tmp_path / "first" / "checkpoint.safetensors"
    before = checkpoint.stat().st_mtime_ns
    assert train(cli, labelled, config, tmp_path / "first", *options).status == 0
    assert checkpoint.stat().st_mtime_ns == before, "nothing is trained twice"
    other = train(cli, labelled, config, tmp_path / "first", *options, "--learning-rate", 1e-4)
    assert other.status == 1
    assert "holds a run with learning_rate 0.005, not 0.0001" in other.error


def test_stopped_training_says_how_to_go_on(
    cli: Cli, labelled: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adakern.training import joint

    right, calls = joint.save_curve, []

    def stop(*arguments: Any) -> None:
        right(*arguments)
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(joint, "save_curve", stop)
    options = ("--task", "classification", "--target", "balance", "--epochs", 3, "--json")
    outcome = train(cli, labelled, config, tmp_path / "run", *options)
    assert outcome.status == 130
    assert (
        outcome.err
        == f"interrupted: {tmp_path / 'run'}: stopped after epoch 1 of 3; run it again to resume\n"
    )
    outcome = train(cli, labelled, config, tmp_path / "run", *options)
    assert outcome.status == 0
    assert len(json.loads(outcome.out)["curve"]) == 3
    assert len(calls) == 3, "only the two epochs that were missing"


def test_regression_per_position_from_npz_and_per_sequence_from_csv(
    cli: Cli, config: Path, tmp_path: Path
) -> None:
    texts = sequences(10)
    archive = tmp_path / "targets.npz"
    np.savez(archive, sequence=texts, targets=np.ones((10, 5, 3), np.float32))
    options = ("--task", "position-regression", "--epochs", 1, "--json", "--validation", archive)
    outcome = train(cli, archive, config, tmp_path / "position", *options, "--truncate", "--max-length", 12)
    assert outcome.status == 0, outcome.err
    assert "mcrmse" in json.loads(outcome.out)["curve"][0]["validation"]
    table = tmp_path / "targets.csv"
    table.write_text("\n".join(["sequence,a,b", *(f"{text},{len(text)},1" for text in texts)]) + "\n")
    options = ("--task", "regression", "--epochs", 1, "--target", "a", "--target", "b", "--json")
    assert train(cli, table, config, tmp_path / "sequence", *options).status == 0


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--task", "classification"), "--target: 0 label columns; name the one"),
        (("--task", "regression"), "no targets; name their columns with --target"),
        (
            ("--task", "regression", "--target", "other"),
            "no column 'other'; the header has sequence, balance",
        ),
        (("--task", "regression", "--target", "balance"), "is no number"),
        (("--task", "classification", "--target", "balance", "--learning-rate", -1), "learning_rate -1.0"),
    ],
)
def test_unusable_training_data_is_refused(
    cli: Cli, labelled: Path, config: Path, tmp_path: Path, options: tuple[object, ...], what: str
) -> None:
    outcome = train(cli, labelled, config, tmp_path / "run", *options)
    assert outcome.status == 1
    assert what in outcome.error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "what"),
    [("{", "no readable JSON"), ("[]", "no JSON object"), ('{"iteration": 2}', "unknown field 'iteration'")],
)
def test_unusable_configuration_is_refused(
    cli: Cli, labelled: Path, tmp_path: Path, text: str, what: str
) -> None:
    config = tmp_path / "config.json"
    config.write_text(text)
    options = ("--task", "classification", "--target", "balance")
    outcome = train(cli, labelled, config, tmp_path / "run", *options)
    assert outcome.status == 1
    assert what in outcome.error


def test_quantisation_aware_training_and_four_bits(
    cli: Cli, labelled: Path, config: Path, tmp_path: Path
) -> None:
    run, artifact = tmp_path / "run", tmp_path / "model.safetensors"
    options = ("--task", "classification", "--target", "balance", "--epochs", 1, "--json")
    assert train(cli, labelled, config, run, *options).status == 0
    arguments = ("--data", labelled, "--out", artifact, "--method", "qat", "--epochs", 1, "--bits", 4)
    outcome = cli("quantize", run / "encoder.safetensors", *arguments)
    assert outcome.status == 0, outcome.err
    assert "QAT, 4-bit weights" in outcome.out
    assert f"artifact in {artifact}" in outcome.err
    made = load(artifact)
    assert made.shape.weight_bits == 4
    assert np.abs(made.parameters.weights[0]).max() <= 8
    outcome = cli("quantize", run, "--data", labelled, "--out", artifact, "--bits", 5)
    assert outcome.status == 1
    assert "weights of 5 bits" in outcome.error
    assert load(artifact).shape.weight_bits == 4, "the old one stays"


def test_trace_compares_layer_by_layer_and_draws(cli: Cli, tmp_path: Path) -> None:
    bundled = Path(__file__).parents[2] / "host" / "adakern" / "bundled"
    inputs = (bundled / "demo.safetensors", bundled / "demo.fasta", "--records", 2)
    picture = tmp_path / "trace.svg"
    outcome = cli("trace", *inputs, "--json", "--picture", picture)
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["maps"] == 2 * 3, "two sequences, three iterations"
    names = [layer["name"] for layer in report["layers"]]
    assert names == ["input", "conv 0", "conv 1", "conv 2", "scale"]
    assert all(layer["sqnr_db"] > 20 for layer in report["layers"])
    assert "<svg" in picture.read_text()
    text = cli("trace", *inputs).out
    assert all(name in text for name in names)
