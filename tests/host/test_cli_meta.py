"""``adakern meta-train`` and ``adapt``: from folders of images to r and s for a device."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from adakern.kernel_update import KernelUpdate
from adakern.models import load_network
from adakern.training.maml import MetaLearner
from adakern_spec.errors import AdakernError, ArtifactError

Cli = Callable[..., Any]

SMALL = {"channels": [1, 4, 4], "height": 8, "length": 8, "downsample": ["stride2", "none"], "max_radius": 2}


def write_images(folder: Path, classes: int, each: int, seed: int) -> Path:
    """One folder per class, each class a pattern with noise."""
    rng = np.random.default_rng(seed)
    for name in range(classes):
        pattern = rng.integers(0, 200, (8, 8))
        (folder / f"class{name}").mkdir(parents=True)
        for index in range(each):
            image = (pattern + rng.integers(0, 40, (8, 8))).astype(np.uint8)
            Image.fromarray(image).save(folder / f"class{name}" / f"{index}.png")
    return folder


@pytest.fixture
def trained(cli: Cli, tmp_path: Path) -> Callable[..., Path]:
    images = write_images(tmp_path / "images", 6, 4, 0)
    (tmp_path / "config.json").write_text(json.dumps(SMALL))

    def train(scope: str, *more: object) -> Path:
        out = tmp_path / f"run-{scope}"
        options = (
            "--ways",
            3,
            "--queries",
            2,
            "--iterations",
            3,
            "--tasks",
            2,
            "--threads",
            1,
            "--scope",
            scope,
        )
        configured = () if "--start" in more else ("--config", tmp_path / "config.json")
        outcome = cli("meta-train", images, "--out", out, *options, *configured, *more)
        assert outcome.status == 0, outcome.err
        return out

    return train


def test_meta_training_reports_and_resumes(cli: Cli, trained: Callable[..., Path], tmp_path: Path) -> None:
    out = trained("kernel+head")
    for name in ("checkpoint.safetensors", "curve.json", "curve.png", "learner.safetensors"):
        assert (out / name).exists()
    before = load_file(out / "learner.safetensors")
    assert trained("kernel+head") == out
    for name, values in load_file(out / "learner.safetensors").items():
        np.testing.assert_array_equal(values, before[name])
    again = trained("kernel", "--start", out, "--json")
    learner = MetaLearner.load(again / "learner.safetensors")
    assert learner.loop.scope == "kernel"
    assert learner.network.config.channels == (1, 4, 4)


@pytest.mark.parametrize("scope", ["kernel", "kernel+head"])
def test_adaptation_writes_what_a_device_needs(
    cli: Cli, trained: Callable[..., Path], tmp_path: Path, scope: str
) -> None:
    learner = trained(scope)
    support = write_images(tmp_path / "support", 3, 2, 5)
    update, network = tmp_path / "update.safetensors", tmp_path / "network.safetensors"
    options = ("--out", update, "--network", network, "--test", support, "--json")
    outcome = cli("adapt", learner, support, *options)
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    assert sorted(report["classes"]) == ["class0", "class1", "class2"]
    found, adapted = KernelUpdate.load(update), load_network(network).state_dict()
    images = [np.asarray(Image.open(path)) for path in sorted(support.rglob("*.png"))]
    scores = load_network(network)(torch.tensor(np.array(images))[:, None] / 256)
    answers = [found.classes[output] for output in scores.argmax(dim=1)]
    right = np.mean([name == f"class{index // 2}" for index, name in enumerate(answers)])
    assert report["accuracy"] == pytest.approx(right)
    start = MetaLearner.load(learner / "learner.safetensors").network.state_dict()
    for layer in range(2):
        for name, values in (("r", found.r), ("s", found.s)):
            np.testing.assert_array_equal(values[layer], adapted[f"convs.{layer}.{name}"].numpy())
            assert not np.array_equal(values[layer], start[f"convs.{layer}.{name}"].numpy())
            np.testing.assert_allclose(report[name][layer], values[layer], rtol=1e-6)
    assert (found.class_weights is None) is (scope == "kernel")
    sent = {"kernel": "r and s", "kernel+head": "r, s and classifier"}[scope]
    assert cli("adapt", learner, support, "--out", update).out == f"{sent} in {update}\n"
    assert ("class_weights" in report) is (scope == "kernel+head")
    if scope == "kernel+head":
        np.testing.assert_allclose(report["class_weights"], found.class_weights, rtol=1e-6)
        assert report["class_biases"] == found.class_biases.tolist()
    assert found.classes == tuple(report["classes"])


def test_damaged_support_images_are_skipped_and_counted(
    cli: Cli, trained: Callable[..., Path], tmp_path: Path
) -> None:
    support = write_images(tmp_path / "support", 3, 2, 5)
    (support / "class1" / "0.png").write_bytes(b"no image")
    Image.new("RGB", (16, 8)).save(support / "class2" / "wide.png")
    learner = trained("kernel+head")
    outcome = cli("adapt", learner, support, "--test", support)
    assert outcome.status == 0
    assert json.loads(cli("adapt", learner, support, "--test", support, "--json").out)["skipped"] == 1
    assert "warning: 1 of 7 files skipped" in outcome.err
    assert "1 images: 8×16 to 8×8 pixels" in outcome.err
    assert "of 6 images right" in outcome.out


def test_a_class_without_a_readable_image_is_named(
    cli: Cli, trained: Callable[..., Path], tmp_path: Path
) -> None:
    support = write_images(tmp_path / "support", 4, 1, 5)
    (support / "class1" / "0.png").write_bytes(b"no image")
    outcome = cli("adapt", trained("kernel+head"), support, "--out", tmp_path / "u")
    assert f"{support}: class 'class1' has no readable image; mend its images or remove it" in outcome.error
    assert "warning: class 'class1' has no readable image; left out" in outcome.err
    assert not (tmp_path / "u").exists()


def test_an_update_has_as_many_classes_as_the_device(
    cli: Cli, trained: Callable[..., Path], tmp_path: Path
) -> None:
    support = write_images(tmp_path / "support", 4, 1, 5)
    learner = trained("kernel+head")
    outcome = cli("adapt", learner, support, "--out", tmp_path / "u")
    assert f"{support}: 4 classes, a device of this learner takes 3; give 3" in outcome.error
    assert not (tmp_path / "u").exists()
    assert cli("adapt", learner, support, "--network", tmp_path / "n").status == 0
    assert load_network(tmp_path / "n").config.classes == 4


def test_what_adapts_by_default_is_what_a_device_can_be_sent(
    cli: Cli, trained: Callable[..., Path], tmp_path: Path
) -> None:
    options = ("--ways", 3, "--queries", 2, "--iterations", 1, "--tasks", 1)
    start = trained("head")
    outcome = cli("meta-train", tmp_path / "images", "--out", tmp_path / "x", "--start", start, *options)
    assert outcome.status == 0, outcome.err
    assert MetaLearner.load(tmp_path / "x" / "learner.safetensors").loop.scope == "kernel+head"


def test_bad_input_is_one_line(cli: Cli, trained: Callable[..., Path], tmp_path: Path) -> None:
    learner = trained("all")
    support = write_images(tmp_path / "support", 3, 2, 5)
    few = write_images(tmp_path / "few", 6, 2, 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text('{"channel": [1, 4]}')
    cases = {
        (
            "meta-train",
            few,
            "--out",
            tmp_path / "x",
            "--config",
            tmp_path / "other.json",
        ): f"{tmp_path / 'other.json'}: unknown field 'channel'; the fields are channels, height, length",
        ("adapt", learner, support, "--out", tmp_path / "u"): "adapts the convolutions too",
        ("adapt", learner, support): "nothing to do",
        ("adapt", learner, tmp_path / "empty", "--network", tmp_path / "n"): "no image in this folder",
        ("adapt", tmp_path / "absent", support, "--network", tmp_path / "n"): "meta-train",
        ("adapt", learner, support, "--test", few): "other classes",
        (
            "meta-train",
            few,
            "--out",
            tmp_path / "x",
            "--ways",
            3,
        ): "has 2 images, 1 shots and 5 queries need 6",
        ("meta-train", few, "--out", tmp_path / "x", "--ways", 9, "--queries", 1): (
            f"training images ({few}): 6 classes for 9 ways"
        ),
        (
            "meta-train",
            few,
            "--out",
            tmp_path / "x",
            "--start",
            learner,
            "--config",
            few,
        ): "--start and --config",
    }
    for arguments, message in cases.items():
        outcome = cli(*arguments)
        assert outcome.status == 1
        assert message in outcome.error, outcome.error


def test_a_scope_that_there_is_not_is_named(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("meta-train", tmp_path, "--out", tmp_path / "x", "--scope", "kernels")
    assert "Invalid value for '--scope': 'kernels' is not one of 'all'" in outcome.error


def test_a_network_without_r_and_s_has_no_update(
    cli: Cli, trained: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "plain.json").write_text(json.dumps(SMALL | {"modulated": False}))
    learner = trained("head", "--config", tmp_path / "plain.json")
    support = write_images(tmp_path / "support", 3, 2, 5)
    outcome = cli("adapt", learner, support, "--out", tmp_path / "u")
    assert "has no r and s; write the network with --network" in outcome.error
    assert cli("adapt", learner, support, "--network", tmp_path / "n").status == 0
    assert load_network(tmp_path / "n").config.modulated is False


def test_kernel_scope_keeps_to_its_classes(cli: Cli, trained: Callable[..., Path], tmp_path: Path) -> None:
    support = write_images(tmp_path / "support", 4, 1, 5)
    outcome = cli("adapt", trained("kernel"), support, "--out", tmp_path / "u")
    assert "4 classes for a classifier of 3" in outcome.error
    assert not (tmp_path / "u").exists()


def test_damaged_updates_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "u.safetensors"
    given = KernelUpdate(r=(np.ones(3, np.float32),), s=(np.zeros(3, np.float32),), classes=("a",))
    given.save(path)
    np.testing.assert_array_equal(KernelUpdate.load(path).r[0], given.r[0])
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ArtifactError, match="not readable"):
        KernelUpdate.load(path)
    with pytest.raises(AdakernError, match=r"layer0\.s is not finite"):
        KernelUpdate(r=given.r, s=(np.array([0, np.nan, 0]),))
    with pytest.raises(AdakernError, match="different layers"):
        KernelUpdate(r=given.r, s=())
    with pytest.raises(AdakernError, match="half a classifier"):
        KernelUpdate(r=given.r, s=given.s, class_biases=np.zeros(2))
