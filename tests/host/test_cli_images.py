"""Images on the command line: quantise, estimate, verify, trace, predict, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import image
from PIL import Image

from adakern.adaptation import adapt
from adakern.artifact import load, quantise_maps
from adakern.kernel_update import KernelUpdate
from adakern.models import AkmNetwork, AkmNetworkConfig, save_network
from adakern.reference.akm import AkmReference
from adakern.report import pictures as report_pictures
from adakern.report.trace import trace
from adakern.training.maml import InnerLoop, MetaLearner
from adakern_spec.networks import folds_for_budget, interval, latency, multipliers

CONFIG = AkmNetworkConfig(
    channels=(1, 4, 6), height=10, length=12, downsample=("stride2", "max2"), classes=3, max_radius=2
)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    save_network(path, AkmNetwork(CONFIG))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of eight grey images of the network's size."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in ("circle", "line", "star"):
        (folder / name).mkdir()
        pattern = rng.integers(0, 200, (10, 12))
        for index in range(8):
            noisy = pattern + rng.integers(0, 56, pattern.shape)
            Image.fromarray(noisy.astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def model(network: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from adakern.cli import run

    path = tmp_path_factory.mktemp("artifact") / "model.safetensors"
    assert run(["quantize", str(network), "--data", str(pictures), "--out", str(path), "--json"]) == 0
    return path


@pytest.fixture(scope="module")
def update(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other r and s, and a classifier with names."""
    path = tmp_path_factory.mktemp("update") / "update.safetensors"
    rng = np.random.default_rng(2)
    KernelUpdate(
        r=(np.array([0.1, 0.5, 0.9, -0.7], np.float32), rng.uniform(0, 0.99, 6).astype(np.float32)),
        s=(np.zeros(4, np.float32), np.ones(6, np.float32)),
        class_weights=rng.normal(0, 3, (3, 6)).astype(np.float32),
        class_biases=np.zeros(3, np.float32),
        classes=("circle", "line", "star"),
    ).save(path)
    return path


def test_predict_says_how_many_are_right_and_draws_them(cli, model, pictures, update, tmp_path):
    arguments = ("--device", "emulator:", "--adapt", update)
    drawn = tmp_path / "classes.png"
    outcome = cli("predict", model, pictures, *arguments, "--picture", drawn, "--json")
    rows = rows_of(outcome)
    right = sum(row["id"].split("/")[0] == row["name"] for row in rows)
    assert f"{right} of 24 right" in outcome.err
    # A line per class that was given, and as many columns as the largest has.
    given = [sum(row["name"] == name for row in rows) for name in {row["name"] for row in rows}]
    height, length, _ = image.imread(drawn).shape
    assert (height, length) == pytest.approx(
        (130 * (0.4 + 0.9 * len(given)), 130 * (1.6 + 0.8 * max(given))), abs=1
    )
    # Folders that are no classes' names say nothing of what is right.
    assert "right" not in cli("predict", model, pictures / "line", *arguments).err
    assert "right" not in cli("predict", model, pictures, "--device", "emulator:").err


def rows_of(outcome: Any) -> list[dict[str, Any]]:
    assert outcome.status == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def expected(artifact: Any, folder: Path, names: list[str]) -> np.ndarray:
    images = np.stack([np.asarray(Image.open(folder / name))[None] for name in names])
    integers = quantise_maps(images / 256, artifact.input_format)
    return AkmReference(artifact.parameters).run(list(integers)).logits * 2.0 ** -artifact.fractions[-1]


def test_quantise_reports_and_prints(cli, network, pictures, tmp_path):
    out = tmp_path / "model.safetensors"
    outcome = cli("quantize", network, "--data", pictures, "--out", out, "--records", 9)
    assert outcome.status == 0, outcome.err
    assert "PTQ, 8-bit weights, 9 maps" in outcome.out
    assert all(
        name in outcome.out for name in ("input", "layer 0", "layer 1", "logit", "error of the logits")
    )
    made = load(out)
    assert (made.shape.max_length, made.shape.classes, made.shape.height) == (12, 3, 10)
    assert made.network == json.loads(json.dumps(CONFIG.to_json()))


