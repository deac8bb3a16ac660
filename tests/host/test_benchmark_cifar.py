"""The CIFAR benchmark on a folder of images, as CIFAR-100 or an ImageNet subset is unpacked."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "cifar.py"


def write_images(root: Path, part: str, names: tuple[str, ...], each: int) -> None:
    """Classes of one colour each, with noise: easy ones."""
    rng = np.random.default_rng(len(part))
    for number, name in enumerate(names):
        (root / part / name).mkdir(parents=True)
        colour = 200 * np.eye(3)[number]
        for index in range(each):
            noisy = colour + rng.integers(0, 56, (10, 9, 3))
            Image.fromarray(noisy.astype(np.uint8)).save(root / part / name / f"{index}.png")


def benchmark(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(BENCHMARK),
        f"--data={root}",
        f"--out={root}/out.json",
        "--side=8",
        *options,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_folder_gives_every_variant_a_row(tmp_path: Path) -> None:
    write_images(tmp_path, "train", ("blue", "green"), 100)
    write_images(tmp_path, "test", ("blue", "green"), 5)
    run = benchmark(tmp_path, "--seeds=1", "--epochs=25", "--corrupted=4")
    assert run.returncode == 0, run.stderr
    assert "200 images: 10×9 to 8×8 pixels" in run.stdout
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["images"] == {"training": 200, "test": 10, "corrupted": 4}
    plain, akm, *others = found["rows"]
    assert [row["clean"] for row in found["rows"]] == [1] * 4
    assert akm["parameters"] == plain["parameters"] + 2 * (16 + 32 + 64 + 96)
    assert len(others) == 2


@pytest.mark.slow
def test_folders_that_do_not_match_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path, "train", ("blue", "green", "red"), 34)
    write_images(tmp_path, "test", ("blue", "red"), 2)
    assert "classes in one of train and test alone: green" in benchmark(tmp_path).stderr