def test_predict_answers_as_the_reference(cli, model, pictures):
    rows = rows_of(cli("predict", model, pictures, "--device", "emulator:", "--json"))
    assert len(rows) == 24
    artifact = load(model)
    logits = expected(artifact, pictures, [row["id"] for row in rows])
    assert [row["logits"] for row in rows] == logits.tolist()
    assert [row["class"] for row in rows] == logits.argmax(axis=1).tolist()
    assert {row["parameter_crc"] for row in rows} == {f"{artifact.parameters.crc:08x}"}
    assert {row["cycles"] for row in rows} == {
        latency(artifact.shape, folds_for_budget(artifact.shape, 144), 12)
    }


def test_predict_adapts_first(cli, model, pictures, update):
    rows = rows_of(cli("predict", model, pictures, "--device", "emulator:", "--adapt", update, "--json"))
    adapted = adapt(load(model), KernelUpdate.load(update))
    logits = expected(adapted, pictures, [row["id"] for row in rows])
    assert [row["logits"] for row in rows] == logits.tolist()
    assert [row["name"] for row in rows] == [("circle", "line", "star")[k] for k in logits.argmax(axis=1)]
    assert {row["parameter_crc"] for row in rows} == {f"{adapted.parameters.crc:08x}"}
    text = cli("predict", model, pictures / "line", "--device", "emulator:", "--adapt", update).out
    assert text.count(".png") == 8


def test_predict_resumes_behind_what_is_there(cli, model, pictures, update, tmp_path):
    results = tmp_path / "results.jsonl"
    arguments = ("predict", model, pictures, "--device", "emulator:", "--output", results)
    assert cli(*arguments).status == 0
    whole = results.read_text()
    results.write_text("".join(whole.splitlines(keepends=True)[:5]) + '{"id": "star')
    outcome = cli(*arguments, "--resume")
    assert outcome.status == 0, outcome.err
    assert "24 results" in outcome.err
    assert results.read_text() == whole
    assert "another model" in cli(*arguments, "--resume", "--adapt", update).error


def test_archive_of_images(cli, model, pictures, tmp_path):
    names = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png"))
    np.savez(tmp_path / "images.npz", images=np.stack([np.asarray(Image.open(pictures / n)) for n in names]))
    rows = rows_of(cli("predict", model, tmp_path / "images.npz", "--device", "emulator:", "--json"))
    assert [row["logits"] for row in rows] == expected(load(model), pictures, names).tolist()


def test_other_sizes_and_modes_are_converted_with_a_message_and_corrupt_files_counted(cli, model, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (20, 24, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(rng.integers(0, 255, (10, 12), np.uint8)).save(tmp_path / "b.jpg")
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    outcome = cli("predict", model, tmp_path, "--device", "emulator:", "--json")
    assert [row["id"] for row in rows_of(outcome)] == ["a.png", "b.jpg"]
    assert "c.png: no readable image" in outcome.err
    assert "1 of 3 files skipped" in outcome.err
    assert "20×24 to 10×12 pixels" in outcome.err
    assert "mode RGB to L" in outcome.err


def test_estimate_verify_and_trace(cli, model, pictures, tmp_path):
    figures = json.loads(cli("estimate", model, "--multipliers", 60, "--json").out)
    shape = load(model).shape
    folds = folds_for_budget(shape, 60)
    assert figures["multipliers"] == multipliers(shape, folds) <= 60
    assert (figures["latency"], figures["interval"]) == (
        latency(shape, folds, 12),
        interval(shape, folds, 12),
    )
    assert sum(stage["multipliers"] for stage in figures["stages"]) == figures["multipliers"]
    # By hand: 4 channels × (6 taps of 16 bit and 2 of border); 2·2·4 of 10 rows of 8 bit and of 15.
    assert (figures["stages"][0]["tap_bits"], figures["stages"][0]["smoother_bits"]) == (4 * 98, 16 * 95)
    assert "cycles per map" in cli("estimate", model, "--multipliers", 60).out
    assert "agrees with the reference" in cli("verify", model, "--device", "emulator:", "--count", 3).out
    picture = tmp_path / "trace.svg"
    report = json.loads(cli("trace", model, pictures, "--records", 5, "--picture", picture, "--json").out)
    assert report["maps"] == 5
    assert [layer["name"] for layer in report["layers"]] == ["input", "layer 0", "layer 1", "logit"]
    assert all(layer["sqnr_db"] is None or layer["sqnr_db"] > 15 for layer in report["layers"])
    # Matplotlib leaves its texts as comments beside their outlines.
    assert "logits, max error" in picture.read_text()


def test_trace_adapts_first(cli, model, pictures, update):
    report = json.loads(cli("trace", model, pictures, "--adapt", update, "--json").out)
    adapted = adapt(load(model), KernelUpdate.load(update))
    logits = expected(
        adapted, pictures, sorted(str(p.relative_to(pictures)) for p in pictures.rglob("*.png"))
    )
    *_, logit = report["layers"]
    # Of the float values; the integers are off by no more than their error.
    assert logit["low"] == pytest.approx(logits.min(), abs=logit["error_max"])
    assert logit["high"] == pytest.approx(logits.max(), abs=logit["error_max"])


def test_an_image_is_drawn_as_it_is(model, pictures, monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(report_pictures, "_save", lambda figure, path: drawn.append(figure))
    maps = np.random.default_rng(0).random((2, 1, 10, 12), np.float32)
    trace(load(model), maps, np.full(2, 12)).draw(tmp_path / "x.png")
    shown = [axes for axes in drawn[0].axes if axes.images]
    assert len(shown) == 2 * 3
    assert {axes.get_aspect() for axes in shown} == {1.0}


def test_input_of_another_kind_is_told_what_the_model_takes(
    cli, model, small_artifact, fasta, pictures, tmp_path
):
    from adakern.artifact import save

    save(tmp_path / "spn", small_artifact)
    for arguments, message in {
        ("predict", model, fasta, "-d", "emulator:"): "what is read here is images: give PNG or JPEG files",
        (
            "predict",
            tmp_path / "spn",
            pictures,
            "-d",
            "emulator:",
        ): "a folder; what is read here is sequences",
        ("trace", tmp_path / "spn", pictures / "line" / "0.png"): "no text file; what is read here is seq",
        ("trace", tmp_path / "spn", fasta, "--adapt", fasta): "no kernels to adapt",
        ("quantize", pictures, "--data", pictures, "--out", tmp_path / "out"): "neither encoder.safetensors",
    }.items():
        assert message in cli(*arguments).error


def test_a_learner_is_quantised_with_what_it_adapts_to(cli, pictures, update, tmp_path):
    torch.manual_seed(0)
    run, out = tmp_path / "run", tmp_path / "model.safetensors"
    run.mkdir()
    MetaLearner(AkmNetwork(CONFIG), InnerLoop(scope="kernel+head")).save(run / "learner.safetensors")
    outcome = cli("quantize", run, "--data", pictures, "--out", out, "--threads", 1, "--json")
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["adapted"]
    assert sum(report["shares"]) == pytest.approx(1)
    assert 0 < report["logit_error_mean"] <= report["logit_error_max"]
    assert "adapted to the first calibration task" in cli(
        "quantize", run, "--data", pictures, "--out", tmp_path / "text"
    ).out.replace("\n", " ")
    assert not load(out).parameters.class_weights.any()
    adapted = cli("predict", out, pictures, "--device", "emulator:", "--adapt", update, "--json")
    assert len({tuple(row["logits"]) for row in rows_of(adapted)}) == 24
    assert "give --adapt" not in adapted.err
    assert "all classes are equal; give --adapt" in cli("predict", out, pictures, "-d", "emulator:").err
    file = run / "learner.safetensors"
    assert cli("quantize", file, "--data", pictures, "--out", tmp_path / "again", "--json").status == 0
    assert (tmp_path / "again").read_bytes() == out.read_bytes()
    few = tmp_path / "few"
    for name in ("a", "b", "c"):
        (few / name).mkdir(parents=True)
        Image.fromarray(np.zeros((10, 12), np.uint8)).save(few / name / "0.png")
    refusal = cli("quantize", run, "--data", few, "--out", out).error
    assert f"calibration images ({few}): class 'a' has 1 images" in refusal
    for name in ("a", "b", "c"):
        Image.fromarray(np.full((10, 12), 99, np.uint8)).save(few / name / "1.png")
    assert cli("quantize", run, "--data", few, "--out", out).status == 0


@pytest.mark.parametrize(("scope", "modulated"), [("all", True), ("head", False)])
def test_a_learner_whose_device_cannot_follow_is_quantised_with_a_warning(
    cli, pictures, tmp_path, scope, modulated
):
    torch.manual_seed(0)
    config = AkmNetworkConfig(**{**CONFIG.to_json(), "modulated": modulated})
    path = tmp_path / "learner.safetensors"
    MetaLearner(AkmNetwork(config), InnerLoop(scope=scope)).save(path)
    outcome = cli("quantize", path, "--data", pictures, "--out", tmp_path / "out", "--json")
    assert outcome.status == 0, outcome.err
    assert "no update of a device carries what this learner adapts" in outcome.err
    assert not json.loads(outcome.out)["adapted"]


def saved(path: Path, **changes: Any) -> Path:
    fields = {"r": (np.full(4, 0.5), np.full(6, 0.5)), "s": (np.zeros(4), np.zeros(6))} | changes
    KernelUpdate(**{name: tuple(np.asarray(v, np.float32) for v in fields[name]) for name in fields}).save(
        path
    )
    return path


def test_bad_adaptations_are_refused_in_one_line(cli, model, pictures, tmp_path):
    def refused(update: Path, *options: object) -> str:
        outcome = cli("predict", model, pictures, "--device", "emulator:", "--adapt", update, *options)
        assert outcome.status == 1
        return outcome.error

    wide = saved(tmp_path / "wide", r=(np.full(4, 0.5), np.array([0.5, 0.5, 1.2, 0, 0, 0])))
    assert "layer 1, channel 2: sigma 1.2000" in refused(wide)
    assert "up to 0.9999 or clip it (--clip-sigma, clip_sigma=True)" in refused(wide)
    clipped = cli(
        "predict", model, pictures, "--device", "emulator:", "--adapt", wide, "--clip-sigma", "--json"
    )
    assert len(rows_of(clipped)) == 24
    other = saved(tmp_path / "other", r=(np.full(4, 0.5), np.full(5, 0.5)), s=(np.zeros(4), np.zeros(5)))
    assert "other: made for another network: its layers have 4, 5 values of r, this one's 4, 6" in refused(
        other
    )
    assert "give what adakern adapt wrote" in refused(tmp_path / "absent")
    (tmp_path / "text").write_text("r = 3")
    assert "give what adakern adapt wrote" in refused(tmp_path / "text")


def test_bad_images_are_refused_in_one_line(cli, model, network, pictures, tmp_path):
    def refused(*arguments: object) -> str:
        outcome = cli(*arguments)
        assert outcome.status == 1
        return outcome.error

    (tmp_path / "empty").mkdir()
    assert "no image in this folder" in refused("predict", model, tmp_path / "empty", "--device", "emulator:")
    assert "no such file" in refused("predict", model, tmp_path / "absent", "--device", "emulator:")
    (tmp_path / "empty" / "broken.png").write_bytes(b"nothing")
    assert "none of 1 images readable" in refused("predict", model, tmp_path / "empty", "-d", "emulator:")
    torch.manual_seed(0)
    two = AkmNetwork(AkmNetworkConfig(**{**CONFIG.to_json(), "channels": (2, 3, 4)}))
    save_network(tmp_path / "two", two)
    arguments = ("quantize", tmp_path / "two", "--data", pictures, "--out", tmp_path / "out")
    assert "2 channels; use 1 (grey) or 3 (RGB)" in refused(*arguments)
    arguments = ("quantize", network, "--data", pictures, "--out", tmp_path / "out", "--method", "qat")
    assert "use ptq for a kernel modulation network" in refused(*arguments)
    with torch.no_grad():
        two = AkmNetwork(CONFIG)
        two.convs[0].r[2] = 1.5
    save_network(tmp_path / "wide", two)
    arguments = ("quantize", tmp_path / "wide", "--data", pictures, "--out", tmp_path / "out")
    assert "layer 0, channel 2: sigma 1.5000" in refused(*arguments)
    assert cli(*arguments, "--clip-sigma").status == 0


def test_adapting_a_scale_prediction_network_is_refused(cli, small_artifact, fasta, update, tmp_path):
    from adakern.artifact import save

    save(tmp_path / "spn", small_artifact)
    outcome = cli("predict", tmp_path / "spn", fasta, "--device", "emulator:", "--adapt", update)
    assert "a scale prediction network has no kernels to adapt" in outcome.error


def test_predicting_needs_no_torch(model, pictures, update):
    arguments = ["predict", model, pictures, "-d", "emulator:", "--adapt", update]
    code = (
        f"import sys; from adakern.cli import run; run({list(map(str, arguments))!r}); "
        "print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "False"
